"""Kernel of EVT 3.0: 16-bit words that each change one part of the decoder's state.

https://docs.prophesee.ai/stable/data/encoding_formats/evt3.html

A time is a TIME_LOW word joined to the last TIME_HIGH word before it. A TIME_HIGH word that changes the high part
starts a new time at once, with low part 0; one that repeats it changes nothing. Time words are taken as they stand: a
TIME_LOW of another event source may run ahead of the pixels' and be followed by a smaller one with no event between, so
a decoder that holds time back from decreasing dates events wrongly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from spikeyolo.events.formats.words import State

MASK_BITS = (np.arange(4096)[:, None] >> np.arange(12)) & 1
MASK_COUNTS = MASK_BITS.sum(axis=1)
# set bits first: a vector is written as 12 rows at once, of which the first MASK_COUNTS stay
MASK_PLACES = np.argsort(1 - MASK_BITS, axis=1, kind="stable")
UNKNOWN = -1
NEVER = -(1 << 62)  # no time yet
JUMP = 2048  # half of what the high part counts: a word this far ahead, and back with the next, is no time


def initial_state(origin_us: int) -> State:
    """Dropped events, suspicion, time, high part of time, µs added by wraps, row, base column, its polarity, high part
    before the last, and how often it jumped ahead and back."""
    return np.array([0, 0, NEVER, UNKNOWN, -origin_us, UNKNOWN, UNKNOWN, 0, UNKNOWN, 0], np.int64)


@njit(nogil=True, cache=True)
def decode_evt3(
    words: Any, t: Any, x: Any, y: Any, p: Any, limit: int, width: int, height: int, state: State
) -> tuple[int, int]:
    """``uint16`` words: type 4 bits, payload 12 bits. Events before time, row or base are known are dropped.

    Returns the words taken and the rows made.
    """
    dropped, suspect, now, high = state[0], state[1], state[2], state[3]
    added, line, base, polarity = state[4], state[5], state[6], state[7]
    row, end = np.uint64(0), np.uint64(limit)  # unsigned: no test for negative indices
    timed = np.int64(now > NEVER)
    usable = timed & np.int64(line >= 0)
    suspect |= np.int64(line >= height)  # a row that an earlier batch has read holds on
    at = 0
    for at in range(len(words)):
        if row >= end:
            break
        word = np.int64(words[at])
        if word & 0xD000 == 0:
            # EVT_ADDR_X (one event) or EVT_ADDR_Y, which take turns too wildly to branch on: both write a row,
            # and only the first keeps it.
            pixel = word >> 13
            address = word & 2047
            line = line if pixel else address
            usable = usable if pixel else timed
            t[row] = now
            x[row] = address
            y[row] = line
            p[row] = word >> 11 & 1
            suspect |= np.int64(address >= (width if pixel else height))
            row += np.uint64(pixel & usable)
            dropped += pixel & ~usable
            continue
        kind = word >> 12
        if kind == 4 or kind == 5:  # VECT_12, VECT_8: a mask of columns from the base on
            mask = word & (4095 if kind == 4 else 255)
            if usable and base >= 0:
                for j in range(12):
                    t[row + np.uint64(j)] = now
                for j in range(12):
                    x[row + np.uint64(j)] = base + MASK_PLACES[mask, j]
                for j in range(12):
                    y[row + np.uint64(j)] = line
                for j in range(12):
                    p[row + np.uint64(j)] = polarity
                row += np.uint64(MASK_COUNTS[mask])
                suspect |= np.int64(base + 12 > width)
            else:
                dropped += MASK_COUNTS[mask]
            if base >= 0:
                base += 12 if kind == 4 else 8
        elif kind == 3:  # VECT_BASE_X
            base = word & 2047
            polarity = word >> 11 & 1
        elif kind == 6:  # EVT_TIME_LOW
            if high >= 0:
                new = added + (high << 12 | word & 4095)
                suspect |= np.int64(new < now)
                now = new
                timed = np.int64(1)
                usable = np.int64(line >= 0)
        elif kind == 8:  # EVT_TIME_HIGH
            new = word & 4095
            if new != high:
                # A step back of more than half the range is the 24-bit counter starting anew.
                if high - new > 2048:
                    added += 1 << 24
                    state[9] += np.int64(state[8] >= 0 and high - state[8] > JUMP and new >= state[8])
                state[8] = high
                if high >= 0:  # a new time begins at once; where the file begins, only TIME_LOW completes it
                    now = added + (new << 12)
                    timed = np.int64(1)
                    usable = np.int64(line >= 0)
                high = new
    else:
        at = len(words)
    state[:8] = (dropped, suspect, now, high, added, line, base, polarity)
    return at, int(row)
