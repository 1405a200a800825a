"""The time a run may take, whether only its last validation still fits into it, and how long it has still to go."""

from __future__ import annotations

import logging
import statistics
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

log = logging.getLogger(__name__)


class Clock(Protocol):
    def __call__(self) -> float: ...


@dataclass
class TimeBudget:
    """Counts the seconds of a run.

    The first batch of a process is its warm-up: it compiles kernels and allocates, and foretells nothing.

    Attributes:
        clock: seconds.
        max_seconds: bound; None has none.
        started: the clock when the run began, moved back by the time of the runs it goes on from.
        val_batches: batches of a validation.
        validation_s: longest validation so far; 0 before the first.
        first_s: the first batch of this process; None before it.
        agreed: what all processes that train together take for a number, of which each has its own.
    """

    clock: Clock
    max_seconds: float | None
    started: float
    val_batches: int
    validation_s: float = 0.0
    first_s: float | None = None
    agreed: Callable[[float], float] = float
    _taken: deque[float] = field(default_factory=lambda: deque(maxlen=100), repr=False)

    def count(self, seconds: float) -> None:
        """A training batch took so long, its loading included."""
        if self.first_s is None:
            self.first_s = seconds
        else:
            self._taken.append(seconds)

    @property
    def batch_s(self) -> float:
        """Median of the last batches; 0 where there was none after the warm-up."""
        return statistics.median(self._taken) if self._taken else 0.0

    @property
    def warm_up_s(self) -> float:
        """What the first batch took beyond a usual one."""
        return max(0.0, self.first_s - self.batch_s) if self.first_s is not None and self._taken else 0.0

    def elapsed(self) -> float:
        return self.clock() - self.started

    def share(self) -> float:
        """Of the time given; 0 where there is no bound."""
        return 0.0 if self.max_seconds is None else self.agreed(self.elapsed() / self.max_seconds)

    def is_up(self) -> bool:
        """Whether one more batch and the validation after it might not fit.

        Half again the longest validation is kept, for saving and for a machine that is not always equally quick. The
        first one is taken to cost no more a batch than training does.
        """
        if self.max_seconds is None:
            return False
        validation_s = self.validation_s or max(0.07 * self.max_seconds, self.batch_s * self.val_batches)
        up = self.elapsed() > self.max_seconds - 1.5 * validation_s - max(self._taken, default=0.0)
        return bool(self.agreed(float(up)))

    def left(self, *, batches: int, validations: int) -> float | None:
        """Seconds to the end of the run; None where nothing is known yet.

        Args:
            batches, validations: still to come.
        """
        if not self._taken:
            return None
        to_do = batches * self.batch_s + validations * (self.validation_s or self.val_batches * self.batch_s)
        return to_do if self.max_seconds is None else max(0.0, min(to_do, self.max_seconds - self.elapsed()))


@contextmanager
def said_if_slow(text: str, *, after_s: float = 2.0) -> Iterator[None]:
    """Say what is going on where it takes longer than a person waits without a word."""
    timer = threading.Timer(after_s, log.info, (text,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
