"""Runs reach MLflow whole: on the embedded default, and on a server that goes away and comes back."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeyolo.errors import LoggerError
from spikeyolo.mlflow_store import open_client
from spikeyolo.report.mlflow.logger import MlflowLogger
from spikeyolo.report.mlflow.pending import PendingRecords
from spikeyolo.report.mlflow.server import name_for_mlflow, reach, shortened, without_secret
from spikeyolo.upload import main as upload

EMBEDDED = """
from pathlib import Path
from spikeyolo.report.mlflow.logger import MlflowLogger
logger = MlflowLogger(run_name="embedded")
logger.start(folder=Path("."), params={"optimizer.lr": 0.001}, tags={"overrides": "optimizer=adamw"})
logger.log_metrics({"val/map50": 0.5}, 0)
logger.log_metrics({"val/map50": 0.75}, 1)
Path("config.yaml").write_text("seed: 0")
logger.log_artifact(Path("config.yaml"), "config")
logger.finish("FINISHED")
"""


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which a run was tracked with no option given, and what that wrote to the error stream."""
    folder = tmp_path_factory.mktemp("started here")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    done = subprocess.run(
        [sys.executable, "-c", EMBEDDED], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return folder, done.stdout + done.stderr


@pytest.fixture(scope="module")
def store(embedded: tuple[Path, str]) -> str:
    """A tracking URI whose database exists already."""
    return f"sqlite:///{embedded[0] / 'mlflow.db'}"


AT_ONCE_S = 60.0  # on a busy machine; MLflow's own attempts would go on for minutes


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_embedded_default_keeps_a_run_beside_its_artifacts_without_chatter(embedded: tuple[Path, str]) -> None:
    folder, said = embedded
    assert said == ""
    client = open_client(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("spikeyolo")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "embedded"
    assert run.data.params == {"optimizer.lr": "0.001"}
    assert run.data.tags["overrides"] == "optimizer=adamw"
    history = client.get_metric_history(run.info.run_id, "val/map50")
    assert [(point.step, point.value) for point in history] == [(0, 0.5), (1, 0.75)]
    (kept,) = folder.glob("mlruns/*/*/artifacts/config/config.yaml")
    assert kept.read_text() == "seed: 0"
    assert not (folder / "mlflow_pending.jsonl").exists()


def test_values_beyond_mlflows_limits_are_cut_not_refused(store: str, tmp_path: Path) -> None:
    logger = MlflowLogger(tracking_uri=store, tags={"note": "n" * 9000})
    parent = MlflowLogger(tracking_uri=store)
    parent.start(folder=tmp_path, params={}, tags={})
    params = {f"group.{number}": number for number in range(250)} | {"long": "x" * 7000, "klasse[ä]": None}
    logger.start(folder=tmp_path, params=params, tags={}, parent_run_id=parent.run_id)
    numbers = {"nan": math.nan, "up": math.inf, "down": -math.inf, "ap/straßenbahn": 0.5, "ap/车": 0.25, "ap/人": 0.75}
    logger.log_metrics(numbers | {f"m{number}": float(number) for number in range(1100)}, 7)
    logger.finish("KILLED")
    parent.finish("FAILED")
    assert logger.run_id is not None
    run = open_client(store).get_run(logger.run_id)
    assert run.info.status == "KILLED"
    assert len(run.data.params) == 252
    (folded,) = [name for name in run.data.params if name.startswith("klasse_ä_")]
    assert (len(run.data.params["long"]), run.data.params[folded]) == (6000, "None")
    assert len([name for name in run.data.metrics if not name.startswith("system/")]) == 1106
    assert (run.data.metrics["ap/车"], run.data.metrics["ap/人"]) == (0.25, 0.75)
    assert math.isnan(run.data.metrics["nan"])
    assert run.data.metrics["up"] > 1e308
    assert run.data.metrics["down"] < -1e308
    assert run.data.metrics["ap/straßenbahn"] == 0.5
    assert run.data.tags["mlflow.parentRunId"] == parent.run_id


def test_a_run_can_be_gone_on_with(store: str, tmp_path: Path) -> None:
    first = MlflowLogger(tracking_uri=store)
    first.start(folder=tmp_path, params={"epochs": 1}, tags={})
    first.log_metrics({"loss": 2.0}, 0)
    first.finish("KILLED")
    second = MlflowLogger(tracking_uri=store, run_id=first.run_id)
    second.start(folder=tmp_path, params={"epochs": 9, "resume": "last"}, tags={"again": "yes"})
    second.log_metrics({"loss": 1.0}, 1)
    second.finish("FINISHED")
    assert second.run_id == first.run_id is not None
    client = open_client(store)
    run = client.get_run(first.run_id)
    assert (run.info.status, run.data.params, run.data.tags["again"]) == (
        "FINISHED",
        {"epochs": "1", "resume": "last"},
        "yes",
    )
    assert [point.value for point in client.get_metric_history(first.run_id, "loss")] == [2.0, 1.0]


def test_a_deleted_experiment_is_one_sentence(store: str, tmp_path: Path) -> None:
    client = open_client(store)
    client.delete_experiment(client.create_experiment("gone"))
    with pytest.raises(LoggerError, match="the experiment 'gone' was deleted there; restore it"):
        MlflowLogger(tracking_uri=store, experiment_name="gone").start(folder=tmp_path, params={}, tags={})


def test_a_store_that_was_cut_short_while_it_was_made_is_named(store: str, tmp_path: Path) -> None:
    half = tmp_path / "mlflow.db"
    half.write_bytes(Path(store.removeprefix("sqlite:///")).read_bytes())
    with closing(sqlite3.connect(half)) as database:
        database.execute("drop table experiments")
    with pytest.raises(LoggerError, match=rf"{half} was cut short while it was made: remove it") as caught:
        MlflowLogger(tracking_uri=f"sqlite:///{half}").start(folder=tmp_path, params={}, tags={})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["http", "https", "postgresql", "mysql+pymysql"])
def test_a_server_that_is_not_there_is_one_sentence_without_the_password(scheme: str, tmp_path: Path) -> None:
    uri = f"{scheme}://me:secret@127.0.0.1:{free_port()}"
    began = time.monotonic()
    with pytest.raises(LoggerError, match=r"cannot be reached .*refused") as caught:
        MlflowLogger(tracking_uri=uri).start(folder=tmp_path, params={}, tags={})
    assert time.monotonic() - began < AT_ONCE_S
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_takes_calls_and_never_answers_is_given_up() -> None:
    answer = pytest.raises(LoggerError, match=r"cannot be reached .*timed out")
    with socket.create_server(("127.0.0.1", 0)) as mute, answer:
        reach(f"http://127.0.0.1:{mute.getsockname()[1]}", timeout_s=0.3)


def test_logging_before_the_start_is_a_programming_error() -> None:
    with pytest.raises(RuntimeError, match="start"):
        MlflowLogger().log_metrics({"loss": 1.0}, 0)


json_values = st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner))
address = {"kind": "metrics", "tracking_uri": "http://me:pw@host", "run_id": "abc"}
records = st.lists(st.dictionaries(st.text(), json_values).map(lambda values: values | address), max_size=5)


@settings(max_examples=20, deadline=None)
@given(waiting=records, later=records, torn=st.text("{}[]\"'ab", max_size=20), kept=st.integers(0, 6))
def test_records_wait_in_order_and_survive_a_torn_last_line(
    tmp_path_factory: pytest.TempPathFactory,
    waiting: list[dict[str, object]],
    later: list[dict[str, object]],
    torn: str,
    kept: int,
) -> None:
    pending = PendingRecords(tmp_path_factory.mktemp("run"))
    assert not pending
    for record in waiting:
        pending.append(record)
    if not waiting:
        return
    with pending.path.open("a") as file:
        file.write(torn)
    assert json.dumps(pending.read()) == json.dumps(waiting)
    for record in later:
        pending.append(record)
    found = pending.read()
    assert json.dumps(found) == json.dumps(waiting + later)
    assert stat.S_IMODE(pending.path.stat().st_mode) == 0o600
    pending.keep(found[kept:])
    assert bool(pending) == (kept < len(found))
    if pending:
        assert json.dumps(pending.read()) == json.dumps(found[kept:])


odd_names = st.text(min_size=1, max_size=8) | st.text("a./_[ ", min_size=1, max_size=6) | st.text(min_size=240)


@given(names=st.sets(odd_names, max_size=6), value=st.text(max_size=50), length=st.integers(1, 40))
def test_names_and_values_fit_mlflow_and_different_names_stay_different(
    names: set[str], value: str, length: int
) -> None:
    from mlflow.utils.validation import _validate_metric_name

    cleaned = {name_for_mlflow("val/" + name) for name in names}
    assert len(cleaned) == len(names)
    for name in cleaned:
        assert len(name) <= 250
        assert name == name_for_mlflow(name)
        _validate_metric_name(name)
    assert len(shortened(value, length)) <= length


def test_a_name_that_fits_is_kept() -> None:
    for name in ("val/ap50/car", "last/val/map50", "ap/straßenbahn", "val/ap50/车", "a b-c.d_e"):
        assert name_for_mlflow(name) == name
    assert name_for_mlflow("val/ap50/a[1]").startswith("val/ap50/a_1_-")


def test_a_password_is_not_shown() -> None:
    assert without_secret("postgresql+psycopg2://me:pw@host:5432/runs") == "postgresql+psycopg2://host:5432/runs"
    assert without_secret("sqlite:////home/a@b/mlflow.db") == "sqlite:////home/a@b/mlflow.db"


def test_upload_says_in_one_line_that_nothing_waits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert upload([str(tmp_path)]) == 2
    assert "mlflow_pending.jsonl: cannot be read" in capsys.readouterr().err
    for damage in ("garbage\n", '{"kind": "metrics"}\n', "3\n"):
        (tmp_path / "mlflow_pending.jsonl").write_text(damage)
        assert upload([str(tmp_path)]) == 2
        assert "is damaged" in capsys.readouterr().err


@contextmanager
def mlflow_ui(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """``mlflow ui`` started in a folder with nothing but a free port, until it answers."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # spares each start some seconds
    with (folder / "server.log").open("ab") as written:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "ui", "--port", str(port), "--workers", "1"],
            cwd=folder,
            env=environment,
            stdout=written,
            stderr=written,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 300
        while True:
            try:
                reach(f"http://127.0.0.1:{port}", timeout_s=1.0)
                break
            except LoggerError:
                assert process.poll() is None, (folder / "server.log").read_text()[-2000:]
                assert time.monotonic() < deadline, "mlflow ui did not answer in 300 s"
                time.sleep(0.2)
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
def test_a_server_may_freeze_or_die_in_mid_run_and_nothing_is_lost(
    embedded: tuple[Path, str], tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO, logger="spikeyolo")
    folder, _ = embedded
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    pending = tmp_path / "mlflow_pending.jsonl"
    (tmp_path / "picture.png").write_bytes(b"png")
    (tmp_path / "last").mkdir()
    (tmp_path / "last" / "model.safetensors").write_bytes(b"weights")
    logger = MlflowLogger(tracking_uri=uri, run_name="remote", retry_timeout_s=5.0)
    with mlflow_ui(folder, port) as server:
        # The run tracked with no option given is what the page shows that is opened with no option given.
        request = urllib.request.Request(
            f"{uri}/api/2.0/mlflow/runs/search",
            json.dumps({"experiment_ids": ["1"]}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            names = [run["info"]["run_name"] for run in json.load(answer)["runs"]]
        assert "embedded" in names
        logger.start(folder=tmp_path, params={"lr": 0.1}, tags={})
        logger.log_metrics({"loss": 5.0, "nan": math.nan}, 0)
        assert not pending.exists()
        os.killpg(server.pid, signal.SIGSTOP)
        logger.log_metrics({"loss": 4.0, "nan": math.nan}, 1)
        assert pending.exists()
        os.killpg(server.pid, signal.SIGCONT)
        logger.log_metrics({"loss": 3.0}, 2)
        assert not pending.exists()
    began = time.monotonic()
    logger.log_metrics({"loss": 2.0}, 3)
    logger.log_artifact(tmp_path / "picture.png", "figures")
    logger.log_artifact(tmp_path / "last", "checkpoints")
    logger.finish("FINISHED")
    assert time.monotonic() - began < AT_ONCE_S
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(said) == 3  # once each time it goes away, and once at the end
    assert said[2].endswith(f"python -m spikeyolo.upload {tmp_path}")
    assert upload([str(tmp_path)]) == 2
    assert "cannot be reached" in capsys.readouterr().err
    with mlflow_ui(folder, port):
        assert upload([str(tmp_path)]) == 0
        assert "4 records sent" in capsys.readouterr().out
        assert not pending.exists()
        client = open_client(uri)
        assert logger.run_id is not None
        run = client.get_run(logger.run_id)
        assert run.info.status == "FINISHED"
        history = sorted((point.step, point.value) for point in client.get_metric_history(logger.run_id, "loss"))
        assert history == [(0, 5.0), (1, 4.0), (2, 3.0), (3, 2.0)]
        assert math.isnan(run.data.metrics["nan"])
        assert [file.path for file in client.list_artifacts(logger.run_id, "figures")] == ["figures/picture.png"]
        (file,) = client.list_artifacts(logger.run_id, "checkpoints/last")
        assert file.path == "checkpoints/last/model.safetensors"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{uri}/nothing-here", timeout=10)
        reach(f"{uri}/nothing-here", timeout_s=10.0)  # an answer is an answer
