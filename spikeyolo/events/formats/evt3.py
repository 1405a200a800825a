"""Kernel of EVT 3.0: 16-bit words that each change one part of the decoder's state.

https://docs.prophesee.ai/stable/data/encoding_formats/evt3.html

A time is a TIME_LOW word joined to the last TIME_HIGH word before it; it holds until the next TIME_LOW. Time words are
taken as they stand: a TIME_LOW of another event source may run ahead of the pixels' and be followed by a smaller one
with no event between, so a decoder that holds time back from decreasing dates events wrongly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from spikeyolo.events.formats.words import State

HIGH_UNKNOWN = -1


def initial_state() -> State:
    """Dropped events, time, high part of time, µs added by wraps, row, base column, its polarity, time known."""
    state = np.zeros(8, np.int64)
    state[2] = HIGH_UNKNOWN
    state[4] = state[5] = -1
    return state


@njit(nogil=True, cache=True)
def decode_evt3(words: Any, at: int, t: Any, x: Any, y: Any, p: Any, limit: int, state: State) -> tuple[int, int]:
    """``uint16`` words: type 4 bits, payload 12 bits. Events before time, row or base are known are dropped."""
    now, high, added, line, base, polarity, timed = state[1], state[2], state[3], state[4], state[5], state[6], state[7]
    row, dropped = 0, 0
    size = len(words)
    while at < size and row < limit:
        word = np.int64(words[at])
        at += 1
        kind = word >> 12
        if kind == 2:  # EVT_ADDR_X: one event
            if timed and line >= 0:
                t[row] = now
                x[row] = word & 2047
                y[row] = line
                p[row] = word >> 11 & 1
                row += 1
            else:
                dropped += 1
        elif kind == 0:  # EVT_ADDR_Y
            line = word & 2047
        elif kind == 4 or kind == 5:  # VECT_12, VECT_8: a mask of columns from the base on
            mask = word & (4095 if kind == 4 else 255)
            usable = timed and line >= 0 and base >= 0
            step = base
            while mask:
                if mask & 1:
                    if usable:
                        t[row] = now
                        x[row] = step
                        y[row] = line
                        p[row] = polarity
                        row += 1
                    else:
                        dropped += 1
                mask >>= 1
                step += 1
            if base >= 0:
                base += 12 if kind == 4 else 8
        elif kind == 3:  # VECT_BASE_X
            base = word & 2047
            polarity = word >> 11 & 1
        elif kind == 6:  # EVT_TIME_LOW
            if high >= 0:
                now = added + (high << 12 | word & 4095)
                timed = 1
        elif kind == 8:  # EVT_TIME_HIGH
            new = word & 4095
            # A step back of more than half the range is the 24-bit counter starting anew.
            if high - new > 2048:
                added += 1 << 24
            high = new
    state[0] += dropped
    state[1], state[2], state[3], state[4], state[5], state[6], state[7] = now, high, added, line, base, polarity, timed
    return at, row
