"""AEDAT4 recordings (iniVation DV), decoded by the ``aedat`` package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aedat
import numpy as np

from spikeyolo.errors import RecordingError
from spikeyolo.events.formats.reader import CheckedReader, columns
from spikeyolo.events.types import Events

SIGNATURE = b"#!AER-DAT4.0\r\n"


class Aedat4Reader(CheckedReader):
    """The first event stream of the file; times start at 0, ``time_offset_us`` is the first event's unix time."""

    def __init__(self, path: Path, *, strict: bool) -> None:
        super().__init__(path, "aedat4", 0, 0, strict=strict)
        try:
            streams = aedat.Decoder(path).id_to_stream()
        except RuntimeError as error:
            raise RecordingError(f"{path}: its AEDAT4 header is damaged ({error}); expected a whole header") from error
        self._stream, self.width, self.height = _event_stream(path, streams)
        first = next(iter(self._packets()), None)
        self.time_offset_us = int(first["t"][0]) if first is not None else 0

    def _decode(self, max_events: int) -> Iterator[Events]:
        try:
            for packet in self._packets():
                t = packet["t"].astype(np.int64) - self.time_offset_us
                yield columns(t, packet["x"], packet["y"], packet["on"], self.width, self.height)
        except RuntimeError as error:
            self.report(f"{self.path}: truncated or damaged ({error}); expected whole packets, kept the events before")

    def _packets(self) -> Iterator[Any]:
        for packet in aedat.Decoder(self.path):
            if packet["stream_id"] == self._stream and len(packet["events"]):
                yield packet["events"]


def _event_stream(path: Path, streams: dict[int, dict[str, Any]]) -> tuple[int, int, int]:
    for identifier in sorted(streams):
        stream = streams[identifier]
        if stream["type"] == "events":
            return identifier, int(stream["width"]), int(stream["height"])
    found = ", ".join(str(stream["type"]) for stream in streams.values()) or "no stream"
    raise RecordingError(f"{path}: an AEDAT4 file that holds {found}; expected a stream of events")
