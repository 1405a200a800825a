"""The trials of a study: claimed up to its budget by several controllers, told how they ended, retried, nothing lost.

Trials that were interrupted wait, and run again under their own number.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import optuna
from optuna.terminator import BaseTerminator
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from spikeyolo.sweep.algorithms import prepare_pruner
from spikeyolo.sweep.messages import Completed, Failed, Interrupted, Outcome, Pruned
from spikeyolo.sweep.space import Constraint
from spikeyolo.sweep.study.ledger import (
    ATTEMPT,
    CONTROLLER,
    ERROR,
    METRICS,
    OVERRIDES,
    OWNER,
    RETRY_OF,
    Heartbeat,
    retried_trials,
)
from spikeyolo.sweep.study.storage import storage_errors, study_lock
from spikeyolo.sweep.study.stored import StoredStudy

__all__ = ["OvertakenError", "SweepStudy"]

logger = logging.getLogger(__name__)


class OvertakenError(Exception):
    """While this controller stood still, another put its trial back: the trial is no longer this one's to tell of."""


class SweepStudy(StoredStudy):
    """An Optuna study and the rules of the sweep: its budget, its owners, its retries."""

    def __init__(
        self, *, n_trials: int, retries: int = 0, constraints: Sequence[Constraint] = (), **stored: Any
    ) -> None:
        super().__init__(**stored)
        self.n_trials = n_trials
        self.retries = retries
        self.constraints = tuple(constraints)
        self.exhausted = False

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

    def retry_failed(self) -> int:
        """Line up the parameters of every failed trial that no later one took over; returns how many."""

        def locked() -> int:
            with study_lock(self._raw_storage, self.study.study_name, self._folder):
                failed = self.failed()
                for trial in failed:
                    self.study.add_trial(_again(trial, attempt=0))
                return len(failed)

        return self._persist(locked, "lining up failed trials")

    def claim(self) -> Trial | None:
        """The next trial to run, signed by this controller, or None where the budget is spent."""

        def locked() -> Trial | None:
            with study_lock(self._raw_storage, self.study.study_name, self._folder):
                trials = self._all()
                if self._recover(trials):
                    trials = self._all()
                counts = self.counts(trials)
                if counts.running + counts.finished >= self.n_trials:
                    return None
                if self.exhausted and not counts.waiting:
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
        """Give a sign of life and look at those of the others."""
        self.study.set_user_attr(*self.ownership.next_beat())
        self.ownership.watch(self.study.user_attrs)

    def alive(self) -> Heartbeat:
        """Give signs of life as long as this context lasts."""
        return Heartbeat(self.beat, failures=storage_errors(), on_failure=self.ownership.forget)

    def leave(self) -> None:
        """Say that this controller is done."""
        self._persist(lambda: self.study.set_user_attr(*self.ownership.farewell), "taking leave")

    def owns(self, trial: Trial) -> bool:
        """Whether a trial that this controller claimed is still its own."""
        return bool(self._stored(trial).user_attrs.get(OWNER) == self.ownership.owner)

    def overrides(self, trial: Trial, draw: Callable[[Trial], list[str]]) -> list[str]:
        """All overrides of a trial's job: those it has already run with, where it was put back, else drawn now."""
        known = trial.user_attrs.get(OVERRIDES)
        if known:
            return [str(override) for override in known]
        # Asked again, Optuna returns the values that are stored already.
        drawn = self._persist(lambda: draw(trial), "drawing a trial's values")
        self.note(trial, {OVERRIDES: drawn})
        return drawn

    def note(self, trial: Trial, attributes: Mapping[str, Any]) -> None:
        """Write attributes of a trial (its folder, its error).

        Raises:
            OvertakenError: the trial is another controller's.
        """
        self._own(trial)
        for key, value in attributes.items():
            self._write(partial(trial.set_user_attr, key, value), "noting a trial")

    def report(self, trial: Trial, value: float, step: int) -> None:
        """Store an intermediate value; of a step that was reported before (a resumed trial), the first stays.

        Raises:
            OvertakenError: the trial is another controller's.
        """
        if step not in self._own(trial).intermediate_values:
            self._write(partial(trial.report, value, step), "reporting")

    def should_prune(self, trial: Trial) -> bool:
        """Whether the pruner gives the trial up."""
        return self._persist(trial.should_prune, "asking the pruner")

    def terminates(self, terminator: BaseTerminator) -> bool:
        """Whether a terminator sees no room for improvement."""
        return self._persist(lambda: terminator.should_terminate(self.study), "asking the terminator")

    def _own(self, trial: Trial) -> FrozenTrial:
        frozen = self._stored(trial)
        if frozen.user_attrs.get(OWNER) != self.ownership.owner:
            raise OvertakenError(f"trial {trial.number}")
        return frozen

    def _write(self, action: Callable[[], None], what: str) -> None:
        try:
            self._persist(action, what)
        except optuna.exceptions.UpdateFinishedTrialError as error:  # overtaken between looking and writing
            raise OvertakenError(str(error)) from error

    def finish(self, trial: Trial, outcome: Outcome, metrics: Mapping[str, float]) -> bool:
        """Tell the study how a trial ended; returns whether its parameters are lined up again, after a crash.

        Raises:
            OvertakenError: the trial is another controller's.
        """

        def locked() -> bool:
            with study_lock(self._raw_storage, self.study.study_name, self._folder):
                frozen = self._storage.get_trial(trial._trial_id)
                if frozen.user_attrs.get(OWNER) != self.ownership.owner:
                    raise OvertakenError(f"trial {trial.number}")
                if frozen.state.is_finished():  # told by an attempt whose answer was lost
                    return trial.number in retried_trials(self._all())
                return self._finish(trial, frozen, outcome, metrics)

        return self._persist(locked, f"telling trial {trial.number}")

    def _finish(self, trial: Trial, frozen: FrozenTrial, outcome: Outcome, metrics: Mapping[str, float]) -> bool:
        retried = False
        if metrics:  # a launched trial has written its own
            trial.set_user_attr(METRICS, {**frozen.user_attrs.get(METRICS, {}), **metrics})
        if isinstance(outcome, Interrupted):
            self._wait(trial._trial_id)
        elif isinstance(outcome, Failed):
            trial.set_user_attr(ERROR, outcome.message)
            retried = outcome.crashed and self._retry(frozen)
            self._tell(trial, TrialState.FAIL)
        elif isinstance(outcome, Pruned):
            self._tell(trial, TrialState.PRUNED)
        else:
            known = {**frozen.user_attrs.get(METRICS, {}), **metrics}
            for constraint in self.constraints:
                trial.set_constraint(constraint.metric, constraint.violation(known[constraint.metric]))
            self._tell(trial, TrialState.COMPLETE, outcome.values)
        return retried

    def _retry(self, frozen: FrozenTrial) -> bool:
        """Line up the same parameters again, if retries are left; before the failure is told, so that none is lost."""
        attempt = int(frozen.user_attrs.get(ATTEMPT, 0)) + 1
        if attempt > self.retries:
            return False
        if frozen.number not in retried_trials(self._all()):
            self.study.add_trial(_again(frozen, attempt=attempt))
        return True

    def judge(self, trial: Trial, outcome: Outcome, metrics: Mapping[str, float]) -> Outcome:
        """The outcome as it counts: values that do not fit the study, or a missing metric of a constraint, fail."""
        if not isinstance(outcome, Completed):
            return outcome
        return self._checked(outcome, {**self._stored(trial).user_attrs.get(METRICS, {}), **metrics})

    def _checked(self, outcome: Completed, metrics: Mapping[str, float]) -> Outcome:
        expected = len(self.study.directions)
        if len(outcome.values) != expected:
            return Failed(f"the task returned {len(outcome.values)} values, expected {expected}, one per direction")
        if any(math.isnan(value) for value in outcome.values):
            return Failed("the objective is NaN")
        for constraint in self.constraints:
            if constraint.metric not in metrics:
                known = ", ".join(sorted(metrics)) or "none"
                return Failed(f"constraints.{constraint.metric}: the trial recorded no such metric (it has {known})")
        return outcome

    def _tell(self, trial: Trial, state: TrialState, values: Sequence[float] | None = None) -> None:
        try:
            self.study.tell(trial, values, state=state, skip_if_finished=True)
        except RuntimeError as error:
            # A sampler that has tried everything stops the study, which Optuna allows in its own loop only.
            if "Study.stop" not in str(error):
                raise
            self.exhausted = True


def _again(trial: FrozenTrial, *, attempt: int) -> FrozenTrial:
    """A waiting trial with the parameters of a failed one."""
    return create_trial(
        state=TrialState.WAITING,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs={RETRY_OF: trial.number, ATTEMPT: attempt},
        system_attrs={k: v for k, v in trial.system_attrs.items() if k in ("grid_id", "search_space")},
    )
