"""How many windows hold more events than they may, told without reading the events of all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from spikeyolo.events.store import Recording

Times = npt.NDArray[np.int64]

EXACT = 2_000  # windows whose events are counted one by one, at most


def crowded(
    recordings: Sequence[Recording],
    recording: Times,
    starts: Times,
    ends: Times,
    *,
    limit: int,
    exact: int | None = None,
) -> tuple[int, int]:
    """At least, and at most, so many of N windows hold more than ``limit`` events.

    A recording's index of milliseconds decides for most windows. The others are counted one by one where there are
    at most ``exact`` of them (None: ``EXACT``), so that both numbers are the same; a large set is not held up for it.

    Args:
        recording: ``[N]``, each window's recording, ascending.
        starts, ends: ``[N]``, of the windows, µs.
    """
    certain, unsure = 0, []
    first = np.searchsorted(recording, np.arange(len(recordings) + 1))
    for number, (low, high) in enumerate(zip(first[:-1].tolist(), first[1:].tolist(), strict=True)):
        if low == high:
            continue
        bounds = recordings[number].index_bounds(np.concatenate([starts[low:high], ends[low:high]]))
        (start_low, end_low), (start_high, end_high) = (np.split(bound, 2) for bound in bounds)
        over = end_low - start_high > limit
        certain += int(np.count_nonzero(over))
        unsure.append(low + np.flatnonzero(~over & (end_high - start_low > limit)))
    rows = np.concatenate([*unsure, np.empty(0, np.int64)])
    if len(rows) > (EXACT if exact is None else exact):
        return certain, certain + len(rows)
    counts = [recordings[recording[row]].count(int(starts[row]), int(ends[row])) for row in rows]
    total = certain + sum(count > limit for count in counts)
    return total, total
