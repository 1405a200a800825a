"""Which windows of a recording exist: around labels, through empty stretches, sliding all along, or by count.

A window of T slices looks back from its end, which for a labelled window is the label's time::

                 window (T = 4)              label
    events  ┊·  ··┊ · ·· ┊··   ·┊ ····· ┊ ◄── end, half-open
            start                        end
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from spikeyolo.events import packing

Times = npt.NDArray[np.int64]

_NEAR_ROWS = 1 << 15  # rows no further apart are read together


def by_count(first: int, last: int, *, events: int, overlap: float) -> tuple[Times, Times]:
    """First and last rows ``[N]`` of windows of ``events`` events in a recording's rows ``[first, last)``.

    Neighbours share ``overlap`` of their events, so that there are ``(last - first - events) // stride + 1``
    windows (none where there are fewer events), which is known before any event is read.
    """
    stride = max(1, round(events * (1.0 - overlap)))
    begin = np.arange(first, last - events + 1, stride, dtype=np.int64)
    return begin, begin + (events - 1)


def times_of(rows: Times, read: Callable[[int, int], npt.NDArray[np.uint64]]) -> Times:
    """Times ``[N]`` (µs) of the events at ordered ``rows``; ``read(low, high)`` gives packed events.

    Rows far apart are read one by one, so that the chunks between them stay encoded.
    """
    times = np.empty(len(rows), np.int64)
    if not len(rows):
        return times
    far = np.flatnonzero(np.diff(rows) > _NEAR_ROWS) + 1
    block = np.flatnonzero(np.diff(rows // (32 * _NEAR_ROWS))) + 1  # and no read is longer than this
    edges = np.unique(np.concatenate([[0], far, block, [len(rows)]]))
    for low, high in pairwise(edges.tolist()):
        block_rows = rows[low:high]
        packed = read(int(block_rows[0]), int(block_rows[-1]) + 1)
        times[low:high] = packing.times(packed[block_rows - block_rows[0]])
    return times


def anchored(label_times: Times, *, duration_us: int, start_us: int, end_us: int) -> Times:
    """Ends ``[N]`` (µs) of the windows that look back from each different label time.

    Only windows that lie wholly in ``[start_us, end_us)`` exist; a label at the very end of a recording counts
    although its last event may precede it.
    """
    times = distinct(label_times)
    return times[(times - duration_us >= start_us) & (times <= end_us)]


def sliding(*, duration_us: int, overlap: float, start_us: int, end_us: int) -> Times:
    """Ends ``[N]`` (µs) of windows all over ``[start_us, end_us)``, neighbours sharing ``overlap`` of their length."""
    stride = max(1, round(duration_us * (1.0 - overlap)))
    return np.arange(start_us + duration_us, end_us + 1, stride, dtype=np.int64)


def back_to_back(*, duration_us: int, start_us: int, end_us: int, beyond: bool = False) -> Times:
    """Ends ``[N]`` (µs) of windows one behind the other from ``start_us`` on.

    They lie wholly in ``[start_us, end_us)``; with ``beyond``, one more takes what is left and reaches beyond its end.
    """
    count = (end_us - start_us) // duration_us if not beyond else -(-(end_us - start_us) // duration_us)
    return start_us + duration_us * np.arange(1, max(count, 0) + 1, dtype=np.int64)


def empty_stretches(looks: Times, *, start_us: int, end_us: int, gap_us: int) -> list[tuple[int, int]]:
    """Stretches where an annotated recording holds no object: further than ``gap_us`` from every look.

    A label file lists objects, not looks: a stretch much longer than the annotators' interval without any box is
    one they found empty.
    """
    times = distinct(looks)  # those just before the start and just after the end count too
    begins = np.clip(np.concatenate([[start_us], times + gap_us]), start_us, end_us)
    ends = np.clip(np.concatenate([times - gap_us, [end_us]]), start_us, end_us)
    some = ends > begins
    return list(zip(begins[some].tolist(), ends[some].tolist(), strict=True))


def spread(count: int, limit: int | None) -> npt.NDArray[np.int64]:
    """``min(count, limit)`` indices spread evenly over ``range(count)``."""
    if limit is None or count <= limit:
        return np.arange(count, dtype=np.int64)
    return np.floor((np.arange(limit) + 0.5) * count / limit).astype(np.int64)


def thinned(packed: packing.Packed, most: int | None) -> packing.Packed:
    """A window's events, or ``most`` of them spread evenly where there are more; None: all of them.

    Whoever encodes for a network takes them through this, so that it sees as many as in its training.
    """
    return packed if most is None or len(packed) <= most else packed[spread(len(packed), most)]


def distinct(times: Times) -> Times:
    """``np.unique``, without sorting what is sorted, as labels are."""
    steps = np.diff(times)
    if np.any(steps < 0):
        return np.unique(times)
    first = np.ones(len(times), np.bool_)
    first[1:] = steps > 0
    return times[first]
