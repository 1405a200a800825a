"""How many windows hold more events than they may, told without reading the events of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spikeyolo.events.store import Recording
from spikeyolo.windows import slicing

Times = npt.NDArray[np.int64]

EXACT = 2_000  # windows whose events are counted one by one, at most
LOOKED_AT = 1_000  # recordings whose index is read, at most: it takes about a millisecond each


class Crowd(NamedTuple):
    """At least, and at most, so many windows hold more events than they may, of those in the recordings looked at."""

    least: int
    most: int
    windows: int
    recordings: int

    def __str__(self) -> str:
        return f"{self.least}" if self.least == self.most else f"between {self.least} and {self.most}"


def crowded(recordings: Sequence[Recording], recording: Times, starts: Times, ends: Times, *, limit: int) -> Crowd:
    """Count the windows with more than ``limit`` events.

    A recording's index of milliseconds decides for most windows. The others are counted one by one where there are
    at most ``EXACT`` of them. Of more than ``LOOKED_AT`` recordings, so many are looked at, spread evenly: a large
    set is not held up.

    Args:
        recording: ``[N]``, each window's recording, ascending.
        starts, ends: ``[N]``, of the windows, µs.
    """
    certain, windows, unsure = 0, 0, []
    first = np.searchsorted(recording, np.arange(len(recordings) + 1))
    chosen = slicing.spread(len(recordings), LOOKED_AT).tolist()
    for number in chosen:
        low, high = int(first[number]), int(first[number + 1])
        if low == high:
            continue
        bounds = recordings[number].index_bounds(np.concatenate([starts[low:high], ends[low:high]]))
        (start_low, end_low), (start_high, end_high) = (np.split(bound, 2) for bound in bounds)
        over = end_low - start_high > limit
        certain += int(np.count_nonzero(over))
        windows += high - low
        unsure.append(low + np.flatnonzero(~over & (end_high - start_low > limit)))
    rows = np.concatenate([*unsure, np.empty(0, np.int64)])
    if len(rows) > EXACT:
        return Crowd(certain, certain + len(rows), windows, len(chosen))
    counts = [recordings[recording[row]].count(int(starts[row]), int(ends[row])) for row in rows]
    total = certain + sum(count > limit for count in counts)
    return Crowd(total, total, windows, len(chosen))
