"""The study on disk as a whole: opened or made, compared with what it was begun with, read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import optuna
from optuna.distributions import distribution_to_json
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from spikeyolo.errors import SweepError
from spikeyolo.moved import MOVED
from spikeyolo.sweep.space import SearchSpace
from spikeyolo.sweep.study.changes import list_changes, list_differences
from spikeyolo.sweep.study.ledger import (
    CONFIGURATION,
    PARENT_RUN,
    SEED,
    SPACE,
    Counts,
    Ownership,
    count,
    retried_trials,
)
from spikeyolo.sweep.study.storage import patiently, study_lock

__all__ = ["StoredStudy"]

T = TypeVar("T")


class StoredStudy:
    """An Optuna study in its storage; every access waits for a storage that is away for a while."""

    def __init__(
        self,
        *,
        study: optuna.Study,
        storage: BaseStorage,
        folder: Path,
        patience_s: float = 300.0,
        ownership: Ownership | None = None,
    ) -> None:
        self.study = study
        self.patience_s = patience_s
        self.ownership = ownership or Ownership()
        self._storage = study._storage
        self._raw_storage = storage
        self._folder = folder

    @staticmethod
    def open(
        *,
        storage: BaseStorage,
        name: str,
        directions: Sequence[Literal["minimize", "maximize"]],
        sampler: BaseSampler,
        pruner: BasePruner,
    ) -> optuna.Study:
        """Create the study or load the one of this name.

        Raises:
            SweepError: the study in the storage has other directions.
        """
        names = {study.study_name for study in optuna.get_all_study_summaries(storage)}
        if name in names:
            study = optuna.load_study(study_name=name, storage=storage, sampler=sampler, pruner=pruner)
            found = [direction.name.lower() for direction in study.directions]
            if found != list(directions):
                raise SweepError(
                    f"study {name}: direction was {', '.join(found)}, is now {', '.join(directions)}; "
                    "Optuna cannot change it, so choose another study_name or folder"
                )
            return study
        return optuna.create_study(
            study_name=name,
            storage=storage,
            directions=list(directions),
            sampler=sampler,
            pruner=pruner,
            load_if_exists=True,  # another machine may have been first
        )

    def check_space(self, space: SearchSpace) -> list[str]:
        """Compare the space with the one the study was begun with; returns what changed, in words.

        Raises:
            SweepError: a change that Optuna cannot follow (other choices, another type, log against linear).
        """
        stored: Mapping[str, str] = self._persist(lambda: self.study.user_attrs.get(SPACE, {}), "reading the space")
        changes = list_changes(stored, space.distributions, self.study.study_name)
        now = {name: distribution_to_json(d) for name, d in space.distributions.items()}
        if now != stored:
            self._persist(lambda: self.study.set_user_attr(SPACE, now), "writing the space")
        return changes

    def check_configuration(self, now: Mapping[str, str], searched: Sequence[str], *, accept: bool) -> list[str]:
        """Compare what all trials share with what the study was begun with; returns the differences, in words.

        Args:
            now: key → value as text, of the configuration without what is searched.
            accept: go on in spite of differences.

        Raises:
            SweepError: there are trials, something differs, and it is not accepted.
        """

        def read() -> tuple[Mapping[str, str], Mapping[str, str]]:
            attributes = self.study.user_attrs if self._all() else {}
            known = attributes.get(CONFIGURATION, {})
            return {key: MOVED.get(text, text) for key, text in known.items()}, attributes.get(SPACE, {})

        before, space = self._persist(read, "reading the configuration")
        own = {name.lstrip("+").replace("/", ".") for name in (*searched, *space)}
        differences = list_differences(before, now, own) if before else []
        bounds = [line for line in differences if line.startswith("constraints.")]
        if bounds:
            raise SweepError(
                f"study {self.study.study_name}: {'; '.join(bounds)}; Optuna keeps how each trial was judged, "
                "so choose another study_name or folder (enqueue=[{best_of: STORAGE}] takes the best along)"
            )
        if differences and not accept:
            raise SweepError(
                f"study {self.study.study_name} was begun with another configuration: {'; '.join(differences)}; its "
                "results would not compare with new ones, so choose another study_name or folder, or accept the "
                "difference with hydra.sweeper.resume_changed=true"
            )
        if dict(now) != dict(before):
            self._persist(lambda: self.study.set_user_attr(CONFIGURATION, dict(now)), "writing what all trials share")
        return differences

    def keep_seed(self, seed: int) -> int:
        """The seed of a sampler that walks through one sequence (a grid): the one that the study was begun with."""

        def locked() -> int:
            with study_lock(self._raw_storage, self.study.study_name, self._folder):
                known = self.study.user_attrs.get(SEED)
                if known is None:
                    self.study.set_user_attr(SEED, seed)
                return seed if known is None else int(known)

        return self._persist(locked, "keeping the seed")

    def share_run(self, begin: Callable[[str | None], str]) -> None:
        """Let ``begin`` make the observer's run of the sweep, or go on with the one another controller made."""

        def locked() -> None:
            with study_lock(self._raw_storage, self.study.study_name, self._folder):
                known = self.study.user_attrs.get(PARENT_RUN)
                run_id = begin(known)
                if run_id != known:
                    self.study.set_user_attr(PARENT_RUN, run_id)

        self._persist(locked, "sharing the observer's run")

    def trials(self) -> list[FrozenTrial]:
        """All trials as stored; not copies, so not to be changed."""
        return self._persist(self._all, "reading the study")

    def _all(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def counts(self, trials: Sequence[FrozenTrial] | None = None) -> Counts:
        """How many trials are in which state."""
        return count(self.trials() if trials is None else trials)

    def failed(self) -> list[FrozenTrial]:
        """The trials that failed and that no later one took over, in the order in which they ended."""
        trials = self.trials()
        taken = retried_trials(trials)
        failed = [t for t in trials if t.state == TrialState.FAIL and t.number not in taken]
        return sorted(failed, key=lambda t: (t.datetime_complete is None, t.datetime_complete))

    def best(self) -> FrozenTrial | None:
        """The best trial that meets the constraints, or None; of several objectives, the first of the front."""
        front = self.front()
        return front[0] if front else None

    def front(self) -> list[FrozenTrial]:
        """The Pareto front; of one objective, its best trial."""

        def front() -> list[FrozenTrial]:
            try:
                return list(self.study.best_trials) if len(self.study.directions) > 1 else [self.study.best_trial]
            except ValueError:
                return []

        return self._persist(front, "reading the best trials")

    def _persist(self, action: Callable[[], T], what: str) -> T:
        return patiently(action, patience_s=self.patience_s, what=what, on_failure=self.ownership.forget)

    def _stored(self, trial: Trial) -> FrozenTrial:
        return self._persist(partial(self._storage.get_trial, trial._trial_id), "reading a trial")
