"""The ``highfreq`` search with Hyperband and without pruning, for the same time, on two CPU workers each.

    python experiments/benchmarks/sweep/pruning.py --minutes 12

Both arms search the same space with the same sampler and seed on the small embedded set, with trials of 24 epochs at
most. A trial counts as tried if it began within the time; those that still run then are finished.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
SHARED = (
    "+experiment=smoke",
    "+search=highfreq",
    "logger=none",
    "augment=none",
    "data.dataset.train_sequences=12",
    "data.dataset.width=48",
    "data.dataset.height=48",
    "data.time_steps=2",
    "data.batch_size=4",
    "trainer.max_epochs=24",
    "trainer.threads=1",
    "hydra.sweeper.devices=cpu",
    "hydra.sweeper.workers=2",
    "hydra.sweeper.n_trials=1000",
    "hydra.sweeper.figures=false",
    "hydra.sweeper.enqueue=null",
    "hydra.sweeper.max_failure_rate=0",
)
ARMS = {
    "hyperband": (
        "hydra/sweeper/pruner=hyperband",
        "hydra.sweeper.pruner.min_resource=3",
        "hydra.sweeper.pruner.reduction_factor=3",
    ),
    "none": ("hydra/sweeper/pruner=none",),
}


def run(arm: str, minutes: float, seed: int, data: Path) -> dict[str, float]:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    arguments = [*SHARED, *ARMS[arm], f"hydra.sweeper.timeout={60 * minutes}", f"hydra.sweeper.seed={seed}"]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "spikeyolo.train", "-m", *arguments, f"hydra.sweep.dir={folder}/sweep"]
        begun = time.perf_counter()
        subprocess.run(
            [*command, f"data.store={data}"],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=60 * minutes + 600,
        )
        wall = time.perf_counter() - begun
        storage = JournalStorage(JournalFileBackend(f"{folder}/sweep/study.journal"))
        trials = optuna.load_study(study_name="highfreq", storage=storage).get_trials()
    complete = [t.value for t in trials if t.state.name == "COMPLETE"]
    return {
        "tried": len(trials),
        "complete": len(complete),
        "pruned": sum(t.state.name == "PRUNED" for t in trials),
        "epochs": sum(len(t.intermediate_values) for t in trials),
        "best mAP50": round(max(complete, default=float("nan")), 4),
        "wall, s": round(wall, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as data, ThreadPoolExecutor() as both:
        # At the same time, so that what else the machine does slows both arms alike.
        jobs = {
            arm: both.submit(run, arm, arguments.minutes, arguments.seed, Path(data, arm)) for arm in arguments.arms
        }
        for arm, job in jobs.items():
            print(json.dumps({arm: job.result()}), flush=True)


if __name__ == "__main__":
    main()
