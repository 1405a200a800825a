"""The ten claims measured: trains all arms through the sweeper's grid, evaluates them, compares them, makes the table.

    python -m experiments.ten_claims.run                                  # both sets, equal steps and time: hours
    python -m experiments.ten_claims.run --sets embedded --budgets steps  # one of the four studies

From the repository's root. What is finished is not done again; a training, an evaluation or a comparison that fails
takes only its own row, which says so. Words with ``=`` are overrides of every training.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict

from experiments.ten_claims.claims import ALL_ON, CLAIMS, Budget, arms
from experiments.ten_claims.table import FIGURES, Difference, Row, draw_forest, markdown
from spikeyolo import compare, evaluate
from spikeyolo.engine.checkpoints.files import replace_text
from spikeyolo.entry import config_directory
from spikeyolo.errors import SpikeyoloError
from spikeyolo.evaluation import run_data
from spikeyolo.sweep.study.ledger import ERROR, FOLDER
from spikeyolo.sweep.study.storage import open_storage, storage_address

HERE = Path(__file__).resolve().parent
log = logging.getLogger("ten_claims")


@dataclass(frozen=True)
class Run:
    """One training of the grid; ``failure`` says in words why there is no figure, and is empty where there is."""

    arm: str
    seed: int
    folder: Path
    failure: str = ""


def train(folder: Path, name: str, budget: Budget, seeds: Sequence[int], jobs: int, overrides: Sequence[str]) -> None:
    """Run what is left of the grid; exits as the sweep does where it did not begin or was interrupted."""
    words = [
        f"--config-dir={HERE / 'conf'}",
        f"hydra.searchpath=[file://{HERE.parent / 'etram_like' / 'conf'}]",
        "+experiment=ten_claims",
        "+search=ten_claims",
        f"set={name}",
        f"budget={budget}",
        f"hydra.sweep.dir={folder}",
        f"hydra.sweeper.n_jobs={jobs}",
        f"arm=choice({','.join(arms(budget))})",
        f"seed=choice({','.join(map(str, seeds))})",
        *overrides,
    ]
    ended = subprocess.run([sys.executable, "-m", "spikeyolo.train", "-m", *words], check=False)
    if ended.returncode and not (ended.returncode == 2 and any(run.failure for run in runs_of(folder))):
        raise SystemExit(ended.returncode)


def runs_of(folder: Path) -> list[Run]:
    """The newest finished run of each arm and seed of a sweep's folder."""
    if not (folder / "study.journal").is_file():
        return []
    storage = open_storage(storage_address(None, folder))
    studies = optuna.get_all_study_summaries(storage)
    found: dict[tuple[str, int], Run] = {}
    for trial in optuna.load_study(study_name=studies[0].study_name, storage=storage).trials if studies else ():
        if not trial.state.is_finished():
            continue
        arm, seed = str(trial.params["arm"]), int(trial.params["seed"])
        failure = ""
        if trial.state is not optuna.trial.TrialState.COMPLETE:
            failure = f"{arm}, seed {seed}: the training failed ({_brief(trial.user_attrs.get(ERROR, 'unknown'))})"
        found[arm, seed] = Run(arm, seed, Path(trial.user_attrs.get(FOLDER, folder / str(trial.number))), failure)
    return list(found.values())


def evaluated(run: Run, overrides: Sequence[str]) -> tuple[Run, dict[str, float]]:
    """The run with the figures of its best epoch on the test recordings; without them, and with the reason, where that
    failed in whatever way."""
    if run.failure:
        return run, {}
    try:
        found = scores_of(run)
        if found is None:
            best = run.folder / "checkpoints" / "best"
            words = [f"checkpoint='{best}'", "split=test", "steps=scored", "costs=false", "threads=1", *overrides]
            run_data.offer(words)
            evaluate.run(_composed("evaluate", words))
            found = scores_of(run)
        if found is None:
            raise SpikeyoloError("the evaluation left no scores.json")
        return run, found
    except Exception as error:  # of one run, which must not take the others with it
        failure = f"{run.arm}, seed {run.seed}: not evaluated ({_reason(error)})"
        log.warning("%s", failure, exc_info=not isinstance(error, SpikeyoloError))
        return replace(run, failure=failure), {}


def scores_of(run: Run) -> dict[str, float] | None:
    """Figures of a run's newest evaluation, with the minutes it trained (NaN where it does not tell); None where it was
    not evaluated since."""
    state = run.folder / "checkpoints" / "best" / "state.json"
    found = [path for path in run.folder.glob("evaluation/best_test_*/coco/scores.json") if state.is_file()]
    newest = max(found, key=lambda path: path.stat().st_mtime, default=None)
    if newest is None or newest.stat().st_mtime < state.stat().st_mtime:
        return None
    figures = json.loads(newest.read_text())["figures"]
    told = run.folder / "metrics.json"
    trained = json.loads(told.read_text()) if told.is_file() else {}
    minutes = trained.get("seconds_per_epoch", math.nan) * trained.get("epochs", math.nan) / 60
    return {name: math.nan if value is None else float(value) for name, value in figures.items()} | {"minutes": minutes}


def compared(
    runs: Sequence[Run], order: Sequence[str], out: Path
) -> tuple[dict[str, tuple[float, float]], dict[str, str]]:
    """``compare`` of the arms, which it also prints and saves: arm → interval of mAP, all on less that arm, over
    recordings; and arm → why it has none. Where not all can be compared at once, each is by itself."""
    by_arm = {arm: [run for run in runs if run.arm == arm] for arm in order}
    there = [arm for arm in order if by_arm[arm]]
    if len(there) < 2 or there[0] != ALL_ON:
        return {}, {}
    try:
        return _together(by_arm, there, out), {}
    except Exception as error:
        log.warning("not all arms can be compared (%s): each is by itself", _reason(error))
    found: dict[str, tuple[float, float]] = {}
    failures: dict[str, str] = {}
    for arm in there[1:]:
        try:
            found |= _together(by_arm, [ALL_ON, arm], out / arm)
        except Exception as error:
            failures[arm] = f"{arm}: not compared over recordings ({_reason(error)})"
    return found, failures


def _together(by_arm: dict[str, list[Run]], there: Sequence[str], out: Path) -> dict[str, tuple[float, float]]:
    """One ``compare`` of these arms, all on first; errors are raised as they are."""
    words = compare.with_runs([str(run.folder) for arm in there for run in by_arm[arm]])
    rows = compare.run(_composed("compare", [*words, "metric=map", "save=[markdown,csv,figure]", f"out='{out}'"]))
    if len(rows) != len(there):  # two arms of one configuration are one row
        log.warning("compare made %d rows of %d arms: intervals over recordings are left out", len(rows), len(there))
        return {}
    intervals = [row.over_recordings for row in rows[1:]]
    return {arm: (0.0 - high, 0.0 - low) for arm, (low, high) in zip(there[1:], intervals, strict=True)}


def study(
    name: str, budget: Budget, *, out: Path, seeds: Sequence[int], jobs: int, overrides: Sequence[str] = ()
) -> list[Row]:
    """One set and budget from training to ``table.md``, ``forest.png`` and ``figures.json``."""
    folder = (out / f"{name}_{budget}").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    train(folder, name, budget, seeds, jobs, overrides)
    of_data = ["data.temporal_buffer=0.2", "data.max_samples_per_file=50"]  # one truth for all arms
    scored = [evaluated(run, of_data) for run in runs_of(folder) if run.seed in seeds]
    runs = [run for run, _ in scored]
    figures = {(run.arm, run.seed): found for run, found in scored if not run.failure}
    recordings, uncompared = compared([run for run in runs if not run.failure], arms(budget), folder / "comparison")
    rows = []
    for claim in CLAIMS:
        arm = claim.arm_at(budget)
        both = [{seed: found for (of, seed), found in figures.items() if of == which} for which in (ALL_ON, arm)]
        differences = {
            figure: Difference.of(
                *({seed: found.get(figure, math.nan) for seed, found in side.items()} for side in both)
            )
            for figure in FIGURES
        }
        failures = [run.failure for run in runs if run.failure and run.arm in (ALL_ON, arm)]
        failures += [uncompared[arm]] if arm in uncompared else []
        rows.append(Row(claim, differences, recordings.get(arm), tuple(failures)))
    alike = "equal steps" if budget == "steps" else f"{os.environ.get('TEN_CLAIMS_MINUTES', '10')} minutes each"
    title = f"{name}, {alike}, seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    replace_text(folder / "table.md", markdown(rows, title=title))
    replace_text(
        folder / "figures.json",
        json.dumps([{"arm": arm, "seed": seed, **_plain(found)} for (arm, seed), found in sorted(figures.items())])
        + "\n",
    )
    draw_forest(folder / "forest.png", rows, title=title)
    print(markdown(rows, title=title))
    print(folder / "forest.png")
    return rows


def _composed(command: str, words: Sequence[str]) -> Any:
    """The configuration of a command, as its entry point gets it."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        config = compose(command, list(words), return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    with open_dict(config):
        del config["hydra"]
    return config


def _plain(figures: dict[str, float]) -> dict[str, float | None]:
    told = {name: figures.get(name, math.nan) for name in FIGURES}
    return {name: value if math.isfinite(value) else None for name, value in told.items()}


def _reason(error: Exception) -> str:
    """In one line; a crash with its kind, which its message alone seldom tells."""
    kind = "" if isinstance(error, SpikeyoloError) else f"{type(error).__name__}: "
    return _brief(f"{kind}{error}")


def _brief(text: str) -> str:
    return " ".join(text.split())[:160]


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=("embedded", "etram_like"), default=["embedded", "etram_like"])
    parser.add_argument("--budgets", nargs="+", choices=("steps", "time"), default=["steps", "time"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--minutes", type=float, default=10.0, help="of each training at equal time")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once, of equal steps")
    parser.add_argument("--out", type=Path, default=Path("multirun/ten_claims"))
    parser.add_argument("overrides", nargs="*", help="of every training, as model=pico")
    asked = parser.parse_args(words)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    os.environ["TEN_CLAIMS_MINUTES"] = f"{asked.minutes:g}"
    os.environ["TEN_CLAIMS_FIFTH"] = f"{asked.minutes / 5:g}"
    for budget in asked.budgets:
        for name in asked.sets:
            jobs = asked.jobs if budget == "steps" else 1  # or trainings would take time from one another
            study(name, budget, out=asked.out, seeds=asked.seeds, jobs=jobs, overrides=asked.overrides)


if __name__ == "__main__":
    main()
