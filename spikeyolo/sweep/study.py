"""The study on disk: opened, resumed and topped up to its budget, shared by several controllers, nothing lost.

Trials that were interrupted wait, and run again under their own number.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import optuna
from optuna.distributions import distribution_to_json
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from spikeyolo.errors import SweepError
from spikeyolo.sweep.algorithms import prepare_pruner
from spikeyolo.sweep.changes import list_changes
from spikeyolo.sweep.constraints import Constraint
from spikeyolo.sweep.ledger import (
    ATTEMPT,
    CONTROLLER,
    ERROR,
    METRICS,
    OWNER,
    PARENT_RUN,
    RETRY_OF,
    SPACE,
    Counts,
    Ownership,
    count,
    retried_trials,
)
from spikeyolo.sweep.messages import Completed, Failed, Interrupted, Outcome, Pruned
from spikeyolo.sweep.space import SearchSpace
from spikeyolo.sweep.storage import patiently, study_lock

__all__ = ["SweepStudy"]

logger = logging.getLogger(__name__)
T = TypeVar("T")


class SweepStudy:
    """An Optuna study and the rules of the sweep: its budget, its owners, its retries."""

    def __init__(
        self,
        *,
        study: optuna.Study,
        storage: BaseStorage,
        folder: Path,
        n_trials: int,
        retries: int = 0,
        constraints: Sequence[Constraint] = (),
        patience_s: float = 300.0,
    ) -> None:
        self.study = study
        self.n_trials = n_trials
        self.retries = retries
        self.constraints = tuple(constraints)
        self.patience_s = patience_s
        self.ownership = Ownership()
        self.exhausted = False
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

    def join(self) -> int:
        """Sign this controller in; returns how many were before it, in earlier runs too."""

        def locked() -> int:
            with study_lock(self._raw_storage, self.study.study_name, self._folder):
                before = sum(key.startswith(CONTROLLER) for key in self.study.user_attrs)
                self.study.set_user_attr(CONTROLLER + self.ownership.owner, 0)
                return before

        return self._persist(locked, "signing in")

    def enqueue(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Line up starting points that the study does not have yet, as far as the budget goes."""

        def locked() -> None:
            with study_lock(self._raw_storage, self.study.study_name, self._folder):
                counts = self.counts(self._all())
                room = self.n_trials - counts.finished - counts.running - counts.waiting
                for point in points[: max(0, room)]:
                    self.study.enqueue_trial(dict(point), skip_if_exists=True)

        if points:
            self._persist(locked, "lining up starting points")

    def share_run(self, begin: Callable[[str | None], str]) -> None:
        """Let ``begin`` make the observer's run of the sweep, or go on with the one another controller made."""

        def locked() -> None:
            with study_lock(self._raw_storage, self.study.study_name, self._folder):
                known = self.study.user_attrs.get(PARENT_RUN)
                run_id = begin(known)
                if run_id != known:
                    self.study.set_user_attr(PARENT_RUN, run_id)

        self._persist(locked, "sharing the observer's run")

    def claim(self) -> Trial | None:
        """The next trial to run, signed by this controller, or None where the budget is spent."""

        def locked() -> Trial | None:
            with study_lock(self._raw_storage, self.study.study_name, self._folder):
                trials = self._all()
                if self._recover(trials):
                    trials = self._all()
                counts = self.counts(trials)
                if counts.running + counts.finished >= self.n_trials or self.exhausted:
                    return None
                prepare_pruner(self.study)
                trial = self.study.ask()
                trial.set_user_attr(OWNER, self.ownership.owner)
                return trial

        return self._persist(locked, "asking for a trial")

    def recover(self) -> int:
        """Put back the trials whose controller died; returns how many."""

        def locked() -> int:
            with study_lock(self._raw_storage, self.study.study_name, self._folder):
                return self._recover(self._all())

        return self._persist(locked, "looking for lost trials")

    def _recover(self, trials: Sequence[FrozenTrial]) -> int:
        running = [t for t in trials if t.state == TrialState.RUNNING]
        if not running:
            return 0
        attributes = self.study.user_attrs
        retried = retried_trials(trials)
        lost = [t for t in running if not self.ownership.is_alive(t.user_attrs.get(OWNER), attributes)]
        for trial in lost:
            if trial.number in retried:  # its controller died between adding the retry and telling the failure
                self.study.tell(trial.number, state=TrialState.FAIL)
            else:
                self._wait(trial._trial_id)
        if lost:
            logger.info("put back %d trials whose controller is gone", len(lost))
        return len(lost)

    def _wait(self, trial_id: int) -> None:
        self._storage.set_trial_user_attr(trial_id, OWNER, "")
        self._storage.set_trial_state_values(trial_id, state=TrialState.WAITING)

    def beat(self) -> None:
        """Give a sign of life where one is due."""
        due = self.ownership.next_beat()
        if due:
            self._persist(lambda: self.study.set_user_attr(*due), "giving a sign of life")

    def leave(self) -> None:
        """Say that this controller is done."""
        self._persist(lambda: self.study.set_user_attr(*self.ownership.farewell), "taking leave")

    def draw(self, trial: Trial, values_of: Callable[[Trial], T]) -> T:
        """Draw a trial's values; asked again, Optuna returns those that are stored already."""
        return self._persist(lambda: values_of(trial), "drawing a trial's values")

    def note(self, trial: Trial, attributes: Mapping[str, Any]) -> None:
        """Write attributes of a trial (its folder, its error)."""
        for key, value in attributes.items():
            self._persist(partial(trial.set_user_attr, key, value), "noting a trial")

    def report(self, trial: Trial, value: float, step: int) -> None:
        """Store an intermediate value; of a step that was reported before (a resumed trial), the first stays."""
        if step not in self._stored(trial).intermediate_values:
            self._persist(partial(trial.report, value, step), "reporting")

    def should_prune(self, trial: Trial) -> bool:
        """Whether the pruner gives the trial up."""
        return self._persist(trial.should_prune, "asking the pruner")

    def finish(self, trial: Trial, outcome: Outcome, metrics: Mapping[str, float]) -> Outcome:
        """Tell the study how a trial ended; returns the outcome as it counts (a number that is none fails)."""
        # A launched trial has written its metrics itself.
        metrics = {**self._stored(trial).user_attrs.get(METRICS, {}), **metrics}
        if metrics:
            self.note(trial, {METRICS: metrics})
        if isinstance(outcome, Completed):
            outcome = self._checked(trial, outcome, metrics)
        if isinstance(outcome, Interrupted):
            self._persist(lambda: self._wait(trial._trial_id), "putting back a trial")
            return outcome
        if isinstance(outcome, Failed):
            self.note(trial, {ERROR: outcome.message})
            self._tell(trial, TrialState.FAIL)
        elif isinstance(outcome, Pruned):
            self._tell(trial, TrialState.PRUNED)
        else:
            self._tell(trial, TrialState.COMPLETE, outcome.values)
        return outcome

    def retry(self, trial: Trial) -> bool:
        """Line up the same parameters again after a crash, if retries are left; call before telling the failure."""
        frozen = self._stored(trial)
        attempt = int(frozen.user_attrs.get(ATTEMPT, 0)) + 1
        if attempt > self.retries:
            return False
        again = create_trial(
            state=TrialState.WAITING,
            params=frozen.params,
            distributions=frozen.distributions,
            user_attrs={RETRY_OF: trial.number, ATTEMPT: attempt},
            system_attrs={k: v for k, v in frozen.system_attrs.items() if k in ("grid_id", "search_space")},
        )
        self._persist(lambda: self.study.add_trial(again), "lining up a retry")
        return True

    def _checked(self, trial: Trial, outcome: Completed, metrics: Mapping[str, float]) -> Outcome:
        expected = len(self.study.directions)
        if len(outcome.values) != expected:
            return Failed(f"the task returned {len(outcome.values)} values, expected {expected}, one per direction")
        if any(math.isnan(value) for value in outcome.values):
            return Failed("the objective is NaN")
        for constraint in self.constraints:
            if constraint.metric not in metrics:
                known = ", ".join(sorted(metrics)) or "none"
                return Failed(f"constraints.{constraint.metric}: the trial recorded no such metric (it has {known})")
        for constraint in self.constraints:
            violation = constraint.violation(metrics[constraint.metric])
            self._persist(partial(trial.set_constraint, constraint.metric, violation), "writing a constraint")
        return outcome

    def _tell(self, trial: Trial, state: TrialState, values: Sequence[float] | None = None) -> None:
        def tell() -> None:
            try:
                self.study.tell(trial, values, state=state, skip_if_finished=True)
            except RuntimeError as error:
                # A sampler that has tried everything stops the study, which Optuna allows in its own loop only.
                if "Study.stop" not in str(error):
                    raise
                self.exhausted = True

        self._persist(tell, f"telling trial {trial.number}")

    def _persist(self, action: Callable[[], T], what: str) -> T:
        return patiently(action, patience_s=self.patience_s, what=what)

    def _stored(self, trial: Trial) -> FrozenTrial:
        return self._persist(partial(self._storage.get_trial, trial._trial_id), "reading a trial")

    def trials(self) -> list[FrozenTrial]:
        """All trials as stored; not copies, so not to be changed."""
        return self._persist(self._all, "reading the study")

    def _all(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def counts(self, trials: Sequence[FrozenTrial] | None = None) -> Counts:
        """How many trials are in which state."""
        return count(self.trials() if trials is None else trials)

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
