"""The rows of events that a filter keeps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from spikeyolo.events.types import Array, Events

Keep = npt.NDArray[np.bool_]


def kept_rows(events: Events, keep: Keep) -> Events:
    """The events whose row is marked, in order; the events themselves where all are."""
    count = int(np.count_nonzero(keep))
    if count == len(events):
        return events
    t, x, y, p = (
        np.empty(count, np.int64),
        np.empty(count, np.uint16),
        np.empty(count, np.uint16),
        np.empty(count, np.uint8),
    )
    _copy_kept(events.t, events.x, events.y, events.p, keep, t, x, y, p)
    return Events(t, x, y, p, events.width, events.height)


@njit(nogil=True, cache=True)
def _copy_kept(
    t: Array, x: Array, y: Array, p: Array, keep: Keep, new_t: Array, new_x: Array, new_y: Array, new_p: Array
) -> None:
    row = 0
    for i in range(len(keep)):
        if keep[i]:
            new_t[row], new_x[row], new_y[row], new_p[row] = t[i], x[i], y[i], p[i]
            row += 1
