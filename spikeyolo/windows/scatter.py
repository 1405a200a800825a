"""The hot loops of the encoders: one pass over time-sorted packed events, each scattered into the frame of its slice.

Events are ``t<<25 | y<<13 | x<<1 | p``. The loops share one file because a cached numba function does not notice
that a function of another file, which it calls, has changed.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np


@numba.njit(nogil=True, cache=True, inline="always")
def _land(event: Any, state: Any, seed: Any, geometry: Any) -> Any:
    """Column and row of the event, not yet integers, and the next state.

    The event is at its pixel's centre, or anywhere in it where ``seed`` is not 0. The two conditions are the same
    for all events: the compiler takes them out of the loop.
    """
    sx, sy, ox, oy, hx, hy = geometry
    x = np.float64((event >> np.uint64(1)) & np.uint64(0xFFF))
    y = np.float64((event >> np.uint64(13)) & np.uint64(0xFFF))
    u = 0.5
    v = 0.5
    if seed != 0:
        # One xorshift64 step (Marsaglia 2003).
        state ^= state << np.uint64(13)
        state ^= state >> np.uint64(7)
        state ^= state << np.uint64(17)
        u = np.float64(state & np.uint64(0xFFFF)) / 65536.0
        v = np.float64((state >> np.uint64(16)) & np.uint64(0xFFFF)) / 65536.0
    column = (x + u) * sx + ox
    row = (y + v) * sy + oy
    if hx != 0.0 or hy != 0.0:
        column += (y + v) * hx
        row += (x + u) * hy
    return np.floor(column), np.floor(row), state


@numba.njit(nogil=True, cache=True, boundscheck=False)
def histogram(packed: Any, start_us: Any, slice_us: Any, out: Any, geometry: Any, seed: Any) -> None:
    """Counts of OFF and ON in ``out`` ``[T, 2, H, W]``."""
    steps, _, height, width = out.shape
    edge = start_us + slice_us
    step = 0
    state = seed
    for i in range(packed.shape[0]):
        event = packed[i]
        t = np.int64(event >> np.uint64(25))
        if t < start_us:
            continue
        while t >= edge:
            step += 1
            edge += slice_us
            if step >= steps:
                return
        column, row, state = _land(event, state, seed, geometry)
        if column < 0.0 or row < 0.0 or column >= width or row >= height:
            continue
        p = np.int64(event & np.uint64(1))
        r = np.int64(row)
        c = np.int64(column)
        if out[step, p, r, c] != 255:
            out[step, p, r, c] += np.uint8(1)


@numba.njit(nogil=True, cache=True, boundscheck=False)
def binary(packed: Any, start_us: Any, slice_us: Any, out: Any, geometry: Any, seed: Any) -> None:
    """1 where OFF, where ON happened, in ``out`` ``[T, 2, H, W]``."""
    steps, _, height, width = out.shape
    edge = start_us + slice_us
    step = 0
    state = seed
    for i in range(packed.shape[0]):
        event = packed[i]
        t = np.int64(event >> np.uint64(25))
        if t < start_us:
            continue
        while t >= edge:
            step += 1
            edge += slice_us
            if step >= steps:
                return
        column, row, state = _land(event, state, seed, geometry)
        if column < 0.0 or row < 0.0 or column >= width or row >= height:
            continue
        out[step, np.int64(event & np.uint64(1)), np.int64(row), np.int64(column)] = np.uint8(1)


@numba.njit(nogil=True, cache=True, inline="always")
def _saturated(value: Any) -> Any:
    return np.uint8(value if value < 255 else 255)


@numba.njit(nogil=True, cache=True, boundscheck=False)
def voxel(packed: Any, start_us: Any, slice_us: Any, out: Any, geometry: Any, seed: Any, unit: Any) -> None:
    """``unit`` an event, shared by the two nearest bins, in ``out`` ``[T, 2·bins, H, W]``: bins of OFF, then of ON."""
    steps, channels, height, width = out.shape
    bins = channels // 2
    rate = (bins - 1) / slice_us
    begin = start_us
    edge = start_us + slice_us
    step = 0
    state = seed
    for i in range(packed.shape[0]):
        event = packed[i]
        t = np.int64(event >> np.uint64(25))
        if t < start_us:
            continue
        while t >= edge:
            step += 1
            begin = edge
            edge += slice_us
            if step >= steps:
                return
        column, row, state = _land(event, state, seed, geometry)
        if column < 0.0 or row < 0.0 or column >= width or row >= height:
            continue
        r = np.int64(row)
        c = np.int64(column)
        position = (t - begin) * rate
        lower = np.int64(position)
        later = np.int64((position - lower) * unit + 0.5)
        channel = np.int64(event & np.uint64(1)) * bins + lower
        out[step, channel, r, c] = _saturated(np.int64(out[step, channel, r, c]) + unit - later)
        if later > 0 and lower + 1 < bins:
            out[step, channel + 1, r, c] = _saturated(np.int64(out[step, channel + 1, r, c]) + later)


@numba.njit(nogil=True, cache=True, boundscheck=False)
def time_surface(packed: Any, start_us: Any, slice_us: Any, out: Any, geometry: Any, seed: Any, decay_us: Any) -> None:
    """How recent OFF's and ON's last event is at the slice's end, 1 to 255, in ``out`` ``[T, 2, H, W]``."""
    steps, _, height, width = out.shape
    edge = start_us + slice_us
    step = 0
    state = seed
    before = np.int64(-1)
    value = np.uint8(0)
    for i in range(packed.shape[0]):
        event = packed[i]
        t = np.int64(event >> np.uint64(25))
        if t < start_us:
            continue
        while t >= edge:
            step += 1
            edge += slice_us
            if step >= steps:
                return
        if t != before:  # many events share a time, and the exponential is what costs
            level = int(255.0 * np.exp((t - edge) / decay_us) + 0.5)
            value = np.uint8(level if level > 0 else 1)
            before = t
        column, row, state = _land(event, state, seed, geometry)
        if column < 0.0 or row < 0.0 or column >= width or row >= height:
            continue
        out[step, np.int64(event & np.uint64(1)), np.int64(row), np.int64(column)] = value


@numba.njit(nogil=True, cache=True, boundscheck=False)
def mixed_density(packed: Any, start_us: Any, slice_us: Any, out: Any, geometry: Any, seed: Any) -> None:
    """1 (OFF) or 2 (ON), of the last event, in ``out`` ``[T, stacks, H, W]``: stack k has the slice's last 1/2^k."""
    steps, stacks, height, width = out.shape
    edge = start_us + slice_us
    step = 0
    state = seed
    for i in range(packed.shape[0]):
        event = packed[i]
        t = np.int64(event >> np.uint64(25))
        if t < start_us:
            continue
        while t >= edge:
            step += 1
            edge += slice_us
            if step >= steps:
                return
        column, row, state = _land(event, state, seed, geometry)
        if column < 0.0 or row < 0.0 or column >= width or row >= height:
            continue
        age = edge - t
        polarity = np.uint8(1 + np.int64(event & np.uint64(1)))
        k = 0
        while k < stacks and age << k <= slice_us:
            out[step, k, np.int64(row), np.int64(column)] = polarity
            k += 1
