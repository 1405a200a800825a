"""Prophesee DAT files of CD events: 8 bytes an event, time first.

https://docs.prophesee.ai/stable/data/file_formats/dat.html; version 1, of the 304x240 ATIS, packs narrower addresses.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from spikeyolo.errors import RecordingError
from spikeyolo.events.formats.header import TextHeader
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
        version = header.values.get("version", "1")
        if version not in ("1", "2"):
            raise RecordingError(f"{path}: is of DAT version {version!r}; expected 1 or 2")
        super().__init__(path, f"dat{version}", 0, 0, data_offset=header.data_offset + 2, strict=strict)
        # bits of column and row in the second half of the word; polarity follows them
        self._bits = (9, 8) if version == "1" else (14, 14)
        found = header.size() or size or (VERSION_1_SIZE if version == "1" else None)
        self.width, self.height = found or self.guess_size()

    def _state(self) -> State:
        return np.zeros(3, np.int64)  # dropped, last time word, time added by wraps

    def _kernel(self, words: Any, at: int, columns: Any, limit: int, state: State) -> tuple[int, int]:
        end = min(len(words), at + limit)
        x_bits, y_bits = self._bits
        t, x, y, p = columns
        decode_dat(words[at:end], x_bits, y_bits, t, x, y, p, state)
        return end, end - at


def _event_kind(path: Path, offset: int) -> tuple[int, int] | None:
    with path.open("rb") as file:
        file.seek(offset)
        kind = file.read(2)
    return (kind[0], kind[1]) if len(kind) == 2 else None


@njit(nogil=True, cache=True)
def decode_dat(words: Any, x_bits: int, y_bits: int, t: Any, x: Any, y: Any, p: Any, state: State) -> None:
    """One event a word, ``uint64`` little-endian: time in the low half."""
    last, added = state[1], state[2]
    x_mask = (np.int64(1) << x_bits) - 1
    y_mask = (np.int64(1) << y_bits) - 1
    half = np.int64(1) << 31
    for i in range(len(words)):
        word = np.int64(words[i])
        time = word & 0xFFFFFFFF
        if last - time > half:
            added += np.int64(1) << 32
        last = time
        address = word >> 32
        t[i] = added + time
        x[i] = address & x_mask
        y[i] = address >> x_bits & y_mask
        p[i] = address >> (x_bits + y_bits) & 1
    state[1], state[2] = last, added
