"""Measures the sweeper: cost and start of a trial, uneven trials, ask on a long study, killed workers.

    python experiments/benchmarks/sweep/measure.py cost start uneven ask kills --peer PEER/bin/python

PEER is an environment of its own with hydra-optuna-sweeper 1.4.0rc3 and hydra-joblib-launcher (see README.md).
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[2]


def command(python: str, trials: int, folder: Path, *more: str, peer: bool = False) -> tuple[list[str], dict[str, str]]:
    arguments = [python, str(HERE / "app.py"), "-m", f"hydra.sweep.dir={folder}", f"hydra.sweeper.n_trials={trials}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if peer:
        arguments += ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
        environment.pop("PYTHONPATH", None)
    else:
        environment["PYTHONPATH"] = str(REPOSITORY)
    return [*arguments, *more], environment


def timed(python: str, trials: int, *more: str, peer: bool = False) -> float:
    with tempfile.TemporaryDirectory() as folder:
        given = (text.replace("{folder}", folder) for text in more)
        arguments, environment = command(python, trials, Path(folder) / "sweep", *given, peer=peer)
        begun = time.perf_counter()
        subprocess.run(arguments, env=environment, check=True, capture_output=True, timeout=900)
        return time.perf_counter() - begun


def cost(peer: str | None) -> dict[str, float]:
    """Wall seconds a trial of a trivial objective, start-up included and (from two lengths) without it."""
    cases: dict[str, tuple[str | None, list[str]]] = {
        "ours, figures drawn": (sys.executable, []),
        "ours, no figures": (sys.executable, ["hydra.sweeper.figures=false"]),
        "official": (peer, []),
        "official, study in SQLite": (peer, ["hydra.sweeper.storage=sqlite:///{folder}.db"]),
    }
    lengths = (10, 50)
    best: dict[tuple[str, int], float] = {}
    for _ in range(5):  # in turns, so that other load strikes all alike
        for (name, (python, more)), length in itertools.product(cases.items(), lengths):
            if python is not None:
                wall = timed(python, length, *more, peer=name.startswith("official"))
                best[name, length] = min(wall, best.get((name, length), wall))
    found = {}
    for name, (python, _) in cases.items():
        if python is not None:
            found[f"{name}: 50 trials, s a trial, start-up included"] = best[name, 50] / 50
            found[f"{name}: s a further trial"] = (best[name, 50] - best[name, 10]) / 40
    return found


def start(peer: str | None) -> dict[str, float]:
    """Seconds to start a trial of an application that imports torch: from the warm server, and without it."""
    del peer
    torch = "hydra.sweeper.preload=[torch]"
    more = (torch, "hydra.sweeper.n_jobs=1", "hydra.sweeper.figures=false")
    short, long = (min(timed(sys.executable, n, *more) for _ in range(3)) for n in (5, 25))
    cold = []
    for _ in range(3):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import torch, hydra.main, optuna"], check=True)
        cold.append(time.perf_counter() - begun)
    return {"from the warm server, s a trial in all": (long - short) / 20, "imports of a new process, s": min(cold)}


def uneven(peer: str | None) -> dict[str, float]:
    """Wall time of 20 trials, one in five of them five times longer, over the ideal schedule of two workers."""
    second = 4.0
    lengths = [second * (5 if i % 5 == 0 else 1) for i in range(20)]
    ideal = sum(lengths) / 2
    workers = [0.0, 0.0]
    for length in lengths:
        heapq.heapreplace(workers, workers[0] + length)
    found = {"ideal, s": ideal, "greedy in order over ideal": max(workers) / ideal}
    for name, python in (("ours", sys.executable), ("official", peer)):
        if python is not None:
            wall = timed(python, 20, f"seconds={second}", "long_one=0", peer=name == "official")
            found[f"{name} over ideal"] = wall / ideal
    return found


def ask(peer: str | None) -> dict[str, float]:
    """Seconds to draw five parameters (TPE, multivariate) from a journal with so many finished trials."""
    import numpy as np
    import optuna

    sys.path.insert(0, str(REPOSITORY))
    from spikeyolo.sweep.space import read_space
    from spikeyolo.sweep.study.storage import open_storage
    from spikeyolo.sweep.study.study import SweepStudy

    del peer
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = read_space({f"p{i}": "interval(0,1)" for i in range(5)}, [])
    random_numbers = np.random.default_rng(0)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        address = f"{folder}/study.journal"
        for size in (500, 1000, 2500, 5000, 10000):
            storage = open_storage(address)
            sampler = optuna.samplers.TPESampler(seed=0, multivariate=True, group=True)
            study = SweepStudy.open(
                storage=storage,
                name="ask",
                directions=["maximize"],
                sampler=sampler,
                pruner=optuna.pruners.HyperbandPruner(1, 27, 3),
            )
            study.add_trials(
                [
                    optuna.trial.create_trial(
                        params={k: float(random_numbers.random()) for k in space.names},
                        distributions=space.distributions,
                        value=float(random_numbers.random()),
                    )
                    for _ in range(size - len(study.get_trials(deepcopy=False)))
                ]
            )
            begun = time.perf_counter()
            sweep = SweepStudy(study=study, storage=open_storage(address), folder=Path(folder), n_trials=10**6)
            found[f"open with {size}, s"] = time.perf_counter() - begun
            begun = time.perf_counter()
            trial = sweep.claim()
            space.suggest(trial, lambda key: None)
            found[f"ask with {size}, s"] = time.perf_counter() - begun
            study.tell(trial, 0.5)
    return found


def kills(peer: str | None) -> dict[str, float]:
    """200 trials while one worker in ten is killed at random: finished, lost, run twice."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    del peer
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    dice = random.Random(0)
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "sweep"
        more = ("seconds=0.3", "hydra.sweeper.retries=5", "hydra.sweeper.figures=false")
        arguments, environment = command(sys.executable, 200, folder, *more)
        begun = time.perf_counter()
        process = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        seen: set[int] = set()
        killed = 0
        while process.poll() is None:
            for pid in workers_of(process.pid) - seen:
                seen.add(pid)
                if dice.random() < 0.1:
                    time.sleep(dice.random() * 0.5)
                    try:
                        os.kill(pid, signal.SIGKILL)
                        killed += 1
                    except ProcessLookupError:
                        pass
            time.sleep(0.05)
        wall = time.perf_counter() - begun
        storage = JournalStorage(JournalFileBackend(str(folder / "study.journal")))
        trials = optuna.load_study(study_name="app", storage=storage).get_trials()
    retried = {t.user_attrs["sweep:retry_of"] for t in trials if "sweep:retry_of" in t.user_attrs}
    complete = [t for t in trials if t.state.name == "COMPLETE"]
    return {
        "exit code": process.returncode,
        "workers killed": killed,
        "complete": len(complete),
        "failed and retried": len([t for t in trials if t.number in retried]),
        "failed and not retried": len([t for t in trials if t.state.name == "FAIL" and t.number not in retried]),
        "left running or waiting": len([t for t in trials if not t.state.is_finished()]),
        "parameters run to the end twice": len(complete) - len({tuple(t.params.values()) for t in complete}),
        "wall, s": wall,
    }


def workers_of(controller: int) -> set[int]:
    """Processes of trials: the grandchildren of the controller."""
    children = _children()
    return {worker for server in children.get(controller, []) for worker in children.get(server, [])}


def _children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        found.setdefault(parent, []).append(int(path.parent.name))
    return found


def main() -> None:
    studies = {"cost": cost, "start": start, "uneven": uneven, "ask": ask, "kills": kills}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("studies", nargs="+", choices=list(studies))
    parser.add_argument("--peer", help="python of the official plugin's environment")
    arguments = parser.parse_args()
    for name in arguments.studies:
        result = {key: round(value, 4) for key, value in studies[name](arguments.peer).items()}
        print(json.dumps({name: result}, indent=1), flush=True)


if __name__ == "__main__":
    main()
