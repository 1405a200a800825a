"""A sweep in MLflow: one parent run, one child a trial."""

from __future__ import annotations

import pytest
from optuna.trial import TrialState

pytestmark = pytest.mark.slow


def test_a_sweep_is_one_parent_run_with_a_child_for_every_trial(sweep) -> None:
    mlflow = pytest.importorskip("mlflow")
    uri = f"sqlite:///{sweep.folder.parent}/runs.db"
    settings = f'+hydra.sweeper.mlflow={{tracking_uri: "{uri}", experiment_name: demo}}'
    command = (settings, "chosen=kill,raise", "chosen_below=0", "hydra.sweeper.max_failure_rate=1")
    starts = "hydra.sweeper.enqueue=[{x: -1.0, chosen: kill}, {x: -1.5, chosen: raise}, {x: 1.0, chosen: kill}]"
    output = sweep.run(*command, starts, "hydra.sweeper.n_trials=3")
    assert "database tables" not in output
    sweep.run(*command, "hydra.sweeper.n_trials=4")  # resumed, it goes on with the same parent
    client = mlflow.MlflowClient(uri)
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
