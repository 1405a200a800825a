"""The ``highfreq`` search with its Hyperband and without pruning, for the same time, on two CPU workers each.

    python experiments/benchmarks/sweep/pruning.py --minutes 12

Both arms search the same space with the same sampler and seed, on a recipe short enough for that: ``highfreq`` with
frames of 48 by 48, two slices a window, no augmentation and 40 epochs in place of 100. What belongs to the length of
the training is shortened with it: Hyperband's first rung (epoch 12 of 40 for 30 of 100) and the running average of the
weights. A configuration counts as tried if its trial ended, or was pruned, within the time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

from optuna.trial import FrozenTrial

REPOSITORY = Path(__file__).resolve().parents[3]
SHARED = (
    "+experiment=highfreq",
    "+search=highfreq",
    "logger=none",
    "augment=none",
    "data.dataset.train_sequences=24",
    "data.dataset.val_sequences=8",
    "data.dataset.width=48",
    "data.dataset.height=48",
    "data.dataset.size_min_px=14",
    "data.dataset.size_max_px=24",
    "data.time_steps=2",
    "data.batch_size=8",
    "model.class_prior=null",
    "trainer.validate_every=1",
    "trainer.max_epochs=40",
    "trainer.average.decay=0.995",
    "trainer.threads=1",
    "hydra.sweeper.devices=cpu",
    "hydra.sweeper.workers=2",
    "hydra.sweeper.n_trials=1000",
    "hydra.sweeper.figures=false",
    "hydra.sweeper.enqueue=null",
)
ARMS = {
    "hyperband": ("hydra.sweeper.pruner.min_resource=12",),
    "none": ("hydra/sweeper/pruner=none",),
}


def run(arm: str, minutes: float, seed: int, folder: Path) -> dict[str, float]:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    arguments = [*SHARED, *ARMS[arm], f"hydra.sweeper.timeout={60 * minutes}", f"hydra.sweeper.seed={seed}"]
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "spikeyolo.train", "-m", *arguments, f"hydra.sweep.dir={folder}/sweep"]
    begun = time.perf_counter()
    subprocess.run(
        [*command, f"data.store={folder}/data"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=60 * minutes + 1200,
    )
    wall = time.perf_counter() - begun
    storage = JournalStorage(JournalFileBackend(f"{folder}/sweep/study.journal"))
    trials = optuna.load_study(study_name="highfreq", storage=storage).get_trials()
    return {**summary(trials, minutes), **foresight(trials), "wall, s": round(wall, 1)}


def summary(trials: Sequence[FrozenTrial], minutes: float) -> dict[str, float]:
    """What a sweep had within ``minutes`` of its first trial's start."""
    end = min(t.datetime_start for t in trials if t.datetime_start) + timedelta(minutes=minutes)
    tried = [t for t in trials if t.datetime_complete and t.datetime_complete <= end]
    complete = [t.value for t in tried if t.state.name == "COMPLETE" and t.value is not None]
    return {
        "tried": len(tried),
        "pruned": sum(t.state.name == "PRUNED" for t in tried),
        "failed": sum(t.state.name == "FAIL" for t in tried),
        "begun": len(trials),
        "epochs": sum(len(t.intermediate_values) for t in tried),
        "best mAP50": round(max(complete, default=float("nan")), 4),
    }


def foresight(trials: Sequence[FrozenTrial]) -> dict[str, float]:
    """Rank correlation of mAP50 after some epochs with the trial's value, over the trials that went to the end."""
    from scipy.stats import spearmanr

    complete = [t for t in trials if t.state.name == "COMPLETE"]
    if len(complete) < 5:
        return {}
    ends = [t.value for t in complete]
    return {
        f"rank correlation, epoch {epoch}": round(
            float(spearmanr([t.intermediate_values[epoch] for t in complete], ends)[0]), 2
        )
        for epoch in (4, 6, 8, 10, 12, 14, 16, 20)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--folder", type=Path, help="where the sweeps stay; by default they are removed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor() as both:
        folder = arguments.folder or Path(temporary)
        # At the same time, so that what else the machine does slows both arms alike.
        jobs = {arm: both.submit(run, arm, arguments.minutes, arguments.seed, folder / arm) for arm in arguments.arms}
        for arm, job in jobs.items():
            print(json.dumps({arm: job.result()}), flush=True)


if __name__ == "__main__":
    main()
