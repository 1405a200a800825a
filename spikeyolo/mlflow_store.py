"""MLflow's store as training runs and sweeps share it: where it is, its experiment, and runs whose process has died.

MLflow is imported by those who call, not by importing this.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import tempfile
from contextlib import closing, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from spikeyolo import processes
from spikeyolo.errors import LoggerError

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

ARTIFACTS = "mlruns"  # beside the database
PROCESS = "process"  # tag of a run: whose it is
TRIAL = "trial.number"  # tag of a trial's run
PARENT = "mlflow.parentRunId"
# MLflow's own tag of an experiment that is no chat bot's.
EXPERIMENT_KIND = ("mlflow.experimentKind", "custom_model_development")
MAKING_S = 120.0  # one that takes longer to make a database has stopped


def default_tracking_uri() -> str:
    """What ``mlflow ui`` shows when started in the same folder: ``MLFLOW_TRACKING_URI``, or ``mlflow.db`` there."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / 'mlflow.db'}"


def open_client(tracking_uri: str) -> MlflowClient:
    """MLflow's client for a URI, without its chatter about database migrations and without telemetry.

    The client makes the tables of a database that has none. Two that make those of one SQLite file break it: one does,
    and the others wait.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    file = database_file(tracking_uri)
    made = file is None or is_whole(file) or not file.parent.is_dir()
    with nullcontext() if file is None or made else processes.alone(file, patience_s=MAKING_S):
        return MlflowClient(tracking_uri=tracking_uri)


def is_whole(file: Path) -> bool | None:
    """Whether a SQLite file has MLflow's tables up to the row that is written last; None where that cannot be told."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)) as database:
            return bool(database.execute("select count(*) from experiments").fetchone()[0])
    except sqlite3.Error as error:
        return False if "no such table" in str(error) else None


def database_file(uri: str) -> Path | None:
    """The SQLite file of a tracking URI; None for any other store."""
    match = re.fullmatch(r"sqlite:///([^?]+)(\?.*)?", uri)
    return None if match is None else Path(match[1]).absolute()


def check_writable(uri: str) -> None:
    """Return if a SQLite file, and the folder that its journal needs, can be written: MLflow itself tries for minutes.

    Raises:
        LoggerError: it cannot.
    """
    file = database_file(uri)
    if file is None:
        return
    try:
        with tempfile.TemporaryFile(dir=file.parent):
            pass
        if file.exists():
            with file.open("ab"):
                pass
    except OSError as error:
        raise LoggerError(f"{file}: cannot be written ({error.strerror})") from error


def open_experiment(client: MlflowClient, name: str, *, uri: str) -> str:
    """The id of an experiment, made where it does not exist; of a SQLite file it keeps artifacts beside it.

    Raises:
        LoggerError: it was deleted.
    """
    from mlflow.exceptions import MlflowException

    file = database_file(uri)
    if file is not None:
        _follow_move(file)
    found = client.get_experiment_by_name(name)
    if found is None:
        place = None if file is None else (file.parent / ARTIFACTS / quote(name, safe=" ")).as_posix()
        try:
            return str(client.create_experiment(name, artifact_location=place, tags=dict([EXPERIMENT_KIND])))
        except MlflowException:
            # Another run of the same sweep may have made it in between.
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise LoggerError(
            f"{shown(uri)}: the experiment {name!r} was deleted there; "
            "restore it, or choose another logger.experiment_name"
        )
    if EXPERIMENT_KIND[0] not in found.tags:
        client.set_experiment_tag(found.experiment_id, *EXPERIMENT_KIND)
    return str(found.experiment_id)


def shown(uri: str) -> str:
    """The URI as it may be shown: without a password."""
    return re.sub(r"//[^/@]*@", "//", uri)


def _follow_move(file: Path) -> None:
    """Where the folder of a database was moved with its artifacts, which it knows by their old paths: mend these."""
    here = file.parent / ARTIFACTS
    if not here.is_dir():
        return
    with closing(sqlite3.connect(file, timeout=5.0)) as database, suppress(sqlite3.OperationalError):
        places = [Path(row[0]) for row in database.execute("select artifact_location from experiments") if row[0]]
        former = {place.parent for place in places if place.is_absolute() and place.parent.name == ARTIFACTS}
        for old in sorted(former - {here}):
            if old.exists():
                continue  # a copy, or on purpose
            with database:
                for table, column in (
                    ("experiments", "artifact_location"),
                    ("runs", "artifact_uri"),
                    ("logged_models", "artifact_location"),
                ):
                    database.execute(
                        f"update {table} set {column} = ? || substr({column}, ?) where substr({column}, 1, ?) = ?",
                        (f"{here.as_posix()}/", len(old.as_posix()) + 2, len(old.as_posix()) + 1, f"{old.as_posix()}/"),
                    )
            log.info("%s: artifacts are now looked for in %s, no longer in %s", file, here, old)


def close_killed(client: MlflowClient, experiment_id: str) -> int:
    """Close as KILLED what still counts as running though its process has died; returns how many runs that were."""
    closed = 0
    for run in client.search_runs([experiment_id], "attributes.status = 'RUNNING'", max_results=1000):
        if processes.is_gone(run.data.tags.get(PROCESS, "")):
            last = client.get_metric_history(run.info.run_id, "epochs")
            ended = max((point.timestamp for point in last), default=run.info.start_time)
            client.set_terminated(run.info.run_id, "KILLED", ended)
            log.info("the run %s was killed; MLflow now says so", run.info.run_name)
            closed += 1
    return closed


def child_of(client: MlflowClient, experiment_id: str, *, parent_run_id: str, number: int) -> str | None:
    """The run that a sweep's trial has already: it was put back, and goes on in it."""
    query = f"tags.`{PARENT}` = '{parent_run_id}' and tags.`{TRIAL}` = '{number}'"
    found = client.search_runs([experiment_id], query, max_results=1)
    return found[0].info.run_id if found else None
