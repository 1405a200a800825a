"""A trial that runs elsewhere (a SLURM or Ray job) and talks to its study through the study's own storage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState

from spikeyolo.sweep.algorithms import build_pruner
from spikeyolo.sweep.ownership import OWNER
from spikeyolo.sweep.storage import open_storage
from spikeyolo.sweep.study import METRICS, RUN_ID

__all__ = ["StorageChannel"]


class StorageChannel:
    """Reports and prunes through the storage.

    A job may outlive its controller. Once the trial has been put back and belongs to another, this one stops, so that
    no two processes write one trial.
    """

    def __init__(
        self, *, address: str | Mapping[str, Any], study_name: str, trial_id: int, owner: str, pruner: object = None
    ) -> None:
        storage = open_storage(address, mend=False)
        directions = len(storage.get_study_directions(storage.get_study_id_from_name(study_name)))
        # A random sampler: a job only tells, and loading the study's own would draw here.
        self._study = optuna.load_study(
            study_name=study_name,
            storage=storage,
            sampler=RandomSampler(),
            pruner=build_pruner(pruner, objectives=directions),
        )
        self._storage = self._study._storage
        self._trial_id = trial_id
        self._owner = owner
        self._several = directions > 1

    def report(self, value: float, step: int) -> None:
        trial = self._mine()
        if not self._several and step not in trial.intermediate_values:
            self._storage.set_trial_intermediate_value(self._trial_id, step, value)

    def should_prune(self) -> bool:
        trial = self._mine()
        return not self._several and bool(trial.intermediate_values) and self._study.pruner.prune(self._study, trial)

    def record(self, metrics: Mapping[str, float]) -> None:
        known = self._mine().user_attrs.get(METRICS, {})
        self._storage.set_trial_user_attr(self._trial_id, METRICS, {**known, **metrics})

    def attach_run(self, run_id: str) -> None:
        self._mine()
        self._storage.set_trial_user_attr(self._trial_id, RUN_ID, run_id)

    def summary(self) -> tuple[str | None, dict[str, float], dict[int, float]]:
        """MLflow run, metrics and reports of the trial so far."""
        trial = self._storage.get_trial(self._trial_id)
        return trial.user_attrs.get(RUN_ID), trial.user_attrs.get(METRICS, {}), trial.intermediate_values

    def _mine(self) -> FrozenTrial:
        trial = self._storage.get_trial(self._trial_id)
        if trial.state != TrialState.RUNNING or trial.user_attrs.get(OWNER) != self._owner:
            raise SystemExit(f"trial {trial.number} was put back and belongs to another process")
        return trial
