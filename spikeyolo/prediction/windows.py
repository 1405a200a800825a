"""A recording's events cut into windows as they are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from spikeyolo.events.packing import TIME_SHIFT, Packed, times


class EventWindow(NamedTuple):
    """The events of one window.

    Attributes:
        start_us: its start, µs.
        packed: ``[N]`` uint64, time-sorted (see :mod:`spikeyolo.events.packing`).
        last: no event comes after it.
    """

    start_us: int
    packed: Packed
    last: bool


def windows(batches: Iterable[Packed], duration_us: int, hop_us: int | None = None) -> Iterator[EventWindow]:
    """Windows from the first event on, up to the one that holds the last event; that may be short of events.

    Args:
        batches: packed events in order.
        duration_us: of a window.
        hop_us: from one window's start to the next one's; None: back to back.
    """
    hop_us = duration_us if hop_us is None else hop_us
    rest: Packed = np.empty(0, np.uint64)
    start: int | None = None
    for batch in batches:
        rest = np.concatenate((rest, batch))
        if not len(rest):
            continue
        if start is None:
            start = int(times(rest[:1])[0])
        while len(rest) and int(times(rest[-1:])[0]) >= start + duration_us:
            yield EventWindow(start, rest[: _row(rest, start + duration_us)], False)
            start += hop_us
            rest = rest[_row(rest, start) :]
    if start is not None and len(rest):
        yield EventWindow(start, rest, True)


def _row(packed: Packed, time_us: int) -> int:
    """The first event at this time or later."""
    return int(np.searchsorted(packed, np.uint64(time_us << TIME_SHIFT)))
