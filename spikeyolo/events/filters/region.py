"""The region of interest: events outside a rectangle of pixels are left out; the sensor stays as large as it is."""

from __future__ import annotations

import numpy as np
from numba import njit

from spikeyolo.events.filters.kept import Keep, kept_rows
from spikeyolo.events.types import Array, Events


class Region:
    """Keeps events of columns ``left`` to ``right - 1`` and rows ``top`` to ``bottom - 1``."""

    def __init__(self, left: int, top: int, right: int, bottom: int) -> None:
        self.left, self.top, self.right, self.bottom = left, top, right, bottom

    def apply(self, events: Events) -> Events:
        """The events that are kept, as new columns."""
        keep: Keep = _inside(events.x, events.y, self.left, self.top, self.right, self.bottom)
        return kept_rows(events, keep)


@njit(nogil=True, cache=True)
def _inside(x: Array, y: Array, left: int, top: int, right: int, bottom: int) -> Keep:
    keep = np.empty(len(x), np.bool_)
    for i in range(len(x)):
        keep[i] = (x[i] >= left) & (x[i] < right) & (y[i] >= top) & (y[i] < bottom)
    return keep
