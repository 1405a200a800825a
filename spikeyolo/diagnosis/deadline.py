"""Until when the doctor has to be done: one deadline that all its sections share."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from spikeyolo.engine.guards.budget import Clock


class Deadline:
    """A moment on a clock.

    Args:
        seconds: until then, from now.
        clock: seconds; tests bring their own.
    """

    def __init__(self, seconds: float, *, clock: Clock = time.monotonic) -> None:
        self.clock = clock
        self._ends = clock() + seconds

    @property
    def left(self) -> float:
        """Seconds until then; 0 once it is over."""
        return max(0.0, self._ends - self.clock())

    @property
    def over(self) -> bool:
        return self.left <= 0

    def part(self, seconds: float) -> Deadline:
        """One in so many seconds, but no later than this one."""
        return Deadline(min(seconds, self.left), clock=self.clock)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is done inside (recordings that are converted) moves the moment back by the time that it takes."""
        began = self.clock()
        try:
            yield
        finally:
            self._ends += self.clock() - began
