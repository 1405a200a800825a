"""N-MNIST and N-Caltech101 ``.bin`` files: 40 bits an event, nothing else, so only the name tells what they are.

Layout: https://www.garrickorchard.com/datasets/n-mnist (column 8, row 8, polarity 1, time 23 bits, big-endian). Row 240
is no pixel: it marks that 8192 µs are to be added to all later times.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from spikeyolo.events.formats.words import State, WordReader

EVENT_BYTES = 5
# Sensor by the largest address in the file: N-MNIST's crop, N-Caltech101's ATIS, all that 8 bits can address.
SIZES = ((34, 34), (240, 180), (256, 240))


class SaccadeReader(WordReader):
    """The file names no sensor: it is the smallest usual one that holds all its pixels, or ``size``."""

    unit_bytes, word_type = EVENT_BYTES, np.uint8

    def __init__(self, path: Path, *, strict: bool, size: tuple[int, int] | None) -> None:
        super().__init__(path, "saccade", 0, 0, data_offset=0, strict=strict)
        self.width, self.height = size or _fitting_size(path)

    def _state(self) -> State:
        # dropped, suspicion (always: such files are small), µs added by marks
        return np.array([0, 0, -self.origin_us], np.int64)

    def _kernel(self, words: Any, columns: Any, limit: int, state: State) -> tuple[int, int]:
        t, x, y, p = columns
        return decode_saccade(words, t, x, y, p, limit, state)


def _fitting_size(path: Path) -> tuple[int, int]:
    columns, rows = 0, 0
    with path.open("rb") as file:
        while part := file.read(EVENT_BYTES << 16):
            whole = np.frombuffer(part[: len(part) - len(part) % EVENT_BYTES], np.uint8).reshape(-1, EVENT_BYTES)
            mark = whole[:, 1] == 240
            if len(whole):
                columns = max(columns, int(whole[:, 0].max(where=~mark, initial=0)))
                rows = max(rows, int(whole[:, 1].max(where=~mark, initial=0)))
    return next((size for size in SIZES if columns < size[0] and rows < size[1]), SIZES[-1])


@njit(nogil=True, cache=True)
def decode_saccade(words: Any, t: Any, x: Any, y: Any, p: Any, limit: int, state: State) -> tuple[int, int]:
    """Five bytes an event. Returns the bytes taken and the rows made."""
    row, at, added = 0, 0, state[2]
    size = len(words)
    while at < size and row < limit:
        if words[at + 1] == 240:
            added += 8192
        else:
            time = np.int64(words[at + 2] & 127) << 16 | np.int64(words[at + 3]) << 8 | np.int64(words[at + 4])
            t[row] = added + time
            x[row] = words[at]
            y[row] = words[at + 1]
            p[row] = words[at + 2] >> 7
            row += 1
        at += 5
    state[1], state[2] = 1, added
    return at, row
