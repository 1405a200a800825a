"""Events as a picture: each pixel shows its last event, which fades as ``exp(-age / decay)``."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from spikeyolo.events.types import Array, Events
from spikeyolo.report.video.palette import Palette, Rgb

Pixels = npt.NDArray[np.uint8]

_REACH = 6.0  # decay times after which nothing is seen any more: exp(-6) of 255 is less than 1
_LEVELS = 1536
_NEVER = np.int64(-(1 << 61))


class EventPicture:
    """What each pixel did last, and when.

    Args:
        width, height: of the sensor, px.
        decay_us: after so long an event has faded to 1/e of its colour, µs.
        magnify: picture pixels a sensor pixel, in either direction.
        shrink: sensor pixels a picture pixel; the last event among them is shown.
        palette: its colours.
    """

    def __init__(
        self, width: int, height: int, *, decay_us: float, palette: Palette, magnify: int = 1, shrink: int = 1
    ) -> None:
        self._shrink, self._magnify = shrink, magnify
        self._last = np.full((-(-height // shrink), -(-width // shrink)), _NEVER, np.int64)  # time << 1 | polarity
        self._levels_a_us = _LEVELS / (_REACH * decay_us)
        self._colours = np.stack([_fading(colour, palette.ground) for colour in (palette.off, palette.on)])

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the picture."""
        rows, columns = self._last.shape
        return rows * self._magnify, columns * self._magnify

    def add(self, events: Events) -> None:
        """Take in events, in the order of time."""
        _scatter(events.t, events.x, events.y, events.p, self._shrink, self._last)

    def draw(self, t_us: int, out: Pixels) -> None:
        """The picture at a time that no event taken in lies after, into ``out`` ``[rows, columns, 3]``."""
        _paint(self._last, t_us, self._levels_a_us, self._colours, self._magnify, out)


def _fading(colour: Rgb, ground: Rgb) -> Pixels:
    """``[_LEVELS, 3]``: from the colour to the ground, which is the last."""
    strength = np.exp(-np.arange(_LEVELS) * (_REACH / _LEVELS))
    strength[-1] = 0.0
    low, high = np.array(ground, float), np.array(colour, float)
    colours: Pixels = np.rint(low + strength[:, None] * (high - low)).astype(np.uint8)
    return colours


@numba.njit(nogil=True, cache=True)
def _scatter(t: Array, x: Array, y: Array, p: Array, shrink: int, last: Array) -> None:
    if shrink == 1:
        for i in range(t.size):
            last[y[i], x[i]] = t[i] << 1 | p[i]
    else:
        for i in range(t.size):
            last[y[i] // shrink, x[i] // shrink] = t[i] << 1 | p[i]


@numba.njit(nogil=True, cache=True)
def _paint(last: Array, now: int, levels_a_us: float, colours: Array, magnify: int, out: Array) -> None:
    rows, columns = last.shape
    end = colours.shape[1] - 1
    ground = colours[0, end]
    oldest = (now - np.int64(end / levels_a_us)) << 1  # what is older is not seen
    for row in range(rows):
        line = out[row * magnify]
        for k in range(columns * magnify):
            line[k, 0], line[k, 1], line[k, 2] = ground[0], ground[1], ground[2]
        for column in range(columns):
            word = last[row, column]
            if word < oldest:
                continue
            colour = colours[word & 1, min(int((now - (word >> 1)) * levels_a_us), end)]
            for k in range(column * magnify, (column + 1) * magnify):
                line[k, 0], line[k, 1], line[k, 2] = colour[0], colour[1], colour[2]
        for k in range(1, magnify):
            out[row * magnify + k] = line
