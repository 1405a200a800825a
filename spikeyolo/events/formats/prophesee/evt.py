"""Prophesee RAW files: a text header, then the sensor's own words in EVT 2.0, EVT 2.1, EVT 3.0 or EVT 4.0."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from spikeyolo.errors import RecordingError
from spikeyolo.events.formats.prophesee import evt2, evt3, evt4
from spikeyolo.events.formats.prophesee.header import TextHeader
from spikeyolo.events.formats.words import State, WordReader
from spikeyolo.events.types import Events

ENDIANNESS = ("", "little", "legacy", "big")


def open_raw(path: Path, header: TextHeader, *, strict: bool, size: tuple[int, int] | None) -> WordReader:
    """Open by the format the header names.

    Raises:
        RecordingError: the format or byte order is not one of those read here.
    """
    readers: dict[str, type[_RawReader]] = {
        "EVT2": Evt2Reader,
        "EVT21": Evt21Reader,
        "EVT3": Evt3Reader,
        "EVT4": Evt4Reader,
    }
    name = header.format_name
    if name not in readers:
        raise RecordingError(f"{path}: is a RAW file of format {name!r}; expected EVT2, EVT21, EVT3 or EVT4")
    order = header.options.get("endianness", "")
    if order not in ENDIANNESS:
        raise RecordingError(f"{path}: is a RAW file of byte order {order!r}; expected little, legacy or big")
    return readers[name](path, header, strict=strict, size=size)


class _RawReader(WordReader):
    name = "evt"

    def __init__(self, path: Path, header: TextHeader, *, strict: bool, size: tuple[int, int] | None) -> None:
        super().__init__(path, self.name, 0, 0, data_offset=header.data_offset, strict=strict)
        self.byte_swapped = header.options.get("endianness") == "big"
        self.width, self.height = header.size() or size or (0, 0)


class Evt2Reader(_RawReader):
    """EVT 2.0, 32-bit words."""

    name, unit_bytes, word_type, jumps_at = "evt2", 4, np.uint32, -1

    def _state(self) -> State:
        return evt2.initial_state(self.origin_us)

    def _kernel(self, words: Any, columns: Any, limit: int, state: State) -> tuple[int, int]:
        t, x, y, p = columns
        return evt2.decode_evt2(words, t, x, y, p, limit, self.width, self.height, state)


class Evt21Reader(_RawReader):
    """EVT 2.1, 64-bit words, sent whole (GenX320) or upper half first (IMX636, "legacy")."""

    name, unit_bytes, unit_events, word_type, jumps_at = "evt21", 8, 32, np.uint32, -1

    def __init__(self, path: Path, header: TextHeader, *, strict: bool, size: tuple[int, int] | None) -> None:
        super().__init__(path, header, strict=strict, size=size)
        order = header.options.get("endianness", "")
        self._upper = _upper_half(path, header.data_offset) if order == "" else int(order == "little")

    def _state(self) -> State:
        return evt2.initial_state(self.origin_us)

    def _kernel(self, words: Any, columns: Any, limit: int, state: State) -> tuple[int, int]:
        t, x, y, p = columns
        return evt2.decode_evt21(words, self._upper, t, x, y, p, limit, self.width, self.height, state)


class Evt3Reader(_RawReader):
    """EVT 3.0, 16-bit words."""

    name, unit_bytes, unit_events, word_type, jumps_at = "evt3", 2, 12, np.uint16, -1

    def _state(self) -> State:
        return evt3.initial_state(self.origin_us)

    def _kernel(self, words: Any, columns: Any, limit: int, state: State) -> tuple[int, int]:
        t, x, y, p = columns
        return evt3.decode_evt3(words, t, x, y, p, limit, self.width, self.height, state)


class Evt4Reader(_RawReader):
    """EVT 4.0, 32-bit words, of which two make a vector."""

    name, unit_bytes, unit_events, word_type, jumps_at = "evt4", 4, 32, np.uint32, 7

    def _state(self) -> State:
        self._last_state = evt4.initial_state(self.origin_us)
        return self._last_state

    def _kernel(self, words: Any, columns: Any, limit: int, state: State) -> tuple[int, int]:
        t, x, y, p = columns
        return evt4.decode_evt4(words, t, x, y, p, limit, self.width, self.height, state)

    def _decode(self, max_events: int) -> Iterator[Events]:
        yield from super()._decode(max_events)
        if self._last_state[evt4.OPEN_VECTOR] and len(self.warnings) == len(self.opening_warnings):
            self.damaged(f"{self.path}: truncated within a vector; expected its mask of columns")


def _upper_half(path: Path, offset: int) -> int:
    """Where the header is silent: the half in which time words (type 8, the other half zero) are found."""
    with path.open("rb") as file:
        file.seek(offset)
        head = file.read(1 << 16)
    pairs = np.frombuffer(head[: len(head) - len(head) % 8], "<u4").reshape(-1, 2)
    counts = [int(np.count_nonzero((pairs[:, half] >> 28 == 8) & (pairs[:, 1 - half] == 0))) for half in (0, 1)]
    return int(counts[1] > counts[0])
