"""Kernels of EVT 2.0 and EVT 2.1: 28 high bits of time in words of their own, 6 low bits in each event.

https://docs.prophesee.ai/stable/data/encoding_formats/evt2.html and evt21.html
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from spikeyolo.events.formats.words import State

JUMP_US = 60_000_000  # a time word this far ahead of the one before and of the one after is no time


def initial_state(origin_us: int) -> State:
    """Dropped events, suspicion, whether time is known, its high part with all wraps less what is taken off all times,
    last event's time, what is taken off, high part before the last, and how often it jumped ahead and back."""
    return np.array([0, 0, 0, -origin_us, np.iinfo(np.int64).min >> 1, origin_us, 0, 0], np.int64)


@njit(nogil=True, cache=True)
def decode_evt2(
    words: Any, t: Any, x: Any, y: Any, p: Any, limit: int, width: int, height: int, state: State
) -> tuple[int, int]:
    """``uint32`` words: type 4, time 6, column 11, row 11 bits. Returns the words taken and the rows made."""
    dropped, suspect, known, high, last = state[0], state[1], state[2], state[3], state[4]
    right, bottom = np.int64(width) - 1, np.int64(height) - 1
    row, end = np.uint64(0), np.uint64(limit)  # unsigned: no test for negative indices
    at = 0
    for at in range(len(words)):
        if row >= end:
            break
        word = np.int64(words[at])
        kind = word >> 28
        if kind <= 1:  # CD_OFF, CD_ON
            now = high + (word >> 22 & 63)
            column, line = word >> 11 & 2047, word & 2047
            t[row] = now
            x[row] = column
            y[row] = line
            p[row] = kind
            suspect |= (right - column) | (bottom - line) | (now - last)  # negative where one is
            last = now
            row += np.uint64(known)
            dropped += 1 - known
        elif kind == 8:  # EVT_TIME_HIGH
            high = next_high(high, (word & 0xFFFFFFF) << 6, known, state)
            known = 1
    else:
        at = len(words)
    state[:5] = (dropped, np.int64(suspect < 0), known, high, last)
    return at, int(row)


@njit(nogil=True, cache=True)
def decode_evt21(
    words: Any, upper: int, t: Any, x: Any, y: Any, p: Any, limit: int, width: int, height: int, state: State
) -> tuple[int, int]:
    """Pairs of ``uint32``: ``upper`` says which of the two is the upper half of the 64-bit word.

    Upper half as an EVT 2.0 word; lower half a mask of the 32 columns from the word's on that have an event.
    """
    dropped, suspect, known, high, last = state[0], state[1], state[2], state[3], state[4]
    right, bottom = np.int64(width) - 1, np.int64(height) - 1
    row, end = np.uint64(0), np.uint64(limit)
    pair = 0
    for pair in range(len(words) // 2):
        if row >= end:
            break
        word = np.int64(words[2 * pair + upper])
        mask = np.int64(words[2 * pair + 1 - upper])
        kind = word >> 28
        if kind <= 1:  # EVT_NEG, EVT_POS
            now = high + (word >> 22 & 63)
            column, line = word >> 11 & 2047, word & 2047
            suspect |= (right - column - 31) | (bottom - line) | (now - last)
            last = now
            while mask:
                t[row] = now
                x[row] = column
                y[row] = line
                p[row] = kind
                row += np.uint64(mask & known)
                dropped += mask & 1 & ~known
                mask >>= 1
                column += 1
        elif kind == 8:  # EVT_TIME_HIGH
            high = next_high(high, (word & 0xFFFFFFF) << 6, known, state)
            known = 1
    else:
        pair = len(words) // 2
    state[:5] = (dropped, np.int64(suspect < 0), known, high, last)
    return 2 * pair, int(row)


@njit(nogil=True, cache=True)
def next_high(high: Any, new: Any, known: Any, state: State) -> Any:
    """The new high part with the wraps so far: a step back of more than half of 34 bits is one more.

    Jumps ahead and back are counted in the state, which holds what only this rare word needs.
    """
    origin, earlier = state[5], state[6]
    span = np.int64(1) << 34
    wraps = (high + origin) & ~(span - 1)
    if known and high + origin - wraps - new > span >> 1:
        wraps += span
    new = (wraps | new) - origin
    state[6] = high if known else new
    state[7] += known and high - earlier > JUMP_US and high - new > JUMP_US
    return new
