"""Background activity: an event that no neighbour supports is noise.

T. Delbruck, "Frame-free dynamic digital vision", 2008: an event passes if one of the eight pixels around its own had an
event, of either polarity, at most τ µs before. An event supports others whether it passes itself or not.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from spikeyolo.events.filters.kept import Keep, kept_rows
from spikeyolo.events.types import Array, Events

_NEVER = np.iinfo(np.int64).min >> 1


class BackgroundActivity:
    """Keeps the supported events of a recording, whose stretches come in order.

    Args:
        tau_us: so long, µs, an event supports its neighbours.
        width, height: the sensor, px.
    """

    def __init__(self, tau_us: int, width: int, height: int) -> None:
        self.tau_us = tau_us
        # the last event's time, with a pixel more at each edge
        self._last = np.full((height + 2, width + 2), _NEVER, np.int64)

    def apply(self, events: Events) -> Events:
        """The events that are kept, as new columns."""
        return kept_rows(events, _supported(events.t, events.x, events.y, self.tau_us, self._last))


@njit(nogil=True, cache=True)
def _supported(t: Array, x: Array, y: Array, tau_us: int, last: Array) -> Keep:
    keep = np.empty(len(t), np.bool_)
    for i in range(len(t)):
        column, row = np.int64(x[i]) + 1, np.int64(y[i]) + 1
        since = t[i] - tau_us
        above, here, below = last[row - 1], last[row], last[row + 1]
        keep[i] = (
            (above[column - 1] >= since)
            | (above[column] >= since)
            | (above[column + 1] >= since)
            | (here[column - 1] >= since)
            | (here[column + 1] >= since)
            | (below[column - 1] >= since)
            | (below[column] >= since)
            | (below[column + 1] >= since)
        )
        here[column] = t[i]
    return keep
