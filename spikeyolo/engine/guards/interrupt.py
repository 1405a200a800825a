"""Ctrl-C (and a scheduler's SIGTERM) as a request that training follows between two batches."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from types import FrameType, TracebackType
from typing import Any, TypeVar

from spikeyolo.engine.ranks import Ranks

T = TypeVar("T")


class StopRequested(Exception):  # noqa: N818 -- a request, not an error
    """Raised between two batches after the user asked to stop."""


class StopWatch:
    """Context in which the first SIGINT or SIGTERM is remembered, and a second one interrupts at once.

    Args:
        ranks: processes that train together: a request to one is one to all.
    """

    def __init__(self, ranks: Ranks | None = None) -> None:
        self._ranks = Ranks() if ranks is None else ranks
        self.requested = False
        self.number = int(signal.SIGINT)  # the signal that asked
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopWatch:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._remember)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested, self.number = True, number

    def is_asked(self) -> bool:
        """Whether one of the processes was asked to stop; all have to come here."""
        number = int(self._ranks.most(self.number if self.requested else 0)[0])
        if number:
            self.requested, self.number = True, number
        return self.requested

    def watch(self, items: Iterable[T]) -> Iterator[T]:
        """The same items, until a stop is asked for.

        Raises:
            StopRequested: before the next item.
        """
        for item in items:
            if self.is_asked():
                raise StopRequested
            yield item
