"""What counts towards ``n_trials``: every trial that runs or has finished, unless a later one took its crash over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState

__all__ = ["RETRY_OF", "Counts", "count", "retried_trials"]

RETRY_OF = "sweep:retry_of"  # user attribute of a trial: the number of the one it takes over


@dataclass(frozen=True)
class Counts:
    """How many trials of the study are in which state; ``retried`` are failures that a later trial took over."""

    complete: int = 0
    running: int = 0
    waiting: int = 0
    pruned: int = 0
    failed: int = 0
    retried: int = 0

    @property
    def finished(self) -> int:
        return self.complete + self.pruned + self.failed


def retried_trials(trials: Sequence[FrozenTrial]) -> set[int]:
    """Numbers of the trials that a later one took over."""
    return {trial.user_attrs[RETRY_OF] for trial in trials if RETRY_OF in trial.user_attrs}


def count(trials: Sequence[FrozenTrial]) -> Counts:
    """How many of these trials are in which state."""
    retried = retried_trials(trials)
    found = dict.fromkeys(TrialState, 0)
    for trial in trials:
        found[trial.state] += trial.number not in retried
    return Counts(
        complete=found[TrialState.COMPLETE],
        running=found[TrialState.RUNNING],
        waiting=found[TrialState.WAITING],
        pruned=found[TrialState.PRUNED],
        failed=found[TrialState.FAIL],
        retried=sum(trial.number in retried for trial in trials),
    )
