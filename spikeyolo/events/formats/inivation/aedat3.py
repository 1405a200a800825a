"""AEDAT 3.1 recordings, as cAER writes them (DVS Gesture is one): packets of events of one type, little-endian.

https://docs.inivation.com/software/software-advanced-usage/file-formats/aedat-3.1.html
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spikeyolo.errors import RecordingError
from spikeyolo.events.formats.inivation.aedat2 import CHIPS
from spikeyolo.events.formats.reader import CheckedReader, columns
from spikeyolo.events.types import Events

SIGNATURE = b"#!AER-DAT3.1"
HEADER_LIMIT = 1 << 20
HEADER_END = b"#!END-HEADER\r\n"
# type, source, bytes an event, place of the time in it, overflows of time, capacity, number, valid number of events
PACKET = struct.Struct("<hhiiiiii")
POLARITY = 1
EVENT = np.dtype([("data", "<u4"), ("time", "<i4")])
PACKET_LIMIT = 1 << 28


class _DamageError(Exception):
    """Why the packets cannot be read on."""


@dataclass(frozen=True)
class _Header:
    source: int
    size: tuple[int, int] | None
    first_packet: int


class Aedat3Reader(CheckedReader):
    """The change events of the first camera that the header names, without those that the camera marked invalid."""

    def __init__(self, path: Path, *, strict: bool, size: tuple[int, int] | None) -> None:
        super().__init__(path, "aedat3", 0, 0, strict=strict)
        self._header = _read_header(path)
        self.width, self.height = self._header.size or size or (0, 0)

    def _decode(self, max_events: int) -> Iterator[Events]:
        parts: list[Events] = []
        count, damage = 0, ""
        try:
            for part in self._packets():
                parts.append(part)
                count += len(part)
                if count >= max_events:
                    yield Events.concatenate(parts)
                    parts, count = [], 0
        except _DamageError as error:
            damage = str(error)
        if parts:
            yield Events.concatenate(parts)
        if damage:
            self.damaged(f"{self.path}: truncated or damaged ({damage}); expected whole packets")

    def _packets(self) -> Iterator[Events]:
        with self.path.open("rb") as file:
            end = file.seek(0, 2)
            at = file.seek(self._header.first_packet)
            while at < end:
                head = file.read(PACKET.size)
                if len(head) < PACKET.size:
                    raise _DamageError(f"a packet at byte {at} is cut off")
                kind, source, event_bytes, _, overflows, _, number, _ = PACKET.unpack(head)
                size = event_bytes * number
                if event_bytes < 1 or number < 0 or size > PACKET_LIMIT or overflows < 0:
                    raise _DamageError(f"a packet at byte {at} says it has {number} events of {event_bytes} bytes")
                if at + PACKET.size + size > end:
                    raise _DamageError(f"a packet at byte {at} is cut off")
                start, at = at, at + PACKET.size + size
                if kind != POLARITY or source != self._header.source:
                    file.seek(at)
                    continue
                if event_bytes != EVENT.itemsize:
                    raise _DamageError(f"a packet at byte {start} has polarity events of {event_bytes} bytes")
                self.share_read = at / end
                yield self._events(np.frombuffer(file.read(size), EVENT), overflows)

    def _events(self, rows: npt.NDArray[np.void], overflows: int) -> Events:
        rows = rows[(rows["data"] & 1).astype(bool)]
        data = rows["data"]
        if len(rows) and int(rows["time"].min()) < 0:
            raise _DamageError("a time has its sign bit set")
        t = rows["time"].astype(np.int64) + ((overflows << 31) - self.origin_us)
        return columns(t, data >> 17, data >> 2 & 0x7FFF, data >> 1 & 1, self.width, self.height)


def _read_header(path: Path) -> _Header:
    with path.open("rb") as file:
        head = file.read(HEADER_LIMIT)
    end = head.find(HEADER_END)
    if end < 0:
        raise RecordingError(f"{path}: its AEDAT 3.1 header does not end; expected a line {HEADER_END[:-2].decode()}")
    form, sources = "RAW", []
    for line in head[:end].decode("latin-1").splitlines():
        key, _, value = line.lstrip("#").partition(":")
        if key.strip() == "Format":
            form = value.strip()
        elif key.startswith("Source ") and key[7:].strip().isdecimal():
            sources.append((int(key[7:]), value.strip()))
    if form != "RAW":
        raise RecordingError(f"{path}: is AEDAT 3.1 of format {form!r}; expected RAW (uncompressed)")
    if not sources:
        raise RecordingError(f"{path}: its AEDAT 3.1 header names no source; expected a line '#Source 1: CAMERA'")
    for number, camera in sources:
        size = next((size for name, size in CHIPS.items() if name in camera.lower()), None)
        if size:
            return _Header(number, size, end + len(HEADER_END))
    return _Header(sources[0][0], None, end + len(HEADER_END))
