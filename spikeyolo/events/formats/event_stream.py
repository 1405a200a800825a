"""Event Stream files (``.es``) of DVS or ATIS events: steps of time in one byte, then column and row.

https://github.com/neuromorphic-paris/event_stream, version 2.0. The format's tools count rows from the bottom.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from spikeyolo.errors import RecordingError
from spikeyolo.events.formats.words import State, WordReader
from spikeyolo.events.types import Events

SIGNATURE = b"Event Stream"
KINDS = ("generic", "DVS", "ATIS", "display", "color")
DVS, ATIS = 1, 2
HEADER_BYTES = 20  # signature, three bytes of version, kind, width, height


class EventStreamReader(WordReader):
    """DVS events, and the change events of an ATIS; its exposure measurements are passed over."""

    unit_bytes, word_type = 1, np.uint8

    def __init__(self, path: Path, *, strict: bool) -> None:
        with path.open("rb") as file:
            head = file.read(HEADER_BYTES)
        if len(head) < HEADER_BYTES:
            raise RecordingError(f"{path}: ends within its header; expected {HEADER_BYTES} bytes of Event Stream")
        if head[12] != 2:
            raise RecordingError(f"{path}: is Event Stream {head[12]}.{head[13]}.{head[14]}; expected version 2")
        if head[15] not in (DVS, ATIS):
            kind = KINDS[head[15]] if head[15] < len(KINDS) else f"kind {head[15]}"
            raise RecordingError(f"{path}: holds {kind} events; expected DVS or ATIS events")
        width, height = (int(side) for side in np.frombuffer(head, "<u2", 2, 16))
        if not width or not height:
            raise RecordingError(f"{path}: states a sensor of {width}x{height} px; expected one with pixels")
        name = f"event-stream-{KINDS[head[15]].lower()}"
        super().__init__(path, name, width, height, data_offset=HEADER_BYTES, strict=strict)
        self._atis = head[15] == ATIS
        self._carried: State = np.zeros(6, np.int64)

    def _state(self) -> State:
        # dropped, suspicion (always), time, bytes of the event so far, its first byte, its column and row
        self._carried = np.array([0, 0, -self.origin_us, 0, 0, 0], np.int64)
        return self._carried

    def _kernel(self, words: Any, columns: Any, limit: int, state: State) -> tuple[int, int]:
        t, x, y, p = columns
        return decode_event_stream(words, self._atis, t, x, y, p, limit, self.height, state)

    def _decode(self, max_events: int) -> Iterator[Events]:
        yield from super()._decode(max_events)
        if self._carried[3]:
            self.damaged(
                f"{self.path}: truncated, {self._carried[3]} bytes of an unfinished event at its end; expected whole "
                "events of 5 bytes"
            )


@njit(nogil=True, cache=True)
def decode_event_stream(
    data: Any, atis: bool, t: Any, x: Any, y: Any, p: Any, limit: int, height: int, state: State
) -> tuple[int, int]:
    """Five bytes an event, between them single bytes that move time on. Returns the bytes taken and the rows made."""
    time, phase, first, address = state[2], state[3], state[4], state[5]
    low = 2 if atis else 1  # bits below the step of time
    row, at, size = 0, 0, len(data)
    while at < size and row < limit:
        byte = np.int64(data[at])
        at += 1
        if phase == 0:
            if atis and byte >= 0xFC:  # 0xFC is a reset, and adds nothing
                time += 63 * (byte & 3)
                continue
            if not atis and byte >= 0xFE:  # 0xFE is a reset
                time += 127 * (byte & 1)
                continue
            first, address, phase = byte, np.int64(0), np.int64(1)
            if at + 4 > size:
                continue
            for i in range(4):
                address |= np.int64(data[at + i]) << 8 * i
            at += 4
        else:
            address |= byte << 8 * (phase - 1)
            phase += 1
            if phase < 5:
                continue
        phase = np.int64(0)
        time += first >> low
        line = address >> 16
        t[row] = time
        x[row] = address & 0xFFFF
        y[row] = height - 1 - line if line < height else line
        p[row] = first >> 1 & 1 if atis else first & 1
        row += 1 - (first & 1 if atis else 0)
    state[1], state[2], state[3], state[4], state[5] = 1, time, phase, first, address
    return at, row
