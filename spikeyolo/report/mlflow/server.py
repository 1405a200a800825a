"""The tracking server: whether it answers, and how records reach one of its runs.

MLflow's own client waits minutes for a server that is gone (seven tries of two minutes each, and ten for a database);
here a cheap question comes first, and the client is told to give up soon.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from spikeyolo.errors import LoggerError
from spikeyolo.mlflow_store import database_file, is_whole, open_client
from spikeyolo.mlflow_store import shown as without_secret
from spikeyolo.report.mlflow.model import log_model
from spikeyolo.report.mlflow.pending import PendingRecords

if TYPE_CHECKING:
    from mlflow import MlflowClient

# MLflow's limits, the same on every back end.
METRICS_PER_BATCH = 1000
PARAMS_PER_BATCH = 100
PARAM_LENGTH = 6000
TAG_LENGTH = 8000
NAME_LENGTH = 250

PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433, "http": 80, "https": 443}
# A reply may take its time over a large file; metrics are small, and the next epoch tries again.
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}


class ServerAwayError(LoggerError):
    """Nothing answers: whatever is to be sent has to wait."""


def reach(uri: str, *, timeout_s: float) -> None:
    """Return if something answers at a tracking URI; folders and SQLite files always do.

    Raises:
        ServerAwayError: nothing answers within the time, or a proxy says that its server is gone.
    """
    parts = urlsplit(uri)
    kind = parts.scheme.split("+")[0]
    if kind not in PORTS or not parts.hostname:
        return
    try:
        place = (parts.hostname, parts.port or PORTS[kind])
        if kind not in ("http", "https"):
            socket.create_connection(place, timeout=timeout_s).close()
            return
        # Only whether it lives is asked here, without a secret: the client checks certificates afterwards.
        trusting = ssl.create_default_context()
        trusting.check_hostname = False
        trusting.verify_mode = ssl.CERT_NONE
        host = f"[{place[0]}]" if ":" in place[0] else place[0]
        address = f"{kind}://{host}:{place[1]}{parts.path.rstrip('/')}/health"
        urllib.request.urlopen(address, timeout=timeout_s, context=trusting).close()
    except urllib.error.HTTPError as error:
        if error.code >= 500:
            raise ServerAwayError(
                f"{without_secret(uri)}: the tracking server answers with error {error.code}"
            ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise ServerAwayError(f"{without_secret(uri)}: the tracking server cannot be reached ({reason})") from error


def name_for_mlflow(name: str) -> str:
    """A name that every back end of MLflow takes: letters of any script, digits and ``_-. /``.

    One that had to be changed carries a hash of itself, so that two of them stay two.
    """
    parts = [part if part.strip(".") else "_" for part in re.sub(r"[^\w\-./ ]", "_", name).split("/")]
    valid = "/".join(parts)[:NAME_LENGTH]
    if valid == name:
        return name
    return f"{valid[: NAME_LENGTH - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def shortened(value: Any, length: int) -> str:
    """A value as text of at most ``length`` characters."""
    text = str(value)
    return text if len(text) <= length else text[: length - 1] + "…"


@contextmanager
def patience() -> Iterator[None]:
    """Let MLflow's client, which reads its limits from the environment at each call, give up soon."""
    before = {name: os.environ.get(name) for name in PATIENCE}
    os.environ.update({name: value for name, value in PATIENCE.items() if before[name] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


@contextmanager
def one_line_errors(uri: str) -> Iterator[None]:
    """Turn whatever MLflow, its drivers and its artifact stores raise into one line."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, _failures()):
            raise
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise LoggerError(f"{without_secret(uri)}: MLflow says: {shortened(first, 300)}") from error


def _failures() -> tuple[type[BaseException], ...]:
    """What may be raised for the server's sake, by the modules that are loaded when it is: a driver or an object
    store has errors of its own, and is imported only where it is in use."""
    own = (
        ("mlflow.exceptions", "MlflowException"),
        ("botocore.exceptions", "BotoCoreError"),
        ("botocore.exceptions", "ClientError"),
        ("boto3.exceptions", "Boto3Error"),
        ("google.api_core.exceptions", "GoogleAPIError"),
        ("azure.core.exceptions", "AzureError"),
        ("sqlalchemy.exc", "SQLAlchemyError"),
        ("alembic.util.exc", "CommandError"),
    )
    loaded = [getattr(sys.modules[module], name) for module, name in own if module in sys.modules]
    return (OSError, ImportError, *loaded)


def half_made(uri: str) -> Path | None:
    """The SQLite file of a URI if it lacks the tables' last row: a start that made it was cut short."""
    file = database_file(uri)
    return file if file is not None and is_whole(file) is False else None


class TrackedRun:
    """One run on a tracking server, and the records it can be sent.

    A record is a mapping that JSON can hold, of one of the kinds

    - ``metrics``: ``metrics`` (name to number), ``step``, ``timestamp_ms``, and ``samples`` of the machine with times
      of their own (name, value, ms, step);
    - ``artifact``: ``path`` of a file or folder, ``folder`` to put it into (or null);
    - ``model``: ``path`` of a checkpoint, ``step``;
    - ``finish``: ``status``, ``timestamp_ms``.
    """

    def __init__(self, client: MlflowClient, *, tracking_uri: str, run_id: str) -> None:
        self.client = client
        self.tracking_uri = tracking_uri
        self.run_id = run_id

    def send(self, record: Mapping[str, Any], *, timeout_s: float) -> None:
        """Send one record.

        Raises:
            ServerAwayError: the server does not answer within the time.
        LoggerError: it refuses this record.
        """
        reach(self.tracking_uri, timeout_s=timeout_s)
        try:
            with patience(), one_line_errors(self.tracking_uri):
                if record["kind"] == "metrics":
                    self._send_metrics(record)
                elif record["kind"] == "artifact":
                    self._send_artifact(Path(record["path"]), record["folder"])
                elif record["kind"] == "model":
                    log_model(self.client, self.run_id, Path(record["path"]), step=record["step"])
                else:
                    self.client.set_terminated(self.run_id, record["status"], record["timestamp_ms"])
        except LoggerError:
            reach(self.tracking_uri, timeout_s=timeout_s)  # gone in the meantime: that is what to say
            raise

    def _send_metrics(self, record: Mapping[str, Any]) -> None:
        from mlflow.entities import Metric

        rows = [
            Metric(name_for_mlflow(name), float(value), record["timestamp_ms"], record["step"])
            for name, value in record["metrics"].items()
        ]
        rows += [Metric(name, value, when, step) for name, value, when, step in record.get("samples", ())]
        for start in range(0, len(rows), METRICS_PER_BATCH):
            self.client.log_batch(self.run_id, metrics=rows[start : start + METRICS_PER_BATCH])

    def _send_artifact(self, path: Path, folder: str | None) -> None:
        if path.is_dir():
            # As a file goes into the folder under its own name, so does a folder.
            inside = f"{folder}/{path.name}" if folder else path.name
            self.client.log_artifacts(self.run_id, str(path), inside)
        else:
            self.client.log_artifact(self.run_id, str(path), folder)


def named(record: Mapping[str, Any]) -> str:
    """A record as a sentence calls it."""
    if record["kind"] == "metrics":
        return f"the figures of step {record['step']}"
    return str(record["path"]) if "path" in record else "the end of the run"


def send_pending(
    pending: PendingRecords, *, run: TrackedRun | None = None, tracking_uri: str | None = None, timeout_s: float
) -> int:
    """Upload what waits, oldest first, and forget what arrived; returns how many records did.

    A record that the server refuses waits on and holds nothing back.

    Args:
        run: a run that is open already.
        tracking_uri: where to, if the server has moved.
        timeout_s: how long the server may take to answer.

    Raises:
        ServerAwayError: the server is away; what did not arrive still waits.
        LoggerError: it refuses records, which it names; all others arrived.
    """
    records = pending.read()
    runs = {(run.tracking_uri, run.run_id): run} if run else {}
    refused: list[tuple[dict[str, Any], LoggerError]] = []
    seen = 0
    try:
        for record in records:
            place = (tracking_uri or record["tracking_uri"], record["run_id"])
            try:
                if place not in runs:
                    reach(place[0], timeout_s=timeout_s)
                    with patience(), one_line_errors(place[0]):
                        runs[place] = TrackedRun(open_client(place[0]), tracking_uri=place[0], run_id=place[1])
                runs[place].send(record, timeout_s=timeout_s)
            except ServerAwayError:
                raise
            except LoggerError as error:
                refused.append((record, error))
            seen += 1
    finally:
        if seen > len(refused):
            pending.keep([*(record for record, _ in refused), *records[seen:]])
    if refused:
        what = ", ".join(dict.fromkeys(named(record) for record, _ in refused))
        raise LoggerError(f"{what}: cannot be stored ({refused[0][1]}); {seen - len(refused)} other records were sent")
    return seen
