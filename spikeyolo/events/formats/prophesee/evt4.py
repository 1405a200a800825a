"""Kernel of EVT 4.0: EVT 2.0's fields under other type numbers, and vectors of 32 columns in two words.

Written from the layout that Prophesee's openeb (Apache-2.0) documents in ``evt4_event_types.h``; the format has no page
of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from spikeyolo.events.formats.prophesee.evt2 import initial_state as initial_evt2_state
from spikeyolo.events.formats.prophesee.evt2 import next_high
from spikeyolo.events.formats.words import State

CD_OFF, CD_ON, VECTOR_OFF, VECTOR_ON, TIME_HIGH = range(0xA, 0xF)
OPEN_VECTOR = 8  # where the state keeps it


def initial_state(origin_us: int) -> State:
    """As of EVT 2.0, then the word of a vector that still lacks its mask (0: none)."""
    return np.append(initial_evt2_state(origin_us), np.int64(0))


@njit(nogil=True, cache=True)
def decode_evt4(
    words: Any, t: Any, x: Any, y: Any, p: Any, limit: int, width: int, height: int, state: State
) -> tuple[int, int]:
    """``uint32`` words: type 4, time 6, column 11, row 11 bits; a vector's word is followed by a mask of 32 columns.

    Returns the words taken and the rows made.
    """
    dropped, suspect, known, high, last, vector = state[0], state[1], state[2], state[3], state[4], state[8]
    right, bottom = np.int64(width) - 1, np.int64(height) - 1
    row, end = np.uint64(0), np.uint64(limit)
    at = 0
    for at in range(len(words)):
        if row >= end:
            break
        word = np.int64(words[at])
        kind = word >> 28
        if vector or CD_OFF <= kind <= CD_ON:
            mask = word if vector else np.int64(1)
            event = vector if vector else word
            now = high + (event >> 22 & 63)
            column, line = event >> 11 & 2047, event & 2047
            reach = np.int64(31) if vector else np.int64(0)
            suspect |= (right - column - reach) | (bottom - line) | (now - last)  # negative where one is
            last = now
            vector = np.int64(0)
            while mask:
                t[row] = now
                x[row] = column
                y[row] = line
                p[row] = event >> 28 & 1
                row += np.uint64(mask & known)
                dropped += mask & 1 & ~known
                mask >>= 1
                column += 1
        elif VECTOR_OFF <= kind <= VECTOR_ON:
            vector = word
        elif kind == TIME_HIGH:
            high = next_high(high, (word & 0xFFFFFFF) << 6, known, state)
            known = np.int64(1)
    else:
        at = len(words)
    state[:5] = (dropped, np.int64(suspect < 0), known, high, last)
    state[8] = vector
    return at, int(row)
