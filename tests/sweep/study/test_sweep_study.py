"""The study on disk: budget, owners, retries, for every kind of storage of one machine."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import optuna
import pytest
from optuna.trial import TrialState

from spikeyolo.errors import SweepError
from spikeyolo.moved import MOVED
from spikeyolo.sweep.messages import Completed, Failed, Interrupted, Pruned
from spikeyolo.sweep.space import Constraint, read_space
from spikeyolo.sweep.space.constraints import parse_constraints
from spikeyolo.sweep.study.starts import starting_points
from spikeyolo.sweep.study.storage import StorageAwayError, open_storage, patiently, storage_address
from spikeyolo.sweep.study.study import SweepStudy

SPACE = read_space({"x": "interval(0,1)"}, [])


@pytest.fixture(params=["journal", "sqlite"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{tmp_path}/study.journal" if request.param == "journal" else f"sqlite:///{tmp_path}/study.db"


def opened(
    address: str,
    folder: Path,
    *,
    n_trials: int = 4,
    retries: int = 1,
    direction: Literal["minimize", "maximize"] = "minimize",
    constraints: Sequence[Constraint] = (),
) -> SweepStudy:
    storage = open_storage(address)
    study = SweepStudy.open(
        storage=storage,
        name="s",
        directions=[direction],
        sampler=optuna.samplers.RandomSampler(seed=0),
        pruner=optuna.pruners.NopPruner(),
    )
    return SweepStudy(
        study=study, storage=storage, folder=folder, n_trials=n_trials, retries=retries, constraints=constraints
    )


def test_no_more_than_the_budget_is_claimed(address: str, tmp_path: Path) -> None:
    first, second = (opened(address, tmp_path, n_trials=5) for _ in range(2))
    claimed = [study.claim() for study in (first, second) * 4]
    assert sum(trial is not None for trial in claimed) == 5
    assert sorted(t.number for t in claimed if t) == list(range(5))


def test_an_interrupted_trial_waits_and_runs_again_with_its_number_and_parameters(address: str, tmp_path: Path) -> None:
    study = opened(address, tmp_path, n_trials=1)
    trial = study.claim()
    assert trial is not None
    SPACE.suggest(trial, lambda key: None)
    study.report(trial, 0.5, 0)
    study.finish(trial, Interrupted(), {})
    assert study.counts().waiting == 1
    again = opened(address, tmp_path, n_trials=1).claim()
    assert again is not None
    assert again.number == trial.number
    SPACE.suggest(again, lambda key: None)
    assert again.params == trial.params


def test_a_retried_crash_does_not_count(address: str, tmp_path: Path) -> None:
    study = opened(address, tmp_path, n_trials=2, retries=1)
    first = study.claim()
    assert first is not None
    SPACE.suggest(first, lambda key: None)
    assert study.finish(first, Failed("killed", crashed=True), {})
    second = study.claim()
    assert second is not None
    assert second.params == first.params
    assert not study.finish(second, Failed("killed", crashed=True), {})  # its one retry is spent
    third = study.claim()
    assert third is not None
    study.finish(third, Pruned(), {})
    assert study.claim() is None
    counts = study.counts()
    assert (counts.finished, counts.failed, counts.pruned, counts.retried) == (2, 1, 1, 1)


def test_the_trials_of_a_dead_controller_are_put_back_and_those_of_a_living_one_are_not(
    address: str, tmp_path: Path
) -> None:
    living, dead = (opened(address, tmp_path) for _ in range(2))
    kept = living.claim()
    lost = dead.claim()
    assert kept is not None
    assert lost is not None
    machine, _, started, mark = dead.ownership.owner.split("|")
    dead.note(lost, {"sweep:owner": f"{machine}|999999999|{started}|{mark}"})
    third = opened(address, tmp_path)
    assert third.recover() == 1
    states = {t.number: t.state for t in third.trials()}
    assert states == {kept.number: TrialState.RUNNING, lost.number: TrialState.WAITING}


def test_values_that_do_not_fit_fail(address: str, tmp_path: Path) -> None:
    study = opened(address, tmp_path)
    for values, word in (((1.0, 2.0), "2 values, expected 1"), ((float("nan"),), "NaN")):
        trial = study.claim()
        assert trial is not None
        outcome = study.judge(trial, Completed(values), {})
        assert isinstance(outcome, Failed)
        assert word in outcome.message


def test_a_storage_that_stays_away_is_told_after_the_patience() -> None:
    calls = []

    def action() -> None:
        calls.append(1)
        raise OSError("gone fishing")

    with pytest.raises(StorageAwayError, match=r"stayed away for 0 s: gone fishing"):
        patiently(action, patience_s=0.45, what="telling")
    assert len(calls) > 1


@pytest.mark.parametrize(
    ("spec", "address"),
    [
        ("journal:///a/b.journal", "/a/b.journal"),
        ("/a/b.log", "/a/b.log"),
        ("sqlite:///a.db", "sqlite:///a.db"),
        (None, "/sweep/study.journal"),
    ],
)
def test_a_storage_is_known_by_its_address(spec: str | None, address: str) -> None:
    assert storage_address(spec, Path("/sweep")) == address


def test_the_best_of_another_study_starts_a_sweep(address: str, tmp_path: Path) -> None:
    other = opened(address, tmp_path, n_trials=3)
    for value in (3.0, 1.0, 2.0):
        trial = other.claim()
        assert trial is not None
        SPACE.suggest(trial, lambda key: None)
        other.finish(trial, Completed((value,)), {})
    best = other.best()
    assert best is not None
    entry = {"best_of": address, "top": 2}
    points = starting_points([entry], space=SPACE, composed=None, folder=tmp_path)  # type: ignore[arg-type]
    assert points[0] == best.params
    assert len(points) == 2
    with pytest.raises(SweepError, match="y is no parameter"):
        starting_points([{"y": 1}], space=SPACE, composed=None, folder=tmp_path)  # type: ignore[arg-type]
    entry = {"best_of": f"{tmp_path}/misspelt/study.journal"}
    with pytest.raises(SweepError, match=r"there is no study at .*misspelt"):
        starting_points([entry], space=SPACE, composed=None, folder=tmp_path)  # type: ignore[arg-type]
    assert not (tmp_path / "misspelt").exists()


@pytest.mark.parametrize(
    ("constraints", "values"),
    [
        ({}, [5.0, 3.0]),  # as they were judged there
        ({"energy_mj": "<= 9"}, [8.0, 5.0, 3.0]),
        ({"energy_mj": "<= 1"}, [3.0]),
        ({"energy_mj": "<= 1", "map": ">= 0.5"}, [3.0]),  # what was not recorded is not judged
        ({"energy_mj": "<= 0.5"}, []),
    ],
)
def test_the_best_of_another_study_break_no_constraint_and_are_those_of_its_direction(
    address: str, tmp_path: Path, constraints: dict[str, str], values: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    other = opened(
        address, tmp_path, n_trials=3, direction="maximize", constraints=parse_constraints({"energy_mj": "<= 2"})
    )
    drawn: dict[float, dict[str, float]] = {}
    for value, energy_mj in ((5.0, 2.0), (8.0, 7.0), (3.0, 1.0)):
        trial = other.claim()
        assert trial is not None
        SPACE.suggest(trial, lambda key: None)
        other.finish(trial, Completed((value,)), {"energy_mj": energy_mj})
        drawn[value] = dict(trial.params)
    points = starting_points(
        [{"best_of": address, "top": 3}],
        space=SPACE,
        composed=None,  # type: ignore[arg-type]
        folder=tmp_path,
        constraints=parse_constraints(constraints),
    )
    assert points == [drawn[value] for value in values]
    assert ("each of the 3 finished trials of study s breaks a constraint" in caplog.text) == (not values)


def test_a_study_behind_a_grpc_proxy_is_shared_too(tmp_path: Path) -> None:
    pytest.importorskip("grpc")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = (
        "import optuna\n"
        f"optuna.storages.run_grpc_proxy_server(optuna.storages.RDBStorage('sqlite:///{tmp_path}/study.db'),"
        f" host='127.0.0.1', port={port})"
    )
    server = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        first, second = (opened(f"grpc://127.0.0.1:{port}", tmp_path, n_trials=3) for _ in range(2))
        claimed = [study.claim() for study in (first, second, first, second)]
        assert sum(trial is not None for trial in claimed) == 3
        trial = claimed[0]
        assert trial is not None
        SPACE.suggest(trial, lambda key: None)
        first.finish(trial, Completed((1.0,)), {})
        assert second.counts().complete == 1
    finally:
        server.kill()
        server.wait(10)


def test_a_study_whose_classes_have_only_moved_goes_on(address: str, tmp_path: Path) -> None:
    old, new = next(iter(MOVED.items()))
    begun = opened(address, tmp_path)
    begun.check_configuration({"optimizer._target_": old}, [], accept=False)
    begun.claim()
    study = opened(address, tmp_path)
    assert study.check_configuration({"optimizer._target_": new}, [], accept=False) == []
    with pytest.raises(SweepError, match=r"optimizer._target_ was .*, is now other"):
        study.check_configuration({"optimizer._target_": "other"}, [], accept=False)
