"""One event as one 64-bit word, ``t << 25 | y << 13 | x << 1 | p``: what the store keeps and windows are cut from.

Because the time is in the highest bits, packed events sort as their times do, and a time searches as ``t << 25``.
The layout stands here only: others take these constants and functions.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from spikeyolo.errors import RecordingError
from spikeyolo.events.types import Array, Events

Packed = npt.NDArray[np.uint64]

TIME_SHIFT = 25
ROW_SHIFT = 13
COLUMN_SHIFT = 1
MAX_SIDE = 4096  # 12 bits a coordinate
COORDINATE = MAX_SIDE - 1  # mask of a row or a column, once shifted
POLARITY = 1  # mask of the polarity
PIXEL = (1 << TIME_SHIFT) - 1  # mask of all but the time
MAX_TIME_US = (1 << (64 - TIME_SHIFT)) - 2  # 39 bits, 6.3 days; the highest word is never an event
_DTYPES = {"t": np.int64, "x": np.uint16, "y": np.uint16, "p": np.uint8}


@numba.njit(nogil=True, cache=True)
def _pack(t: Array, x: Array, y: Array, p: Array, width: int, height: int, previous: int, out: Packed) -> int:
    """Fill ``out`` and return the index of the first event that breaks an invariant, or -1."""
    for i in range(t.size):
        now = t[i]
        if now < previous or now > MAX_TIME_US or x[i] >= width or y[i] >= height or p[i] > 1:
            return i
        previous = now
        out[i] = (
            (np.uint64(now) << np.uint64(TIME_SHIFT))
            | (np.uint64(y[i]) << np.uint64(ROW_SHIFT))
            | (np.uint64(x[i]) << np.uint64(COLUMN_SHIFT))
            | np.uint64(p[i])
        )
    return -1


@numba.njit(nogil=True, cache=True)
def _unpack(packed: Packed, t: Array, x: Array, y: Array, p: Array) -> None:
    for i in range(packed.size):
        word = packed[i]
        t[i] = word >> np.uint64(TIME_SHIFT)
        y[i] = (word >> np.uint64(ROW_SHIFT)) & np.uint64(COORDINATE)
        x[i] = (word >> np.uint64(COLUMN_SHIFT)) & np.uint64(COORDINATE)
        p[i] = word & np.uint64(POLARITY)


def pack(events: Events, *, source: str = "events", previous_us: int = 0) -> Packed:
    """Check the events and pack them.

    Args:
        events: a stretch of events.
        source: what to call them in an error.
        previous_us: time of the event before the first, µs.

    Returns:
        ``[N]`` uint64, non-decreasing in time.

    Raises:
        RecordingError: an invariant of :class:`Events` is broken, a time lies before ``previous_us`` or beyond 39 bits.
    """
    for name, dtype in _DTYPES.items():
        if getattr(events, name).dtype != dtype:
            raise RecordingError(
                f"{source}: column {name} is of type {getattr(events, name).dtype}; expected {np.dtype(dtype)}"
            )
    if not 0 < events.width <= MAX_SIDE or not 0 < events.height <= MAX_SIDE:
        raise RecordingError(
            f"{source}: a sensor of {events.width}x{events.height} px; expected 1 to {MAX_SIDE} px a side"
        )
    if not len(events.t) == len(events.x) == len(events.y) == len(events.p):
        events.check(source)
    out = np.empty(len(events), np.uint64)
    bad = _pack(events.t, events.x, events.y, events.p, events.width, events.height, max(previous_us, 0), out)
    if bad >= 0:
        events.check(source)
        found = int(events.t[bad])
        if found < 0:
            raise RecordingError(f"{source}: event {bad} has the negative time {found} µs; expected 0 µs or later")
        if found > MAX_TIME_US:
            raise RecordingError(f"{source}: event {bad} has the time {found} µs; expected at most {MAX_TIME_US} µs")
        raise RecordingError(
            f"{source}: time decreases from {previous_us} µs to {found} µs between two batches of events; "
            "expected non-decreasing times"
        )
    return out


def unpack(packed: Packed, width: int, height: int) -> Events:
    """Columns of packed events, as :class:`Events` of a sensor of ``width`` x ``height`` px."""
    n = len(packed)
    t, x, y, p = (np.empty(n, dtype) for dtype in _DTYPES.values())
    _unpack(packed, t, x, y, p)
    return Events(t, x, y, p, width, height)


def words(t: Array, x: Array, y: Array, p: Array) -> Packed:
    """``[N]`` columns of whole numbers, each in its range, joined to packed events; nothing is checked."""
    t, y, x, p = (column.astype(np.uint64) for column in (t, y, x, p))
    packed: Packed = (t << np.uint64(TIME_SHIFT)) | (y << np.uint64(ROW_SHIFT)) | (x << np.uint64(COLUMN_SHIFT)) | p
    return packed


def times(packed: Packed) -> npt.NDArray[np.int64]:
    """``[N]`` int64, µs."""
    return (packed >> np.uint64(TIME_SHIFT)).astype(np.int64)


def columns(packed: Packed) -> npt.NDArray[np.int64]:
    """x, ``[N]`` int64."""
    return ((packed >> np.uint64(COLUMN_SHIFT)) & np.uint64(COORDINATE)).astype(np.int64)


def rows(packed: Packed) -> npt.NDArray[np.int64]:
    """y, ``[N]`` int64."""
    return ((packed >> np.uint64(ROW_SHIFT)) & np.uint64(COORDINATE)).astype(np.int64)
