"""Makes ``spikeyolo/demo/checkpoint`` of a finished run: its best weights, and of its state what prediction needs.

python -m spikeyolo.train +experiment=highfreq model.branch_scale=1 model.fine_ends=1 model.class_prior=null \
    data.batch_size=8 trainer.max_epochs=100 trainer.validate_every=1 logger=none hydra.run.dir=RUN
python experiments/demo/make_checkpoint.py RUN
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import spikeyolo
from spikeyolo.demo import CHECKPOINT
from spikeyolo.engine.checkpoints import checkpoint
from spikeyolo.engine.checkpoints.restore import restore_detector

KEPT = ("classes", "in_channels", "model", "encoder", "windows", "settings", "frame")


def main() -> None:
    run = Path(sys.argv[1])
    detector, state = restore_detector(run / "checkpoints" / "best")
    figures = json.loads((run / "metrics.json").read_text())
    made = {
        "version": spikeyolo.__version__,
        "command": "python -m spikeyolo.train +experiment=highfreq model.branch_scale=1 model.fine_ends=1 "
        "model.class_prior=null data.batch_size=8 trainer.max_epochs=100 trainer.validate_every=1 logger=none",
        **{name: figures[name] for name in ("val/map50", "val/map", "best_epoch")},
    }
    shutil.rmtree(CHECKPOINT, ignore_errors=True)
    checkpoint.save(
        CHECKPOINT, weights=detector, training=None, state={**{key: state[key] for key in KEPT}, "made": made}
    )
    (CHECKPOINT / checkpoint.WEIGHTS).unlink(missing_ok=True)  # a wheel would hold the weights twice
    size = sum(path.stat().st_size for path in CHECKPOINT.rglob("*") if path.is_file())
    print(f"{CHECKPOINT}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
