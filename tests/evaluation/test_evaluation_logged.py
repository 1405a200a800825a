"""An evaluation in MLflow: a run of its own, a child of the training run, or beside the training's figures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from command_line import evaluate
from mlflow import MlflowClient
from small_run import small_run
from tracked_scenes import scene, straight

pytestmark = pytest.mark.usefixtures("undrawn")
QUICK = ("checkpoint=run/checkpoints/best", "split=val", "costs=false", "device=cpu", "threads=1", "logger=mlflow")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a run was started, to be copied."""
    folder = tmp_path_factory.mktemp("trained")
    small_run(folder)
    return folder


@pytest.fixture(autouse=True)
def store(empty_store: Path, tmp_path: Path) -> None:
    """The database that a logger finds in this folder."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")


@pytest.mark.parametrize("run", ["new", "child", "same"])
def test_a_result_reaches_the_run_it_belongs_to(
    run: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = shutil.copytree(trained, tmp_path, dirs_exist_ok=True) / "run" / "checkpoints" / "best"
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.create_experiment("spikeyolo", artifact_location=str(tmp_path / "mlruns"))
    trained = client.create_run(experiment)
    client.log_metric(trained.info.run_id, "val/map50", 0.25)
    path = folder / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "run_id": trained.info.run_id}))
    ended = evaluate(*QUICK, f"mlflow_run={run}", cwd=tmp_path)
    assert ended.code == 0, ended.errors
    runs = {found.info.run_id: found for found in client.search_runs([experiment])}
    assert len(runs) == (1 if run == "same" else 2)
    assert runs[trained.info.run_id].data.metrics["val/map50"] == 0.25
    (result,) = runs.values() if run == "same" else [one for key, one in runs.items() if key != trained.info.run_id]
    assert ("evaluated/val/map50" if run == "same" else "val/map50") in result.data.metrics
    assert result.info.status == "FINISHED"
    parent = result.data.tags.get("mlflow.parentRunId")
    assert parent == (trained.info.run_id if run == "child" else None)
    names = {file.path for file in client.list_artifacts(result.info.run_id, "evaluation/val_coco")}
    assert {"evaluation/val_coco/evaluation.html", "evaluation/val_coco/scores.json"} <= names


def test_a_checkpoint_without_a_run_has_none_to_log_to(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    ended = evaluate(*QUICK, "mlflow_run=same", cwd=tmp_path)
    assert ended.code == 2
    assert "was trained without MLflow; expected new" in ended.error_lines[0]
    assert not (tmp_path / "run" / "evaluation").exists()


def test_figures_of_tracks_reach_mlflow_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = [straight((20 + 60 * k, 60 + 40 * k), (60 - 30 * k, 20)) for k in range(2)]
    scene(paths, rate_hz=100, duration_s=0.2, classes=[0, 1]).write(tmp_path / "truth.parquet")
    scene(paths, rate_hz=100, duration_s=0.2, classes=[0, 1], noise=0.04).write(tmp_path / "found.parquet")
    ended = evaluate("detections=found.parquet", "tracker=bytetrack", "logger=mlflow", cwd=tmp_path)
    assert ended.code == 0, ended.errors
    made = json.loads((tmp_path / "coco" / "scores.json").read_text())["figures"]
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (result,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    logged = {name: value for name, value in result.data.metrics.items() if "/track/" in name}
    assert logged["found/track/hota"] == pytest.approx(made["track/hota"])
    assert {"found/track/mota", "found/track/idf1", "found/track/idf1/car", "found/track/id_switches"} <= logged.keys()
