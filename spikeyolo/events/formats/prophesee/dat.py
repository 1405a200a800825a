"""Prophesee DAT files of CD events: 8 bytes an event, time first.

https://docs.prophesee.ai/stable/data/file_formats/dat.html; version 1, of the 304x240 ATIS, packs narrower addresses.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from spikeyolo.errors import RecordingError
from spikeyolo.events.formats.prophesee.header import TextHeader
from spikeyolo.events.formats.words import State, WordReader

VERSION_1_SIZE = (304, 240)
CD_TYPES = (0x00, 0x0C)
EVENT_BYTES = 8


class DatReader(WordReader):
    """A 32-bit time in µs that wraps after 71 minutes, then column, row and polarity in 32 bits."""

    def __init__(self, path: Path, header: TextHeader, *, strict: bool, size: tuple[int, int] | None) -> None:
        kind = _event_kind(path, header.data_offset)
        if kind is None:
            raise RecordingError(f"{path}: ends within its header; expected two bytes of event type and size")
        if kind[0] not in CD_TYPES or kind[1] != EVENT_BYTES:
            raise RecordingError(
                f"{path}: holds events of type 0x{kind[0]:02X} and {kind[1]} bytes; expected CD events "
                "(type 0x0C or 0x00, 8 bytes)"
            )
        version = header.values.get("version", "1").removesuffix(".0")
        if version not in ("1", "2"):
            raise RecordingError(f"{path}: is of DAT version {version!r}; expected 1 or 2")
        super().__init__(path, f"dat{version}", 0, 0, data_offset=header.data_offset + 2, strict=strict)
        # bits of column and row in the second half of the word; polarity follows them
        self._bits = (9, 8) if version == "1" else (14, 14)
        found = header.size() or size or (VERSION_1_SIZE if version == "1" else None)
        self.width, self.height = found or (0, 0)

    def _state(self) -> State:
        # dropped, suspicion, last time word, µs added by wraps
        return np.array([0, 0, 0, -self.origin_us], np.int64)

    def _kernel(self, words: Any, columns: Any, limit: int, state: State) -> tuple[int, int]:
        taken = min(len(words), limit)
        x_bits, y_bits = self._bits
        t, x, y, p = columns
        decode_dat(words[:taken], x_bits, y_bits, t, x, y, p, self.width, self.height, state)
        return taken, taken


def _event_kind(path: Path, offset: int) -> tuple[int, int] | None:
    with path.open("rb") as file:
        file.seek(offset)
        kind = file.read(2)
    return (kind[0], kind[1]) if len(kind) == 2 else None


@njit(nogil=True, cache=True)
def decode_dat(
    words: Any, x_bits: int, y_bits: int, t: Any, x: Any, y: Any, p: Any, width: int, height: int, state: State
) -> None:
    """One event a word, ``uint64`` little-endian: time in the low half."""
    added = state[3]
    x_mask, y_mask = np.uint32((1 << x_bits) - 1), np.uint32((1 << y_bits) - 1)
    y_shift, p_shift = np.uint32(x_bits), np.uint32(x_bits + y_bits)
    outside: Any = 0
    backwards: Any = 0
    # Two plain loops, so that both become vector instructions; a wrap is looked for only where time steps back.
    for i in range(len(words)):
        address = np.uint32(words[i] >> np.uint64(32))
        column, line = address & x_mask, address >> y_shift & y_mask
        t[i] = added + np.int64(words[i] & np.uint64(0xFFFFFFFF))
        x[i] = column
        y[i] = line
        p[i] = address >> p_shift & np.uint32(1)
        outside += (column >= width) | (line >= height)
    for i in range(1, len(words)):
        backwards += t[i] < t[i - 1]
    if backwards or t[0] < added + state[2]:
        _add_wraps(t, len(words), state)
        state[1] = 1
    else:
        state[2] = t[len(words) - 1] - added
    state[1] |= outside > 0


@njit(nogil=True, cache=True)
def _add_wraps(t: Any, rows: int, state: State) -> None:
    """A step back of more than half the range is the 32-bit counter starting anew."""
    last, before = state[2], state[3]
    added = before
    half = np.int64(1) << 31
    for i in range(rows):
        word = t[i] - before
        if last - word > half:
            added += np.int64(1) << 32
        last = word
        t[i] = added + word
    state[2], state[3] = last, added
