"""ECF, the codec of Prophesee's HDF5 files: one chunk's bytes to columns of events.

Written from the layout that Prophesee's ``hdf5_ecf`` (Apache-2.0) documents in source, little-endian throughout::

    u32  events << 2 | all packed << 1 | columns and polarities packed
    u64  time of the first event, µs
    times      runs of one byte: high nibble the step from the last time (0..14 µs), low nibble the number of events
               (15: a u16 number follows); a high nibble of 15 instead adds the low nibble to a longer step,
               least significant first
    then all packed   four events in three u32, most significant first, 24 bits each: row 11, column 11, polarity 1
    or  rows          runs of one u16: row 11 bits, number 5 bits (31: a u16 number follows)
        and packed    four events in three u16, 12 bits each: column 11, polarity 1
        or  columns   u16: column 11 bits, and a 5-bit mask of the next five columns that have an event too
            polarity  runs of one byte: polarity 1 bit, number 7 bits (127: a u16 number follows)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

ECF_FILTER = 0x8ECF
MAX_EVENTS = 65535

Bytes = npt.NDArray[np.uint8]
Integer = Any  # int64 inside the kernels, which numba infers


@njit(nogil=True, cache=True)
def decode_chunk(
    data: Bytes,
    keep: int,
    t: npt.NDArray[np.int64],
    x: npt.NDArray[np.uint16],
    y: npt.NDArray[np.uint16],
    p: npt.NDArray[np.uint8],
    first: int,
    origin_us: int = 0,
) -> bool:
    """Decode the first ``keep`` events of a chunk into rows ``first`` and on; False where the bytes make no sense.

    The columns must have room for 65535 rows after ``first``: a padded chunk holds more events than it keeps.
    """
    if len(data) < 12:
        return False
    head: Integer = np.int64(_u16(data, 0)) | np.int64(_u16(data, 2)) << 16
    events = head >> 2
    if events < keep or events > MAX_EVENTS or len(t) - first < events:
        return False
    end = first + events
    at = _times(data, t, first, end, origin_us)
    if at < 0:
        return False
    if head & 2:
        return _all_packed(data, at, x, y, p, first, end)
    at = _rows(data, at, y, first, end)
    if at < 0:
        return False
    if head & 1:
        return _columns_packed(data, at, x, p, first, end)
    at = _columns_masked(data, at, x, first, end)
    return at >= 0 and _polarities(data, at, p, first, end)


@njit(nogil=True, cache=True, inline="always")
def _u16(data: Bytes, at: Integer) -> Integer:
    return np.int64(data[at]) | np.int64(data[at + 1]) << 8


@njit(nogil=True, cache=True)
def _times(data: Bytes, t: npt.NDArray[np.int64], row: Integer, end: Integer, origin_us: Integer) -> Integer:
    now: Integer = np.int64(0)
    for i in range(8):
        now |= np.int64(data[4 + i]) << (8 * i)
    now -= origin_us
    step: Integer = np.int64(0)
    at, shift, size = 12, 0, len(data)
    while row < end:
        if at >= size:
            return -1
        high, low = np.int64(data[at]) >> 4, np.int64(data[at]) & 15
        at += 1
        if high == 15:
            if shift > 56:
                return -1
            step |= low << shift
            shift += 4
            continue
        now += step + high
        step, shift = np.int64(0), 0
        if low == 15:
            if at + 2 > size:
                return -1
            low = _u16(data, at)
            at += 2
        if row + low > end:
            return -1
        for _ in range(low):
            t[row] = now
            row += 1
    return at


@njit(nogil=True, cache=True)
def _rows(data: Bytes, at: Integer, y: npt.NDArray[np.uint16], row: Integer, end: Integer) -> Integer:
    size = len(data)
    while row < end:
        if at + 2 > size:
            return -1
        word = _u16(data, at)
        at += 2
        count = word & 31
        if count == 31:
            if at + 2 > size:
                return -1
            count = _u16(data, at)
            at += 2
        if row + count > end:
            return -1
        for _ in range(count):
            y[row] = word >> 5
            row += 1
    return at


@njit(nogil=True, cache=True)
def _columns_masked(data: Bytes, at: Integer, x: npt.NDArray[np.uint16], row: Integer, end: Integer) -> Integer:
    size = len(data)
    while row < end:
        if at + 2 > size:
            return -1
        word = _u16(data, at)
        at += 2
        x[row] = word >> 5
        row += 1
        for step in range(1, 6):
            # The encoder may mark neighbours past the chunk's last event: they are none of its events.
            if word >> (5 - step) & 1 and row < end:
                x[row] = (word >> 5) + step
                row += 1
    return at


@njit(nogil=True, cache=True)
def _polarities(data: Bytes, at: Integer, p: npt.NDArray[np.uint8], row: Integer, end: Integer) -> bool:
    size = len(data)
    while row < end:
        if at >= size:
            return False
        byte = np.int64(data[at])
        at += 1
        count = byte & 127
        if count == 127:
            if at + 2 > size:
                return False
            count = _u16(data, at)
            at += 2
        if row + count > end:
            return False
        for _ in range(count):
            p[row] = byte >> 7
            row += 1
    return True


@njit(nogil=True, cache=True)
def _columns_packed(
    data: Bytes, at: Integer, x: npt.NDArray[np.uint16], p: npt.NDArray[np.uint8], row: Integer, end: Integer
) -> bool:
    if at + (end - row + 3) // 4 * 6 > len(data):
        return False
    while row < end:
        bits = _u16(data, at) << 32 | _u16(data, at + 2) << 16 | _u16(data, at + 4)
        at += 6
        # 48 bits hold 12 + (4 low bits, then 8 high) + (8 low, 4 high) + 12.
        second = bits >> 32 & 15 | (bits >> 24 & 255) << 4
        third = bits >> 16 & 255 | (bits >> 12 & 15) << 8
        for j, word in enumerate((bits >> 36, second, third, bits & 4095)):
            if row + j < end:
                x[row + j] = word >> 1
                p[row + j] = word & 1
        row += 4
    return True


@njit(nogil=True, cache=True)
def _all_packed(
    data: Bytes,
    at: Integer,
    x: npt.NDArray[np.uint16],
    y: npt.NDArray[np.uint16],
    p: npt.NDArray[np.uint8],
    row: Integer,
    end: Integer,
) -> bool:
    if at + (end - row + 3) // 4 * 12 > len(data):
        return False
    while row < end:
        first = _u16(data, at) | _u16(data, at + 2) << 16
        middle = _u16(data, at + 4) | _u16(data, at + 6) << 16
        last = _u16(data, at + 8) | _u16(data, at + 10) << 16
        at += 12
        second = first & 0xFF | middle >> 16 << 8
        third = middle & 0xFFFF | last >> 24 << 16
        for j, word in enumerate((first >> 8, second, third, last & 0xFFFFFF)):
            if row + j < end:
                y[row + j] = word >> 12 & 2047
                x[row + j] = word >> 1 & 2047
                p[row + j] = word & 1
        row += 4
    return True
