"""Which MLflow run a training is: a new one, the one it goes on with, and what becomes of those that were killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow.entities import Run

from spikeyolo import processes
from spikeyolo.errors import LoggerError
from spikeyolo.mlflow_store import open_client
from spikeyolo.report.mlflow.dataset_use import DatasetUse
from spikeyolo.report.mlflow.logger import MlflowLogger
from spikeyolo.upload import main as upload

KILLED = """
import os, signal
from pathlib import Path
from spikeyolo.report.mlflow.logger import MlflowLogger
logger = MlflowLogger(run_name="killed")
logger.start(folder=Path("."), params={}, tags={})
logger.log_metrics({"epochs": 1.0}, 1)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def folder(empty_store: Path, tmp_path: Path) -> Path:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return tmp_path


def uri(folder: Path) -> str:
    return f"sqlite:///{folder / 'mlflow.db'}"


def logger(folder: Path, **options: object) -> MlflowLogger:
    return MlflowLogger(tracking_uri=uri(folder), system_metrics_s=None, **options)  # type: ignore[arg-type]


def runs(folder: Path) -> list[Run]:
    client = open_client(uri(folder))
    experiment = client.get_experiment_by_name("spikeyolo")
    return [] if experiment is None else list(client.search_runs([experiment.experiment_id]))


def test_a_killed_run_is_closed_as_killed_by_the_next_start_that_finds_it_and_a_living_one_is_not(folder: Path) -> None:
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri(folder)}
    died = subprocess.run([sys.executable, "-c", KILLED], cwd=folder, env=environment, timeout=300)
    assert died.returncode == -signal.SIGKILL
    (killed,) = runs(folder)
    assert killed.info.status == "RUNNING"
    living = logger(folder, run_name="living")
    living.start(folder=folder, params={}, tags={})
    logger(folder).check()
    statuses = {run.info.run_name: run for run in runs(folder)}
    assert statuses["killed"].info.status == "KILLED"
    last = open_client(uri(folder)).get_metric_history(killed.info.run_id, "epochs")[-1]
    assert statuses["killed"].info.end_time == last.timestamp
    assert statuses["living"].info.status == "RUNNING"


def test_of_processes_on_other_machines_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "machine", lambda: "host/boot/1")
    assert processes.is_gone("host/before/7|1|5")  # the machine was started anew
    assert not processes.is_gone("elsewhere/before/7|1|5")
    assert not processes.is_gone("host/boot/7|1|5")  # another container
    assert not processes.is_gone("")
    assert not processes.is_gone(processes.identity())
    assert processes.is_gone(f"host/boot/1|{os.getpid()}|1")  # its number was given anew


def test_a_resumed_run_goes_on_in_the_same_run_unless_it_is_gone(folder: Path) -> None:
    first = logger(folder)
    first.start(folder=folder, name="first", params={"seed": 0}, tags={})
    first.log_metrics({"epochs": 1.0}, 1)
    first.finish("KILLED")
    second = logger(folder)
    second.start(folder=folder, name="second", params={"seed": 0}, tags={}, former_run_id=first.run_id)
    second.log_metrics({"epochs": 2.0}, 2)
    second.finish("FINISHED")
    (run,) = runs(folder)
    assert (run.info.run_id, run.info.run_name, run.info.status) == (first.run_id, "first", "FINISHED")
    assert run.data.metrics["epochs"] == 2
    open_client(uri(folder)).delete_run(run.info.run_id)
    for former in (first.run_id, "0" * 32):
        third = logger(folder)
        third.start(folder=folder, name="third", params={}, tags={}, former_run_id=former)
        assert third.run_id not in (None, first.run_id)


def test_a_trial_that_was_put_back_goes_on_in_its_own_child_run(folder: Path) -> None:
    parent = logger(folder)
    parent.start(folder=folder, params={}, tags={})
    begun = []
    for trial in ("0", "1", "0"):
        child = logger(folder)
        child.start(folder=folder, params={}, tags={"trial.number": trial}, parent_run_id=parent.run_id)
        begun.append(child.run_id)
    assert begun[0] == begun[2] != begun[1]
    assert len(runs(folder)) == 3


def test_artifacts_lie_beside_the_database_wherever_the_run_was_started(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    (elsewhere / "note.txt").write_text("kept")
    kept = logger(folder)
    kept.start(folder=elsewhere, params={}, tags={})
    kept.log_artifact(elsewhere / "note.txt")
    assert [path.read_text() for path in (folder / "mlruns").rglob("note.txt")] == ["kept"]
    assert sorted(path.name for path in elsewhere.iterdir()) == ["note.txt"]


def test_a_moved_folder_has_its_artifacts_and_takes_new_ones(folder: Path, tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    shutil.move(folder / "mlflow.db", before / "mlflow.db")
    (tmp_path / "note.txt").write_text("old")
    old = logger(before)
    old.start(folder=before, params={}, tags={})
    old.log_artifact(tmp_path / "note.txt")
    old.finish()
    before.rename(after)
    (tmp_path / "note.txt").write_text("new")
    new = logger(after)
    new.start(folder=after, params={}, tags={})
    new.log_artifact(tmp_path / "note.txt")
    new.finish()
    client = open_client(uri(after))
    assert not before.exists()
    for run_id, text in ((old.run_id, "old"), (new.run_id, "new")):
        assert run_id is not None
        assert Path(client.download_artifacts(run_id, "note.txt")).read_text() == text


def test_a_database_whose_artifacts_lie_elsewhere_on_purpose_is_left_alone(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "drive" / "mlruns" / "chosen"
    client = open_client(uri(folder))
    client.create_experiment("spikeyolo", artifact_location=str(place))
    place.mkdir(parents=True)
    (folder / "mlruns").mkdir()
    logger(folder).check()
    found = client.get_experiment_by_name("spikeyolo")
    assert found is not None
    assert found.artifact_location == str(place)


def test_a_record_that_cannot_be_stored_waits_alone_and_is_named(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "picture.png").write_bytes(b"png")
    kept = logger(folder)
    kept.start(folder=run, params={}, tags={})
    missing = run / "missing.png"
    kept.log_artifact(missing)
    kept.log_metrics({"epochs": 1.0}, 1)
    kept.log_artifact(run / "picture.png")
    kept.finish("FINISHED")
    (found,) = runs(folder)
    assert (found.info.status, found.data.metrics["epochs"]) == ("FINISHED", 1)
    client = open_client(uri(folder))
    assert [item.path for item in client.list_artifacts(found.info.run_id)] == ["picture.png"]
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert f"{missing} cannot be stored and waits in" in said[0]
    assert "away" not in " ".join(said)
    waiting = [json.loads(line) for line in (run / "mlflow_pending.jsonl").read_text().splitlines()]
    assert [record["path"] for record in waiting] == [str(missing)]
    assert upload([str(run)]) == 2
    assert f"{missing}: cannot be stored" in capsys.readouterr().err
    missing.write_bytes(b"png")
    assert upload([str(run)]) == 0
    assert not (run / "mlflow_pending.jsonl").exists()
    assert len(client.list_artifacts(found.info.run_id)) == 2


def test_data_sets_are_inputs_of_the_run(folder: Path) -> None:
    kept = logger(folder)
    use = {"source": "data/etram", "profile": {"windows": 3}}
    splits = [("train", "0123456789abcdef"), ("val", "fedcba9876543210"), ("test", "fedcba9876543210")]
    used = [DatasetUse("etram", digest, split, **use) for split, digest in splits]  # type: ignore[arg-type]
    kept.start(folder=folder, params={}, tags={}, datasets=used)
    (run,) = runs(folder)
    found = [(item.dataset.name, item.dataset.digest, item.tags[0].value) for item in run.inputs.dataset_inputs]
    assert sorted(found) == [("etram", "0123456789abcdef", "train"), ("etram", "fedcba9876543210", "val, test")]
    assert "data/etram" in run.inputs.dataset_inputs[0].dataset.source
    assert json.loads(run.inputs.dataset_inputs[0].dataset.profile) == {"windows": 3}


def test_the_machines_load_is_sent_with_the_epochs_and_goes_on_in_a_resumed_run(folder: Path) -> None:
    def train(former: str | None, epoch: int) -> str:
        kept = MlflowLogger(tracking_uri=uri(folder), system_metrics_s=0.05)
        kept.start(folder=folder, params={}, tags={}, former_run_id=former)
        deadline = time.monotonic() + 60
        while len(kept._system._samples) < 20 and time.monotonic() < deadline:  # type: ignore[union-attr]
            time.sleep(0.02)
        kept.log_metrics({"epochs": float(epoch)}, epoch)
        kept.finish()
        assert kept.run_id is not None
        return kept.run_id

    run_id = train(train(None, 1), 2)
    points = open_client(uri(folder)).get_metric_history(run_id, "system/cpu_utilization_percentage")
    steps = sorted(point.step for point in points)
    assert len(steps) >= 4
    assert steps == list(range(len(steps)))
    assert all(0 <= point.value <= 100 for point in points)


READ_ONLY = """
import os, sys, time
import mlflow, tempfile
from spikeyolo.errors import LoggerError
from spikeyolo.report.mlflow.logger import MlflowLogger
if os.getuid() == 0:
    os.setuid(65534)  # the superuser writes everywhere
began = time.monotonic()
try:
    MlflowLogger(tracking_uri=sys.argv[1]).check()
except LoggerError as error:
    print(error, time.monotonic() - began, sep="\\n")
"""


def test_a_read_only_folder_says_so_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    for parent in (tmp_path, *tmp_path.parents):
        if parent.name.startswith(("pytest-", "popen-")) or parent == tmp_path:
            parent.chmod(0o755)  # another user comes through, one level deeper under xdist
    command = [sys.executable, "-c", READ_ONLY, uri(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    sentence, seconds = done.stdout.splitlines()
    assert sentence == f"{folder / 'mlflow.db'}: cannot be written (Permission denied)", done.stderr
    assert float(seconds) < 60  # MLflow itself tries for 133 s; on a quiet machine this takes 2
    assert list(folder.iterdir()) == []


def test_an_experiment_says_that_it_trains_models(folder: Path) -> None:
    client = open_client(uri(folder))
    client.create_experiment("spikeyolo")
    logger(folder).check()
    logger(folder, experiment_name="new").check()
    for name in ("spikeyolo", "new"):
        found = client.get_experiment_by_name(name)
        assert found is not None
        assert found.tags["mlflow.experimentKind"] == "custom_model_development"


def test_a_run_is_named_by_the_user_or_by_itself(folder: Path) -> None:
    for given, expected in ((None, "smoke femto adamw s0"), ("mine", "mine")):
        kept = logger(folder, run_name=given)
        kept.start(folder=folder, name="smoke femto adamw s0", params={}, tags={})
        assert kept.run_id is not None
        assert open_client(uri(folder)).get_run(kept.run_id).info.run_name == expected


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(LoggerError, match=r"nowhere/mlflow\.db: cannot be written \(No such file or directory\)"):
        logger(tmp_path / "nowhere").check()
