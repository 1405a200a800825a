"""Kernels of EVT 2.0 and EVT 2.1: 28 high bits of time in words of their own, 6 low bits in each event.

https://docs.prophesee.ai/stable/data/encoding_formats/evt2.html and evt21.html
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from spikeyolo.events.formats.words import State

OFF, ON, TIME_HIGH = 0, 1, 8
TIME_BITS = 34
DROPPED, KNOWN, HIGH, ADDED = range(4)


def initial_state() -> State:
    """Dropped events, whether time is known, high part of time shifted into place, µs added by wraps."""
    return np.zeros(4, np.int64)


@njit(nogil=True, cache=True)
def decode_evt2(words: Any, at: int, t: Any, x: Any, y: Any, p: Any, limit: int, state: State) -> tuple[int, int]:
    """``uint32`` words: type 4, time 6, column 11, row 11 bits."""
    known, high, added = state[1], state[2], state[3]
    row, dropped = 0, 0
    size = len(words)
    while at < size and row < limit:
        word = np.int64(words[at])
        at += 1
        kind = word >> 28
        if kind <= 1:
            if known:
                t[row] = added + (high | word >> 22 & 63)
                x[row] = word >> 11 & 2047
                y[row] = word & 2047
                p[row] = kind
                row += 1
            else:
                dropped += 1
        elif kind == 8:
            new = (word & 0xFFFFFFF) << 6
            # A step back of more than half the range is the 34-bit counter starting anew.
            if known and high - new > np.int64(1) << 33:
                added += np.int64(1) << 34
            high = new
            known = 1
    state[0] += dropped
    state[1], state[2], state[3] = known, high, added
    return at, row


@njit(nogil=True, cache=True)
def decode_evt21(
    words: Any, at: int, upper: int, t: Any, x: Any, y: Any, p: Any, limit: int, state: State
) -> tuple[int, int]:
    """Pairs of ``uint32``: ``upper`` says which of the two is the upper half of the 64-bit word.

    Upper half as an EVT 2.0 word; lower half a mask of the 32 columns from the word's on that have an event.
    """
    known, high, added = state[1], state[2], state[3]
    row, dropped = 0, 0
    size = len(words) - 1
    while at < size and row < limit:
        word = np.int64(words[at + upper])
        mask = np.int64(words[at + 1 - upper])
        at += 2
        kind = word >> 28
        if kind <= 1:
            now = added + (high | word >> 22 & 63)
            base = word >> 11 & 2047
            step = 0
            while mask:
                if mask & 1:
                    if known:
                        t[row] = now
                        x[row] = base + step
                        y[row] = word & 2047
                        p[row] = kind
                        row += 1
                    else:
                        dropped += 1
                mask >>= 1
                step += 1
        elif kind == 8:
            new = (word & 0xFFFFFFF) << 6
            if known and high - new > np.int64(1) << 33:
                added += np.int64(1) << 34
            high = new
            known = 1
    state[0] += dropped
    state[1], state[2], state[3] = known, high, added
    return at, row
