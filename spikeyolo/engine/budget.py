"""The time a run may take, and whether only its last validation still fits into it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    def __call__(self) -> float: ...


@dataclass
class TimeBudget:
    """Counts the seconds of a run.

    Attributes:
        clock: seconds.
        max_seconds: bound; None has none.
        started: the clock when the run began, moved back by the time of the runs it goes on from.
        batch_s: longest batch of this epoch.
        validation_s: longest validation so far; 0 before the first.
        val_batches: batches of a validation.
    """

    clock: Clock
    max_seconds: float | None
    started: float
    val_batches: int
    batch_s: float = 0.0
    validation_s: float = 0.0

    def elapsed(self) -> float:
        return self.clock() - self.started

    def share(self) -> float:
        """Of the time given; 0 where there is no bound."""
        return 0.0 if self.max_seconds is None else self.elapsed() / self.max_seconds

    def is_up(self) -> bool:
        """Whether one more batch and the validation after it might not fit.

        Half again the longest validation is kept, for saving and for a machine that is not always equally quick. The
        first one is taken to cost no more a batch than training does.
        """
        if self.max_seconds is None:
            return False
        validation_s = self.validation_s or max(0.07 * self.max_seconds, self.batch_s * self.val_batches)
        return self.elapsed() > self.max_seconds - 1.5 * validation_s - self.batch_s
