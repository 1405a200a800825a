"""Tracking with MLflow: a run's parameters, metrics, tags and files, in one request an epoch, and none of them lost.

At the start the server must answer. Later it may go away: training goes on, records wait in the run's folder, every
epoch tries again, and what still waits at the end can be sent with ``python -m spikeyolo.upload``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Gt, Len

from spikeyolo import processes
from spikeyolo.errors import LoggerError
from spikeyolo.mlflow_store import (
    PARENT,
    PROCESS,
    TRIAL,
    check_writable,
    child_of,
    close_killed,
    default_tracking_uri,
    open_client,
    open_experiment,
)
from spikeyolo.report.mlflow.dataset_use import DatasetUse, log_datasets
from spikeyolo.report.mlflow.pending import PendingRecords
from spikeyolo.report.mlflow.server import (
    PARAM_LENGTH,
    PARAMS_PER_BATCH,
    TAG_LENGTH,
    ServerAwayError,
    TrackedRun,
    half_made,
    name_for_mlflow,
    named,
    one_line_errors,
    patience,
    reach,
    send_pending,
    shortened,
)
from spikeyolo.report.mlflow.system import SystemSampler

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

Status = Literal["FINISHED", "FAILED", "KILLED"]


def opened(tracking_uri: str) -> MlflowClient:
    """A client of a store that has been asked something, so that its tables exist.

    Raises:
        LoggerError: the store cannot be used.
    """
    try:
        with patience(), one_line_errors(tracking_uri):
            check_writable(tracking_uri)
            client = open_client(tracking_uri)
            client.search_experiments(max_results=1)
            return client
    except LoggerError as error:
        file = half_made(tracking_uri)
        if file is None:
            raise
        raise LoggerError(
            f"{error}; {file} was cut short while it was made: remove it and start again, "
            "unless another program (mlflow ui) is making it now"
        ) from error


class MlflowLogger:
    """Keeps one run on a tracking server.

    Args:
        tracking_uri: where to; by default ``mlflow.db`` in the current folder, its artifacts in ``mlruns`` beside it.
        experiment_name: created where it does not exist.
        run_name: by default what the run itself is called.
        run_id: go on with this run instead of making one.
        tags: further tags.
        start_timeout_s: how long the server may take to answer at the start.
        retry_timeout_s: how long an epoch may wait for a server that went away.
        system_metrics_s: seconds between two looks at processor, memory, disk, network and GPU; None takes none.
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
        system_metrics_s: Annotated[float, Gt(0)] | None = 10.0,
    ) -> None:
        self._tracking_uri = tracking_uri
        self._experiment_name = experiment_name
        self._run_name = run_name
        self._run_id = run_id
        self._tags = dict(tags or {})
        self._start_timeout_s = start_timeout_s
        self._retry_timeout_s = retry_timeout_s
        self._system_metrics_s = system_metrics_s
        self._client: MlflowClient | None = None
        self._experiment_id = ""
        self._run: TrackedRun | None = None
        self._pending: PendingRecords | None = None
        self._system: SystemSampler | None = None
        self._away = False

    @property
    def run_id(self) -> str | None:
        """The run's identity on the server; None before the start."""
        return self._run.run_id if self._run else self._run_id

    @property
    def tracking_uri(self) -> str | None:
        """Where the run is kept; None before the start of a run at the default place."""
        return self._run.tracking_uri if self._run else self._tracking_uri

    def check(self) -> None:
        """Look whether a run can be kept, before anything takes time; close what runs left open that were killed.

        Raises:
            LoggerError: the server cannot be reached or refuses.
        """
        uri = self._uri()
        try:
            reach(uri, timeout_s=self._start_timeout_s)  # before the seconds that importing takes
        except LoggerError as error:
            raise LoggerError(f"{error}; start it, mend logger.tracking_uri, or train with logger=none") from error
        client = opened(uri)
        with patience(), one_line_errors(uri):
            self._experiment_id = open_experiment(client, self._experiment_name, uri=uri)
            close_killed(client, self._experiment_id)
        self._client = client

    def start(
        self,
        *,
        folder: Path,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        name: str | None = None,
        datasets: Sequence[DatasetUse] = (),
        parent_run_id: str | None = None,
        former_run_id: str | None = None,
    ) -> None:
        """Open the run and record what it is made of.

        Args:
            folder: the run's folder, where records wait while the server is away.
            params: flat names to values; cut at MLflow's 6000 characters.
            tags: text to text; with ``trial.number``, the run of that trial is gone on with where it has one.
            name: of the run, where the configuration gives none.
            datasets: that it trains on and is judged by.
            parent_run_id: the run of the sweep that this one belongs to.
            former_run_id: the run that this one goes on from; where the server has it, it is the same run.

        Raises:
            LoggerError: the server cannot be reached or refuses.
        """
        if self._client is None:
            self.check()
        uri, client = self._uri(), self._client
        assert client is not None
        with patience(), one_line_errors(uri):
            all_tags = {
                name_for_mlflow(name): shortened(value, TAG_LENGTH) for name, value in {**self._tags, **tags}.items()
            }
            all_tags[PROCESS] = processes.identity()
            if parent_run_id:
                all_tags[PARENT] = parent_run_id
            known: Mapping[str, str] = {}
            run_id = self._run_id or self._begun(client, parent_run_id, tags.get(TRIAL), former_run_id)
            if run_id:
                known = client.get_run(run_id).data.params
                client.update_run(run_id, status="RUNNING")
            else:
                created = client.create_run(self._experiment_id, tags=all_tags, run_name=self._run_name or name)
                run_id = str(created.info.run_id)
            self._run = TrackedRun(client, tracking_uri=uri, run_id=run_id)
            self._pending = PendingRecords(folder)
            self._describe(client, params, all_tags, known)
            log_datasets(client, run_id, datasets)
            if self._system_metrics_s is not None:
                self._system = SystemSampler(every_s=self._system_metrics_s, first_step=_next_step(client, run_id))

    def _uri(self) -> str:
        return self._tracking_uri or default_tracking_uri()

    def _begun(
        self, client: MlflowClient, parent_run_id: str | None, trial: str | None, former_run_id: str | None
    ) -> str | None:
        """The run to go on with: of the same trial, or the one this run was resumed from."""
        from mlflow.exceptions import MlflowException

        if parent_run_id and trial is not None:
            return child_of(client, self._experiment_id, parent_run_id=parent_run_id, number=int(trial))
        if former_run_id:
            try:
                info = client.get_run(former_run_id).info
            except MlflowException as error:
                log.info("the run to go on from is not on this tracking server (%s): a new one begins", error)
                return None
            if info.lifecycle_stage == "active":
                return former_run_id
        return None

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Record an epoch's numbers in one request; never raises for the server's sake."""
        values = {name: float(value) for name, value in metrics.items()}
        record = {"kind": "metrics", "metrics": values, "step": int(step), "timestamp_ms": now_ms()}
        self._log({**record, "samples": self._system.take() if self._system else []})

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a file, or a folder and all in it; never raises for the server's sake.

        A file that waits for the server is uploaded as it then is, so do not move it.
        """
        self._log({"kind": "artifact", "path": str(Path(path).absolute()), "folder": folder})

    def log_model(self, checkpoint: Path, step: int) -> None:
        """Log a checkpoint as a model that can be registered; never raises for the server's sake."""
        self._log({"kind": "model", "path": str(Path(checkpoint).absolute()), "step": int(step)})

    def finish(self, status: Status = "FINISHED") -> None:
        """Close the run; say in one line how to upload what could not be sent."""
        if self._run is None or self._pending is None:
            return
        if self._system is not None:
            self._system.stop()
            samples = self._system.take()
            if samples:
                self._log({"kind": "metrics", "metrics": {}, "step": 0, "timestamp_ms": now_ms(), "samples": samples})
        self._log({"kind": "finish", "status": status, "timestamp_ms": now_ms()})
        if not self._pending:
            return
        try:
            send_pending(self._pending, run=self._run, timeout_s=self._retry_timeout_s)
        except LoggerError as error:
            log.warning(
                "%s; nothing is lost. To send what waits, later: python -m spikeyolo.upload %s",
                error,
                self._pending.path.parent,
            )

    def _log(self, record: dict[str, Any]) -> None:
        if self._run is None or self._pending is None:
            raise RuntimeError("MlflowLogger: start() comes before anything is logged")
        try:
            if self._away:
                reach(self._run.tracking_uri, timeout_s=self._retry_timeout_s)
                self._away = False
                send_pending(self._pending, run=self._run, timeout_s=self._retry_timeout_s)
                log.info("The tracking server is back; what had waited is uploaded")
        except ServerAwayError:
            self._away = True
        except LoggerError as error:
            log.warning("%s", error)
        if not self._away:
            try:
                self._run.send(record, timeout_s=self._retry_timeout_s)
                return
            except ServerAwayError as error:
                log.warning("%s; training goes on, metrics wait in %s", error, self._pending.path)
                self._away = True
            except LoggerError as error:
                log.warning("%s cannot be stored and waits in %s: %s", named(record), self._pending.path, error)
        self._keep({**record, "tracking_uri": self._run.tracking_uri, "run_id": self._run.run_id})

    def _keep(self, record: dict[str, Any]) -> None:
        assert self._pending is not None
        try:
            self._pending.append(record)
        except OSError as error:
            # metrics.csv has the numbers too: a full disk must not end the training from here.
            log.warning("%s: cannot be written (%s)", self._pending.path, error.strerror)

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


def _next_step(client: MlflowClient, run_id: str) -> int:
    """The first step of the machine's samples: after those of the runs that this one goes on from."""
    points = client.get_metric_history(run_id, "system/cpu_utilization_percentage")
    return max((point.step + 1 for point in points), default=0)


def now_ms() -> int:
    """Milliseconds since 1970, as MLflow dates its records."""
    return int(time.time() * 1000)
