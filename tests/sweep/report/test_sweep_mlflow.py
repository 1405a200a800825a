"""A sweep in MLflow: one parent run, one child a trial."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from optuna.trial import TrialState

from spikeyolo.sweep.trial import trial_name

pytestmark = pytest.mark.slow


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> str:
    """A tracking URI of its own."""
    return f"sqlite:///{shutil.copy(empty_store, tmp_path / 'runs.db')}"


def test_a_sweep_is_one_parent_run_with_a_child_for_every_trial(sweep, store: str) -> None:
    mlflow = pytest.importorskip("mlflow")
    settings = f'+hydra.sweeper.mlflow={{tracking_uri: "{store}", experiment_name: demo}}'
    command = (settings, "chosen=kill,raise", "chosen_below=0", "hydra.sweeper.max_failure_rate=1")
    starts = "hydra.sweeper.enqueue=[{x: -1.0, chosen: kill}, {x: -1.5, chosen: raise}, {x: 1.0, chosen: kill}]"
    output = sweep.run(*command, starts, "hydra.sweeper.n_trials=3")
    assert "database tables" not in output
    sweep.run(*command, "hydra.sweeper.n_trials=4")  # resumed, it goes on with the same parent
    client = mlflow.MlflowClient(store)
    runs = client.search_runs([client.get_experiment_by_name("demo").experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    children = {int(run.data.tags["trial.number"]): run for run in runs if run is not parents[0]}
    trials = sweep.trials()
    assert children.keys() == {t.number for t in trials}
    for trial in trials:
        run = children[trial.number]
        assert run.data.tags["mlflow.parentRunId"] == parents[0].info.run_id
        assert run.data.tags["trial.state"] == trial.state.name
        assert run.info.status == ("FINISHED" if trial.state == TrialState.COMPLETE else "FAILED")
        assert run.data.params["x"] == str(trial.params["x"])
        if trial.state == TrialState.COMPLETE:
            assert run.data.metrics["objective_final"] == trial.value
            assert run.data.metrics["energy_mj"] == abs(trial.params["x"])
    best = [n for n, run in children.items() if run.data.tags.get("trial.best") == "true"]
    assert best == [sweep.study.best_trial.number]
    assert parents[0].data.metrics["best_value"] == sweep.study.best_value
    artifacts = {item.path for item in client.list_artifacts(parents[0].info.run_id)}
    assert {"optimization_results.yaml", "best_config.yaml"} <= artifacts


def test_six_trials_are_six_children_though_trials_are_stopped_and_put_back(sweep, store: str) -> None:
    mlflow = pytest.importorskip("mlflow")
    settings = f'+hydra.sweeper.mlflow={{tracking_uri: "{store}", experiment_name: demo}}'
    command = (settings, "hydra.sweeper.n_trials=6", f"hold={sweep.hold}")
    sweep.hold.touch()
    sweep.start(*command)
    sweep.wait_for(lambda: sweep.held() >= 1)
    os.killpg(sweep.processes[-1].pid, signal.SIGINT)
    sweep.end(130)
    sweep.hold.unlink()
    sweep.run(*command)
    client = mlflow.MlflowClient(store)
    runs = client.search_runs([client.get_experiment_by_name("demo").experiment_id])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert sorted(int(run.data.tags["trial.number"]) for run in children) == list(range(6))
    assert {run.info.status for run in runs} == {"FINISHED"}
    names = [run.info.run_name for run in children if run.data.tags["trial.number"] == "3"]
    (trial,) = [trial for trial in sweep.trials() if trial.number == 3]
    assert names == [trial_name(3, trial.params)]


def test_a_trials_name_tells_it_from_the_others() -> None:
    assert trial_name(12, {"loss.focal_gamma": 1.7000001, "loss.box_weight": 5.1}) == "#12 gamma 1.7 box 5.1"
    assert trial_name(0, {"+model": "femto", "optimizer.lr": 3.21e-5}) == "#0 femto lr 3.21e-05"
    both = {"loss.box_weight": 1, "data.box_weight": 2, "weight": "w", "loss.weight": 3}
    assert trial_name(1, both) == "#1 loss.box_weight 1 data.box_weight 2 w loss.weight 3"
