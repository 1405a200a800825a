"""The hot loops of the encoders: time-sorted packed events, each scattered into the frame of its slice.

Events are packed (see :mod:`spikeyolo.events.packing`). An encoder's loop knows neither time windows nor geometry:
:func:`edges` says which rows belong to which slice, and two small tables (:func:`tables`) say in which column and row
of the frame a column and a row of the sensor land. Where a pixel does not land by its column and row alone (a rotation,
magnified pixels that are spread), :func:`moved` makes events of frame pixels first.

The loops share one file because a cached numba function does not notice that a function of another file, which it
calls, has changed.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from spikeyolo.events import packing

SIDE = packing.MAX_SIDE
_TIME = np.uint64(packing.TIME_SHIFT)
_ROW = np.uint64(packing.ROW_SHIFT)
_COLUMN = np.uint64(packing.COLUMN_SHIFT)
_COORDINATE = np.uint64(packing.COORDINATE)
_POLARITY = np.uint64(packing.POLARITY)
_TIME_AND_POLARITY = ~np.uint64(packing.PIXEL) | _POLARITY


def edges(packed: npt.NDArray[np.uint64], start_us: int, slice_us: int, steps: int) -> npt.NDArray[np.intp]:
    """First row of each slice, and the row after the last slice, ``[steps + 1]``."""
    times = np.maximum(start_us + slice_us * np.arange(steps + 1, dtype=np.int64), 0)
    return np.searchsorted(packed, times.astype(np.uint64) << _TIME)


@numba.njit(nogil=True, cache=True)
def tables(geometry: Any, width: Any, height: Any) -> Any:
    """Where columns and rows of the sensor land in a frame that is not rotated, ``[SIDE]`` int32 each.

    The column, and ``width`` times the row; -1 outside the frame. A pixel lands where its centre does.
    """
    sx, sy, ox, oy, _, _ = geometry
    columns = np.empty(SIDE, np.int32)
    rows = np.empty(SIDE, np.int32)
    for side in range(SIDE):
        column = np.floor((side + 0.5) * sx + ox)
        row = np.floor((side + 0.5) * sy + oy)
        columns[side] = np.int32(column) if 0.0 <= column < width else np.int32(-1)
        rows[side] = np.int32(row) * width if 0.0 <= row < height else np.int32(-1)
    return columns, rows


@numba.njit(nogil=True, cache=True, boundscheck=False)
def moved(packed: Any, geometry: Any, seed: Any, width: Any, height: Any) -> Any:
    """The events that land in the frame, with the frame's columns and rows instead of the sensor's.

    An event is at its pixel's centre, or anywhere in it where ``seed`` is not 0. That condition is the same for all
    events: the compiler takes it out of the loop.
    """
    sx, sy, ox, oy, hx, hy = geometry
    out = np.empty(packed.shape[0], np.uint64)
    columns = np.uint64(width)
    rows = np.uint64(height)
    count = 0
    state = seed
    u = 0.5
    v = 0.5
    for i in range(packed.shape[0]):
        event = packed[i]
        x = np.float64((event >> _COLUMN) & _COORDINATE)
        y = np.float64((event >> _ROW) & _COORDINATE)
        if seed != 0:
            # One xorshift64 step (Marsaglia 2003).
            state ^= state << np.uint64(13)
            state ^= state >> np.uint64(7)
            state ^= state << np.uint64(17)
            u = np.float64(state & np.uint64(0xFFFF)) / 65536.0
            v = np.float64((state >> np.uint64(16)) & np.uint64(0xFFFF)) / 65536.0
        column = np.uint64(np.int64(np.floor((x + u) * sx + ox + (y + v) * hx)))  # wraps where negative
        row = np.uint64(np.int64(np.floor((y + v) * sy + oy + (x + u) * hy)))
        # Written in any case and kept by counting on: whether an event lands cannot be guessed, so no branch asks.
        out[count] = (event & _TIME_AND_POLARITY) | (row << _ROW) | (column << _COLUMN)
        count += int((column < columns) & (row < rows))
    return out[:count]


@numba.njit(nogil=True, cache=True, inline="always")
def _pixel(event: Any, columns: Any, rows: Any) -> Any:
    """Index of the event's pixel in a channel; negative outside the frame."""
    column = columns[(event >> _COLUMN) & _COORDINATE]
    row = rows[(event >> _ROW) & _COORDINATE]
    return np.int64(-1) if (column | row) < 0 else np.int64(row + column)


@numba.njit(nogil=True, cache=True, boundscheck=False)
def histogram(packed: Any, edges: Any, out: Any, columns: Any, rows: Any) -> None:
    """Counts of OFF and ON in ``out`` ``[T, 2, H, W]``."""
    pixels = out.shape[2] * out.shape[3]
    for step in range(out.shape[0]):
        frame = out[step].reshape(-1)
        for i in range(edges[step], edges[step + 1]):
            event = packed[i]
            pixel = _pixel(event, columns, rows)
            if pixel < 0:
                continue
            pixel += np.int64(event & _POLARITY) * pixels
            count = frame[pixel]
            if count != 255:
                frame[pixel] = count + np.uint8(1)


@numba.njit(nogil=True, cache=True, boundscheck=False)
def binary(packed: Any, edges: Any, out: Any, columns: Any, rows: Any) -> None:
    """1 where OFF, where ON happened, in ``out`` ``[T, 2, H, W]``."""
    pixels = out.shape[2] * out.shape[3]
    for step in range(out.shape[0]):
        frame = out[step].reshape(-1)
        for i in range(edges[step], edges[step + 1]):
            event = packed[i]
            pixel = _pixel(event, columns, rows)
            if pixel >= 0:
                frame[pixel + np.int64(event & _POLARITY) * pixels] = np.uint8(1)


@numba.njit(nogil=True, cache=True, inline="always")
def _saturated(value: Any) -> Any:
    return np.uint8(value if value < 255 else 255)


@numba.njit(nogil=True, cache=True, boundscheck=False)
def voxel(packed: Any, edges: Any, out: Any, columns: Any, rows: Any, start_us: Any, slice_us: Any, unit: Any) -> None:
    """``unit`` an event, shared by the two nearest bins, in ``out`` ``[T, 2·bins, H, W]``: bins of OFF, then of ON."""
    pixels = out.shape[2] * out.shape[3]
    bins = out.shape[1] // 2
    rate = (bins - 1) / slice_us
    for step in range(out.shape[0]):
        frame = out[step].reshape(-1)
        begin = start_us + step * slice_us
        for i in range(edges[step], edges[step + 1]):
            event = packed[i]
            pixel = _pixel(event, columns, rows)
            if pixel < 0:
                continue
            position = (np.int64(event >> _TIME) - begin) * rate
            lower = np.int64(position)
            later = np.int64((position - lower) * unit + 0.5)
            pixel += (np.int64(event & _POLARITY) * bins + lower) * pixels
            frame[pixel] = _saturated(np.int64(frame[pixel]) + unit - later)
            if later > 0 and lower + 1 < bins:
                pixel += pixels
                frame[pixel] = _saturated(np.int64(frame[pixel]) + later)


@numba.njit(nogil=True, cache=True, boundscheck=False)
def time_surface(
    packed: Any, edges: Any, out: Any, columns: Any, rows: Any, start_us: Any, slice_us: Any, decay_us: Any
) -> None:
    """How recent OFF's and ON's last event is at the slice's end, 1 to 255, in ``out`` ``[T, 2, H, W]``."""
    pixels = out.shape[2] * out.shape[3]
    before = np.int64(-1)
    value = np.uint8(0)
    for step in range(out.shape[0]):
        frame = out[step].reshape(-1)
        end = start_us + (step + 1) * slice_us
        for i in range(edges[step], edges[step + 1]):
            event = packed[i]
            pixel = _pixel(event, columns, rows)
            if pixel < 0:
                continue
            t = np.int64(event >> _TIME)
            if t != before:  # many events share a time, and the exponential is what costs
                level = int(255.0 * np.exp((t - end) / decay_us) + 0.5)
                value = np.uint8(level if level > 0 else 1)
                before = t
            frame[pixel + np.int64(event & _POLARITY) * pixels] = value


@numba.njit(nogil=True, cache=True, boundscheck=False)
def mixed_density(packed: Any, edges: Any, out: Any, columns: Any, rows: Any, start_us: Any, slice_us: Any) -> None:
    """1 (OFF) or 2 (ON), of the last event, in ``out`` ``[T, stacks, H, W]``: stack k has the slice's last 1/2^k."""
    pixels = out.shape[2] * out.shape[3]
    stacks = out.shape[1]
    for step in range(out.shape[0]):
        frame = out[step].reshape(-1)
        end = start_us + (step + 1) * slice_us
        for i in range(edges[step], edges[step + 1]):
            event = packed[i]
            pixel = _pixel(event, columns, rows)
            if pixel < 0:
                continue
            age = end - np.int64(event >> _TIME)
            polarity = np.uint8(1 + np.int64(event & _POLARITY))
            k = 0
            while k < stacks and age << k <= slice_us:
                frame[pixel + k * pixels] = polarity
                k += 1
