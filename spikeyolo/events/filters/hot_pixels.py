"""Hot pixels: those with far more events than the others give none. Their rates are known once all events are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from spikeyolo.events.filters.kept import Keep, kept_rows
from spikeyolo.events.types import Array, Events


class HotPixels:
    """Counts a recording's events pixel by pixel first (:meth:`count`), then leaves out those of hot pixels.

    Args:
        factor: a pixel is hot with more than so many times the events of the median of all pixels that have any.
        width, height: the sensor, px.
    """

    def __init__(self, factor: float, width: int, height: int) -> None:
        self.factor = factor
        self._counts = np.zeros((height, width), np.int64)
        self._hot: npt.NDArray[np.bool_] | None = None

    def count(self, events: Events) -> None:
        """Take these events into the pixels' rates."""
        _add(events.x, events.y, self._counts)

    @property
    def hot(self) -> npt.NDArray[np.bool_]:
        """``[H, W]``, which pixels are hot, once all events are counted."""
        if self._hot is None:
            active = self._counts[self._counts > 0]
            limit = self.factor * float(np.median(active)) if len(active) else 0.0
            self._hot = self._counts > limit
        return self._hot

    def apply(self, events: Events) -> Events:
        """The events that are kept, as new columns."""
        return kept_rows(events, _cool(events.x, events.y, self.hot))


@njit(nogil=True, cache=True)
def _add(x: Array, y: Array, counts: Array) -> None:
    for i in range(len(x)):
        counts[y[i], x[i]] += 1


@njit(nogil=True, cache=True)
def _cool(x: Array, y: Array, hot: Array) -> Keep:
    keep = np.empty(len(x), np.bool_)
    for i in range(len(x)):
        keep[i] = not hot[y[i], x[i]]
    return keep
