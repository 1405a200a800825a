"""AEDAT4 recordings, as iniVation's DV writes them: packets of flatbuffers, plain or under LZ4 or Zstandard.

https://docs.inivation.com/software/software-advanced-usage/file-formats/aedat-4.0.html. Decoded here because the
library at hand, ``aedat``, can end the whole process on damaged bytes; it serves as the tests' oracle.
"""

from __future__ import annotations

import struct
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from spikeyolo.errors import RecordingError
from spikeyolo.events.formats.inivation.compression import unpack_lz4, unpack_zstd_frame
from spikeyolo.events.formats.reader import CheckedReader, columns
from spikeyolo.events.types import Events

SIGNATURE = b"#!AER-DAT4.0\r\n"
EVENT = np.dtype(
    {"names": ["t", "x", "y", "on"], "formats": ["<i8", "<u2", "<u2", "u1"], "offsets": [0, 8, 10, 12], "itemsize": 16}
)
HEADER_LIMIT = 1 << 24
# DV writes packets of some milliseconds; a longer one is damage and would only fill the memory.
PACKET_LIMIT = 1 << 28
PLAIN, LZ4, LZ4_HIGH, ZSTD, ZSTD_HIGH = range(5)


class _DamageError(Exception):
    """Why the packets cannot be read on."""


class Aedat4Reader(CheckedReader):
    """The first event stream of the file, whose times are unix times in µs."""

    clock = "unix"

    def __init__(self, path: Path, *, strict: bool) -> None:
        super().__init__(path, "aedat4", 0, 0, strict=strict)
        with path.open("rb") as file:
            file_size = file.seek(0, 2)
            try:
                compression, table, info, self._first_packet = _read_header(file, file_size)
            except _DamageError as error:
                raise RecordingError(f"{path}: its AEDAT4 header is damaged ({error}); expected a whole one") from error
        if compression not in range(5):
            raise RecordingError(f"{path}: AEDAT4 of compression {compression}; expected none, LZ4 or Zstandard (0..4)")
        self._compression = compression
        self._end = table if table > 0 else None
        self._stream, self.width, self.height = _event_stream(path, info)

    def _decode(self, max_events: int) -> Iterator[Events]:
        parts: list[npt.NDArray[np.void]] = []
        count, damage = 0, ""
        try:
            for packet in self._packets():
                parts.append(packet)
                count += len(packet)
                if count >= max_events:
                    yield self._joined(parts)
                    parts, count = [], 0
        except _DamageError as error:
            damage = str(error)
        if parts:
            yield self._joined(parts)
        if damage:
            self.damaged(f"{self.path}: truncated or damaged ({damage}); expected whole packets")

    def _joined(self, parts: list[npt.NDArray[np.void]]) -> Events:
        t, x, y, p = (np.concatenate([part[name] for part in parts]) for name in ("t", "x", "y", "on"))
        return columns(t - self.origin_us, x, y, p, self.width, self.height)

    def _packets(self) -> Iterator[npt.NDArray[np.void]]:
        """The stream's packets that hold events."""
        with self.path.open("rb") as file:
            file_size = file.seek(0, 2)
            end = min(self._end or file_size, file_size)
            at = file.seek(self._first_packet)
            while at < end:
                head = file.read(8)
                stream, size = struct.unpack("<ii", head) if len(head) == 8 else (0, -1)
                if len(head) < 8 or at + 8 + size > end:
                    raise _DamageError(f"a packet at byte {at} is cut off")
                if not 0 <= size <= PACKET_LIMIT:
                    raise _DamageError(f"a packet at byte {at} says it has {size} bytes")
                at += 8 + size
                if stream != self._stream:
                    file.seek(at)
                    continue
                events = _events(_unpacked(file.read(size), self._compression))
                if len(events):
                    self.share_read = at / end
                    yield events
            if self._end is not None and self._end > file_size:
                raise _DamageError(f"{file_size} bytes instead of {self._end} and more")


def _read_header(file: BinaryIO, file_size: int) -> tuple[int, int, bytes, int]:
    """Compression, position of the packets' table (-1: none), XML description, position of the first packet."""
    file.seek(len(SIGNATURE))
    prefix = file.read(4)
    size = struct.unpack("<I", prefix)[0] if len(prefix) == 4 else 0
    first_packet = len(SIGNATURE) + 4 + size
    if not 8 <= size <= HEADER_LIMIT or first_packet > file_size:
        raise _DamageError(f"{size} bytes of description in a file of {file_size}")
    data = prefix + file.read(size)
    fields = _table_fields(data, 3)
    compression = _read(data, "<i", fields[0]) if fields[0] else PLAIN
    table = _read(data, "<q", fields[1]) if fields[1] else -1
    if not fields[2]:
        raise _DamageError("it describes no streams")
    text = fields[2] + _read(data, "<I", fields[2])
    length = _read(data, "<I", text)
    if text + 4 + length > len(data):
        raise _DamageError("its description is cut off")
    return compression, table, data[text + 4 : text + 4 + length], first_packet


def _event_stream(path: Path, info: bytes) -> tuple[int, int, int]:
    """Number, width and height of the first stream of events."""
    found = []
    try:
        root = ElementTree.fromstring(info)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise RecordingError(f"{path}: its AEDAT4 header is damaged ({error}); expected XML in it") from error
    for node in root.iterfind(".//node[@name='outInfo']/node"):
        attributes = {attr.get("key"): attr.text or "" for attr in node.iter("attr")}
        kind = attributes.get("typeIdentifier", "?")
        found.append(kind)
        numbers = [node.get("name", ""), attributes.get("sizeX", ""), attributes.get("sizeY", "")]
        if kind == "EVTS" and all(number.isascii() and number.isdigit() and len(number) < 9 for number in numbers):
            stream, width, height = map(int, numbers)
            return stream, width, height
    raise RecordingError(
        f"{path}: an AEDAT4 file with streams {', '.join(found) or 'none'}; expected one of events (EVTS) with its size"
    )


def _unpacked(data: bytes, compression: int) -> bytes:
    try:
        if compression in (LZ4, LZ4_HIGH):
            return unpack_lz4(data, PACKET_LIMIT)
        if compression in (ZSTD, ZSTD_HIGH):
            return unpack_zstd_frame(data, PACKET_LIMIT)
    except ValueError as error:
        raise _DamageError(str(error)) from error
    return data


def _events(data: bytes) -> npt.NDArray[np.void]:
    """The rows of an EventPacket: its only field is a vector of 16-byte events."""
    field = _table_fields(data, 1)[0]
    if not field:
        return np.empty(0, EVENT)
    vector = field + _read(data, "<I", field)
    length = _read(data, "<I", vector)
    if vector + 4 + length * EVENT.itemsize > len(data):
        raise _DamageError("a packet holds fewer events than it says")
    return np.frombuffer(data, EVENT, length, vector + 4)


def _table_fields(data: bytes, count: int) -> list[int]:
    """Positions of a size-prefixed flatbuffer's first fields; 0 where a field is left out."""
    table = 4 + _read(data, "<I", 4)
    layout = table - _read(data, "<i", table)
    size = _read(data, "<H", layout)
    fields = []
    for i in range(count):
        offset = _read(data, "<H", layout + 4 + 2 * i) if 4 + 2 * i < size else 0
        fields.append(table + offset if offset else 0)
    return fields


def _read(data: bytes, form: str, at: int) -> Any:
    if not 0 <= at <= len(data) - struct.calcsize(form):
        raise _DamageError("a reference leads out of its packet")
    return struct.unpack_from(form, data, at)[0]
