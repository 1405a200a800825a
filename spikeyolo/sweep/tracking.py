"""The sweep in MLflow: one parent run a sweep, one child a trial, written from the trial's own process.

A training run that logs to MLflow itself makes its run a child (``TrialReporter.parent_run_id``) and says so with
``attach_run``; the sweep then adds the trial's number, state and parameters to it. One that does not gets a child run
from here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikeyolo.errors import SweepError

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["SweepRun", "log_trial"]

logger = logging.getLogger(__name__)
PARENT = "mlflow.parentRunId"
NAME = "mlflow.runName"
VALUE_LENGTH = 500  # MLflow's limit of a parameter is 6000, some stores' is less
STATUS = {"COMPLETE": "FINISHED", "PRUNED": "FINISHED", "FAIL": "FAILED", "INTERRUPTED": "KILLED"}


class SweepRun:
    """The parent run of a sweep.

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
            import mlflow
            from mlflow import MlflowClient
            from mlflow.exceptions import MlflowException
        except ImportError as error:
            raise SweepError(f"hydra.sweeper.mlflow is set, but MLflow cannot be imported: {error}") from error
        for name in ("mlflow", "alembic"):  # they tell of every table they make
            logging.getLogger(name).setLevel(logging.WARNING)
        self.tracking_uri = tracking_uri or mlflow.get_tracking_uri()
        self.run_name = run_name
        try:
            self._client: MlflowClient = MlflowClient(self.tracking_uri)
            experiment = self._client.get_experiment_by_name(experiment_name)
            self.experiment_id: str = (
                experiment.experiment_id if experiment else self._client.create_experiment(experiment_name)
            )
        except (MlflowException, OSError) as error:
            raise SweepError(f"MLflow at {self.tracking_uri} cannot be reached: {_brief(error)}") from error
        self.run_id = ""

    def open(self, run_id: str | None, *, tags: Mapping[str, str], params: Mapping[str, Any]) -> str:
        """Go on with the parent run of a resumed sweep, or begin one; returns its id."""
        from mlflow.exceptions import MlflowException

        if run_id:
            try:
                self._client.get_run(run_id)
                self._client.update_run(run_id, status="RUNNING")
                self.run_id = run_id
                return run_id
            except MlflowException:
                logger.warning("the sweep's MLflow run %s is gone; beginning another", run_id)
        named = {**tags, **({NAME: self.run_name} if self.run_name else {})}
        self.run_id = self._client.create_run(self.experiment_id, tags=named).info.run_id
        for key, value in params.items():
            self._client.log_param(self.run_id, _key(key), str(value)[:VALUE_LENGTH])
        return self.run_id

    @property
    def for_trials(self) -> dict[str, str]:
        """What a trial needs to make its run a child."""
        return {
            "parent_run_id": self.run_id,
            "tracking_uri": self.tracking_uri,
            "experiment_id": self.experiment_id,
        }

    def complete_trial(
        self, run_id: str | None, *, number: int, params: Mapping[str, Any], state: str, logged: bool
    ) -> str | None:
        """Write what a trial's process could not: all of it where it was killed, its state where the sweep judges
        otherwise; returns the run's id."""
        from mlflow.exceptions import MlflowException

        try:
            if not logged:
                run_id = log_trial(self.for_trials, run_id=run_id, number=number, params=params, state=state)
            if run_id is not None:
                self._client.set_tag(run_id, "trial.state", state)
                if self._client.get_run(run_id).info.status == "RUNNING":
                    self._client.set_terminated(run_id, STATUS[state])
        except (MlflowException, OSError) as error:
            logger.warning("trial %d could not be written to MLflow: %s", number, _brief(error))
        return run_id

    def close(
        self, *, metrics: Mapping[str, float], tags: Mapping[str, str], best: Iterable[str], folder: Path, status: str
    ) -> None:
        """End the parent run with the best found, its children tagged, and the sweep's files as artifacts."""
        from mlflow.exceptions import MlflowException

        try:
            self._close(metrics, tags, best, folder, status)
        except (MlflowException, OSError) as error:
            logger.warning("the sweep could not be written to MLflow: %s", _brief(error))

    def _close(
        self, metrics: Mapping[str, float], tags: Mapping[str, str], best: Iterable[str], folder: Path, status: str
    ) -> None:
        for child in self._client.search_runs([self.experiment_id], f"tags.`{PARENT}` = '{self.run_id}'"):
            if child.data.tags.get("trial.best") == "true":
                self._client.delete_tag(child.info.run_id, "trial.best")
        for run_id in best:
            self._client.set_tag(run_id, "trial.best", "true")
        for name, value in metrics.items():
            self._client.log_metric(self.run_id, _key(name), value)
        for key, text in tags.items():
            self._client.set_tag(self.run_id, key, text)
        for path in (folder / "optimization_results.yaml", folder / "best_config.yaml"):
            if path.exists():
                self._client.log_artifact(self.run_id, str(path))
        if (folder / "figures").is_dir():
            self._client.log_artifacts(self.run_id, str(folder / "figures"), "figures")
        self._client.set_terminated(self.run_id, status)


def log_trial(
    tracking: Mapping[str, str],
    *,
    run_id: str | None,
    number: int,
    params: Mapping[str, Any],
    state: str,
    values: Iterable[float] = (),
    metrics: Mapping[str, float] | None = None,
    reports: Mapping[int, float] | None = None,
) -> str:
    """Write a trial's number, state, parameters and metrics to its run, making one where it has none; returns its id.

    Args:
        tracking: ``SweepRun.for_trials``.
        state: COMPLETE, PRUNED, FAIL or INTERRUPTED.
        reports: step → value, as reported to the pruner.
    """
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

    client = MlflowClient(tracking["tracking_uri"])
    now = int(time.time() * 1000)
    tags = {"trial.number": str(number), "trial.state": state}
    own = run_id is None
    if run_id is None:
        created = client.create_run(
            tracking["experiment_id"], tags={PARENT: tracking["parent_run_id"], NAME: f"trial-{number}"}
        )
        run_id = str(created.info.run_id)
    else:
        tags[PARENT] = tracking["parent_run_id"]
    known = set() if own else set(client.get_run(run_id).data.params)
    listed = [Metric(_key(name), value, now, 0) for name, value in (metrics or {}).items()]
    listed += [Metric("objective", value, now, step) for step, value in (reports or {}).items()]
    finals = list(values)
    for index, value in enumerate(finals):
        name = "objective_final" if len(finals) == 1 else f"objective_{index}"
        listed.append(Metric(name, value, now, 0))
    client.log_batch(
        run_id,
        metrics=listed[:1000],
        params=[Param(_key(k), str(v)[:VALUE_LENGTH]) for k, v in params.items() if _key(k) not in known][:100],
        tags=[RunTag(key, text) for key, text in tags.items()],
    )
    if own:
        client.set_terminated(run_id, STATUS[state])
    return run_id


def _key(name: str) -> str:
    """MLflow's keys know letters, digits, ``_-. :/`` only."""
    return "".join(c if c.isalnum() or c in "_-. :/" else "_" for c in name.lstrip("+"))


def _brief(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
