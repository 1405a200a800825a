"""Tracking with MLflow: a run's parameters, metrics, tags and files, in one request an epoch, and none of them lost.

At the start the server must answer. Later it may go away: training goes on, records wait in the run's folder, every
epoch tries again, and what still waits at the end can be sent with ``python -m spikeyolo.upload``.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Gt, Len

from spikeyolo.errors import LoggerError
from spikeyolo.report.pending import PendingRecords
from spikeyolo.report.server import (
    PARAM_LENGTH,
    PARAMS_PER_BATCH,
    TAG_LENGTH,
    TrackedRun,
    half_made,
    name_for_mlflow,
    one_line_errors,
    patience,
    reach,
    shortened,
    without_secret,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

Status = Literal["FINISHED", "FAILED", "KILLED"]


def default_tracking_uri() -> str:
    """What ``mlflow ui`` shows when started in the same folder: ``MLFLOW_TRACKING_URI``, or ``mlflow.db`` there."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / 'mlflow.db'}"


def open_client(tracking_uri: str) -> MlflowClient:
    """MLflow's client for a URI, without its chatter about database migrations and without telemetry."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=tracking_uri)


def opened(tracking_uri: str) -> MlflowClient:
    """A client of a store that has been asked something, so that its tables exist.

    Raises:
        LoggerError: the store cannot be used.
    """
    try:
        with patience(), one_line_errors(tracking_uri):
            client = open_client(tracking_uri)
            client.search_experiments(max_results=1)
            return client
    except LoggerError as error:
        file = half_made(tracking_uri)
        if file is None:
            raise
        raise LoggerError(f"{error}; {file} was cut short while it was made: remove it and start again") from error


class MlflowLogger:
    """Keeps one run on a tracking server.

    Args:
        tracking_uri: where to; by default ``mlflow.db`` in the current folder, its artifacts in ``mlruns`` beside it.
        experiment_name: created where it does not exist.
        run_name: by default MLflow makes one up.
        run_id: go on with this run instead of making one.
        tags: further tags.
        start_timeout_s: how long the server may take to answer at the start.
        retry_timeout_s: how long an epoch may wait for a server that went away.
    """

    def __init__(
        self,
        *,
        tracking_uri: str | None = None,
        experiment_name: Annotated[str, Len(1)] = "spikeyolo",
        run_name: str | None = None,
        run_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        start_timeout_s: Annotated[float, Gt(0)] = 5.0,
        retry_timeout_s: Annotated[float, Gt(0)] = 1.0,
    ) -> None:
        self._tracking_uri = tracking_uri
        self._experiment_name = experiment_name
        self._run_name = run_name
        self._run_id = run_id
        self._tags = dict(tags or {})
        self._start_timeout_s = start_timeout_s
        self._retry_timeout_s = retry_timeout_s
        self._run: TrackedRun | None = None
        self._pending: PendingRecords | None = None
        self._away = False

    @property
    def run_id(self) -> str | None:
        """The run's identity on the server; None before the start."""
        return self._run.run_id if self._run else self._run_id

    @property
    def tracking_uri(self) -> str | None:
        """Where the run is kept; None before the start of a run at the default place."""
        return self._run.tracking_uri if self._run else self._tracking_uri

    def start(
        self,
        *,
        folder: Path,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        parent_run_id: str | None = None,
    ) -> None:
        """Open the run and record what it is made of.

        Args:
            folder: the run's folder, where records wait while the server is away.
            params: flat names to values; cut at MLflow's 6000 characters.
            tags: text to text.
            parent_run_id: the run of the sweep that this one belongs to.

        Raises:
            LoggerError: the server cannot be reached or refuses.
        """
        uri = self._tracking_uri or default_tracking_uri()
        try:
            reach(uri, timeout_s=self._start_timeout_s)  # before the seconds that importing takes
        except LoggerError as error:
            raise LoggerError(f"{error}; start it, mend logger.tracking_uri, or train with logger=none") from error
        client = opened(uri)
        with patience(), one_line_errors(uri):
            all_tags = {
                name_for_mlflow(name): shortened(value, TAG_LENGTH) for name, value in {**self._tags, **tags}.items()
            }
            if parent_run_id:
                all_tags["mlflow.parentRunId"] = parent_run_id
            known: Mapping[str, str] = {}
            if self._run_id:
                run = client.get_run(self._run_id)
                known = run.data.params
                client.update_run(self._run_id, status="RUNNING")
            else:
                experiment_id = self._experiment(client, uri)
                run = client.create_run(experiment_id, tags=all_tags, run_name=self._run_name)
            self._run = TrackedRun(client, tracking_uri=uri, run_id=run.info.run_id)
            self._pending = PendingRecords(folder)
            self._describe(client, params, all_tags if self._run_id else {}, known)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Record an epoch's numbers in one request; never raises for the server's sake."""
        values = {name: float(value) for name, value in metrics.items()}
        self._log({"kind": "metrics", "metrics": values, "step": int(step), "timestamp_ms": now_ms()})

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a file, or a folder and all in it; never raises for the server's sake.

        A file that waits for the server is uploaded as it then is, so do not move it.
        """
        self._log({"kind": "artifact", "path": str(Path(path).absolute()), "folder": folder})

    def finish(self, status: Status = "FINISHED") -> None:
        """Close the run; say in one line how to upload what could not be sent."""
        if self._run is None or self._pending is None:
            return
        self._log({"kind": "finish", "status": status, "timestamp_ms": now_ms()})
        if self._pending:
            log.warning(
                "The tracking server is still away; nothing is lost. When it is back: python -m spikeyolo.upload %s",
                self._pending.path.parent,
            )

    def _log(self, record: dict[str, Any]) -> None:
        if self._run is None or self._pending is None:
            raise RuntimeError("MlflowLogger: start() comes before anything is logged")
        try:
            if self._pending:
                send_pending(self._pending, run=self._run, timeout_s=self._retry_timeout_s)
                log.info("The tracking server is back; what had waited is uploaded")
                self._away = False
            self._run.send(record, timeout_s=self._retry_timeout_s)
        except LoggerError as error:
            if not self._away:
                log.warning("%s; training goes on, metrics wait in %s", error, self._pending.path)
            self._away = True
            self._keep({**record, "tracking_uri": self._run.tracking_uri, "run_id": self._run.run_id})

    def _keep(self, record: dict[str, Any]) -> None:
        assert self._pending is not None
        try:
            self._pending.append(record)
        except OSError as error:
            # metrics.csv has the numbers too: a full disk must not end the training from here.
            log.warning("%s: cannot be written (%s)", self._pending.path, error.strerror)

    def _experiment(self, client: MlflowClient, uri: str) -> str:
        from mlflow.exceptions import MlflowException

        found = client.get_experiment_by_name(self._experiment_name)
        if found is None:
            try:
                return str(client.create_experiment(self._experiment_name))
            except MlflowException:
                # Another run of the same sweep may have made it in between.
                found = client.get_experiment_by_name(self._experiment_name)
                if found is None:
                    raise
        if found.lifecycle_stage != "active":
            raise LoggerError(
                f"{without_secret(uri)}: the experiment {self._experiment_name!r} was deleted there; "
                "restore it, or choose another logger.experiment_name"
            )
        return str(found.experiment_id)

    def _describe(
        self, client: MlflowClient, params: Mapping[str, Any], tags: Mapping[str, str], known: Mapping[str, str]
    ) -> None:
        from mlflow.entities import Param, RunTag

        assert self._run is not None
        rows = [
            Param(name_for_mlflow(name), shortened(value, PARAM_LENGTH))
            for name, value in params.items()
            if name_for_mlflow(name) not in known  # a parameter cannot be logged twice with different values
        ]
        for start in range(0, len(rows), PARAMS_PER_BATCH):
            client.log_batch(self._run.run_id, params=rows[start : start + PARAMS_PER_BATCH])
        if tags:
            client.log_batch(self._run.run_id, tags=[RunTag(name, value) for name, value in tags.items()])


def send_pending(
    pending: PendingRecords, *, run: TrackedRun | None = None, tracking_uri: str | None = None, timeout_s: float
) -> int:
    """Upload what waits, oldest first, and forget what arrived; returns how many records did.

    Args:
        run: a run that is open already.
        tracking_uri: where to, if the server has moved.
        timeout_s: how long the server may take to answer.

    Raises:
        LoggerError: the server is away or refuses; what did not arrive still waits.
    """
    records = pending.read()
    runs = {(run.tracking_uri, run.run_id): run} if run else {}
    sent = 0
    try:
        for record in records:
            place = (tracking_uri or record["tracking_uri"], record["run_id"])
            if place not in runs:
                reach(place[0], timeout_s=timeout_s)
                with patience(), one_line_errors(place[0]):
                    runs[place] = TrackedRun(open_client(place[0]), tracking_uri=place[0], run_id=place[1])
            runs[place].send(record, timeout_s=timeout_s)
            sent += 1
    finally:
        if sent:
            pending.keep(records[sent:])
    return sent


def now_ms() -> int:
    """Milliseconds since 1970, as MLflow dates its records."""
    return int(time.time() * 1000)
