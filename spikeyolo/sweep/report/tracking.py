"""The sweep in MLflow: one parent run a sweep, one child a trial, written from the trial's own process.

A training run that logs to MLflow itself makes its run a child (``TrialReporter.parent_run_id``) and says so with
``attach_run``; the sweep then adds the trial's number, state and parameters to it. One that does not gets a child run
from here.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from spikeyolo import processes
from spikeyolo.errors import LoggerError, SweepError
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
from spikeyolo.sweep.report.observer import SweepRecord, TrialRecord
from spikeyolo.sweep.trial import trial_name

__all__ = ["PRELOAD", "SweepRun", "observe", "prepare"]

logger = logging.getLogger(__name__)
PRELOAD = ("mlflow",)  # what the workers' server imports
NAME = "mlflow.runName"
VALUE_LENGTH = 500  # MLflow's limit of a parameter is 6000, some stores' is less
STATUS = {"COMPLETE": "FINISHED", "PRUNED": "FINISHED", "FAIL": "FAILED", "INTERRUPTED": "KILLED"}


def prepare() -> None:
    """Set what every process of the sweep must see before it imports MLflow."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


def observe(settings: Mapping[str, Any], *, study_name: str) -> SweepRun:
    """The observer that ``hydra.sweeper.mlflow`` describes.

    Raises:
        SweepError: a key is unknown, MLflow is not installed, or its store cannot be reached.
    """
    try:
        return SweepRun(**{"run_name": f"sweep {study_name}", **settings})
    except TypeError as error:
        raise SweepError(f"mlflow: {error}; it takes tracking_uri, experiment_name and run_name") from error


class SweepRun:
    """The parent run of a sweep: an :class:`~spikeyolo.sweep.report.observer.Observer`.

    Args:
        tracking_uri: of the MLflow server or store; None for MLflow's default.
        experiment_name: made where it does not exist.
        run_name: of the parent run.

    Raises:
        SweepError: MLflow is not installed, or its store cannot be reached.
    """

    def __init__(
        self, *, tracking_uri: str | None = None, experiment_name: str = "spikeyolo", run_name: str | None = None
    ) -> None:
        try:
            from mlflow.exceptions import MlflowException
        except ImportError as error:
            raise SweepError(f"hydra.sweeper.mlflow is set, but MLflow cannot be imported: {error}") from error
        self.tracking_uri = tracking_uri or default_tracking_uri()
        self.run_name = run_name
        try:
            check_writable(self.tracking_uri)
            self._client = open_client(self.tracking_uri)
            self.experiment_id = open_experiment(self._client, experiment_name, uri=self.tracking_uri)
            close_killed(self._client, self.experiment_id)
        except LoggerError as error:
            raise SweepError(str(error)) from error
        except (MlflowException, OSError) as error:
            raise SweepError(f"MLflow at {self.tracking_uri} cannot be reached: {_brief(error)}") from error
        self.run_id = ""

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "_client"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._client = open_client(self.tracking_uri)

    @property
    def context(self) -> dict[str, str]:
        return {
            "parent_run_id": self.run_id,
            "tracking_uri": self.tracking_uri,
            "experiment_id": self.experiment_id,
        }

    def open(self, run_id: str | None, *, study_name: str, directions: Sequence[str], space: Mapping[str, str]) -> str:
        from mlflow.exceptions import MlflowException

        if run_id:
            try:
                self._client.get_run(run_id)
                self._client.update_run(run_id, status="RUNNING")
                self._client.set_tag(run_id, PROCESS, processes.identity())
                self.run_id = run_id
                return run_id
            except MlflowException:
                logger.warning("the sweep's MLflow run %s is gone; beginning another", run_id)
        tags = {"sweep.study": study_name, "sweep.directions": ",".join(directions), PROCESS: processes.identity()}
        tags |= {"mlflow.source.name": "spikeyolo.sweep", "mlflow.source.type": "LOCAL"}
        named = {**tags, **({NAME: self.run_name} if self.run_name else {})}
        self.run_id = self._client.create_run(self.experiment_id, tags=named).info.run_id
        for key, value in space.items():
            self._client.log_param(self.run_id, _key(key), str(value)[:VALUE_LENGTH])
        return self.run_id

    def log_trial(self, trial: TrialRecord) -> str:
        from mlflow.entities import Metric, Param, RunTag

        now = int(time.time() * 1000)
        tags = {TRIAL: str(trial.number), "trial.state": trial.state}
        run_id = trial.run_id or child_of(
            self._client, self.experiment_id, parent_run_id=self.run_id, number=trial.number
        )
        known: set[str] = set()
        measured: set[str] = set()
        if run_id is None:
            created = self._client.create_run(
                self.experiment_id, tags={PARENT: self.run_id, NAME: trial_name(trial.number, trial.params)}
            )
            run_id = str(created.info.run_id)
        else:
            tags[PARENT] = self.run_id
            data = self._client.get_run(run_id).data
            known, measured = set(data.params), set(data.metrics)
        # What the run has logged itself, at steps of its own, stays as it is.
        listed = [Metric(_key(name), value, now, 0) for name, value in trial.metrics.items() if name not in measured]
        listed += [Metric("objective", value, now, step) for step, value in trial.reports.items()]
        finals = list(trial.values)
        for index, value in enumerate(finals):
            name = "objective_final" if len(finals) == 1 else f"objective_{index}"
            listed.append(Metric(name, value, now, 0))
        params = [Param(_key(k), str(v)[:VALUE_LENGTH]) for k, v in trial.params.items() if _key(k) not in known]
        self._client.log_batch(
            run_id,
            metrics=listed[:1000],
            params=params[:100],
            tags=[RunTag(key, text) for key, text in tags.items()],
        )
        if trial.run_id is None:
            self._client.set_terminated(run_id, STATUS[trial.state])
        return run_id

    def complete_trial(self, trial: TrialRecord, *, logged: bool) -> str | None:
        from mlflow.exceptions import MlflowException

        run_id = trial.run_id
        try:
            if not logged:
                run_id = self.log_trial(trial)
            if run_id is not None:
                self._client.set_tag(run_id, "trial.state", trial.state)
                if self._client.get_run(run_id).info.status == "RUNNING":
                    self._client.set_terminated(run_id, STATUS[trial.state])
        except (MlflowException, OSError) as error:
            logger.warning("trial %d could not be written to MLflow: %s", trial.number, _brief(error))
        return run_id

    def close(self, sweep: SweepRecord) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._close(sweep)
        except (MlflowException, OSError) as error:
            logger.warning("the sweep could not be written to MLflow: %s", _brief(error))

    def _close(self, sweep: SweepRecord) -> None:
        for child in self._client.search_runs([self.experiment_id], f"tags.`{PARENT}` = '{self.run_id}'"):
            if child.data.tags.get("trial.best") == "true":
                self._client.delete_tag(child.info.run_id, "trial.best")
        for run_id in sweep.best_runs:
            self._client.set_tag(run_id, "trial.best", "true")
        for index, value in enumerate(sweep.best_values):
            self._client.log_metric(self.run_id, f"best_{index}" if index else "best_value", value)
        if sweep.best_overrides:
            self._client.set_tag(self.run_id, "sweep.best", sweep.best_overrides)
        for path in (sweep.folder / "optimization_results.yaml", sweep.folder / "best_config.yaml"):
            if path.exists():
                self._client.log_artifact(self.run_id, str(path))
        if (sweep.folder / "figures").is_dir():
            self._client.log_artifacts(self.run_id, str(sweep.folder / "figures"), "figures")
        self._client.set_terminated(self.run_id, sweep.status)


def _key(name: str) -> str:
    """MLflow's keys know letters, digits, ``_-. :/`` only."""
    return "".join(c if c.isalnum() or c in "_-. :/" else "_" for c in name.lstrip("+"))


def _brief(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
