"""The recording store: one Zarr v3 group a recording, written once, read by time.

    NAME.zarr/
      zarr.json         attributes: format, version, sensor, time offset, classes, source and its sha256, digest, …
      events            uint64, one packed event; chunks of 16 Ki in shards of 4 Mi, blosc (zstd 3, bitshuffle), crc32c
      ms_to_idx         int64, index of the first event at or after each millisecond from ``index_start_ms`` on
      labels/           t, xyxy, class_id, track_id, confidence (absent where the recording is not labelled)

Attributes are written last: without them a group is not a recording.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import zarr

from spikeyolo.errors import RecordingError
from spikeyolo.events.attributes import read_attributes
from spikeyolo.events.chunks import ChunkCache, ChunkSource, LocalChunks, ZarrChunks
from spikeyolo.events.decoded import mapped_copy
from spikeyolo.events.label_columns import read_boxes
from spikeyolo.events.location import is_remote, normalise, zarr_store
from spikeyolo.events.packing import TIME_SHIFT, Packed, pack, unpack
from spikeyolo.events.types import Boxes, Events
from spikeyolo.events.writer import RecordingWriter

__all__ = ["Cache", "ChunkCache", "Recording", "RecordingWriter", "pack", "unpack"]

Cache = Literal["none", "ram", "mmap"]


class Recording:
    """A stored recording, opened for reading; copies sent to other processes open it anew when first read.

    Attributes:
        path: the group's folder, or its URL.
        width, height: the sensor, px.
        classes: names in the order of class ids.
        num_events: how many events are stored.
        start_us, end_us: time of the first event, and of the last one plus 1, µs.
        time_offset_us: what was taken off the camera's clock, µs.
        labelled: whether boxes are known (there may be none).
        attributes: all of the group's attributes.
    """

    def __init__(
        self,
        path: Path | str,
        attributes: dict[str, Any],
        *,
        cache: Cache = "none",
        chunks: ChunkCache | None = None,
        boxes: Boxes | None = None,
    ) -> None:
        self.path = path
        self.attributes = attributes
        self.width = int(attributes["width"])
        self.height = int(attributes["height"])
        self.classes: tuple[str, ...] = tuple(attributes["classes"])
        self.num_events = int(attributes["num_events"])
        self.start_us = int(attributes["start_us"])
        self.end_us = int(attributes["end_us"])
        self.time_offset_us = int(attributes["time_offset_us"])
        self.labelled = bool(attributes["labelled"])
        self.cache: Cache = cache
        self._chunks = chunks if chunks is not None else ChunkCache(max_bytes=4 << 20)
        self._boxes = boxes
        self._source: ChunkSource | None = None
        self._decoded: Packed | None = None

    @classmethod
    def open(cls, path: Path | str, *, cache: Cache = "none", chunks: ChunkCache | None = None) -> Recording:
        """Open a sealed recording.

        Args:
            path: folder or URL of the recording.
            cache: "none" decodes chunks as they are asked for; "ram" keeps all events decoded in this process; "mmap"
                writes them once, decoded, into a file that all processes share.
            chunks: decoded chunks to share with other recordings; by default the last 4 MiB of this one are kept.

        Raises:
            RecordingError: there is no sealed recording, or a newer spikeyolo wrote it.
        """
        path = normalise(path)
        attributes = read_attributes(path)
        try:
            return cls(path, attributes, cache=cache, chunks=chunks)
        except (KeyError, TypeError, ValueError) as error:
            raise RecordingError(
                f"{path}: its attributes are damaged ({error!r}); convert the recording anew"
            ) from error

    def with_boxes(self, boxes: Boxes | None, classes: tuple[str, ...]) -> Recording:
        """The same events under other labels (None: not labelled) and another class list."""
        attributes = {**self.attributes, "classes": list(classes), "labelled": boxes is not None}
        boxes = Boxes.empty() if boxes is None else boxes
        return Recording(self.path, attributes, cache=self.cache, chunks=self._chunks, boxes=boxes)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_source": None, "_decoded": None}

    def __repr__(self) -> str:
        return (
            f"Recording({str(self.path)!r}, {self.width}x{self.height} px, {self.num_events} events, "
            f"{self.start_us} to {self.end_us} µs)"
        )

    @property
    def boxes(self) -> Boxes:
        """All boxes, ordered by time; none where the recording is not labelled.

        Raises:
            RecordingError: the label columns are damaged.
        """
        if self._boxes is None:
            self._boxes = read_boxes(self.path, int(self.attributes["num_boxes"])) if self.labelled else Boxes.empty()
        return self._boxes

    def packed(self, start_us: int, end_us: int) -> Packed:
        """Events with ``start_us <= t < end_us``, packed (see :mod:`spikeyolo.events.packing`); read-only.

        Raises:
            RecordingError: a chunk is damaged.
        """
        start_us, end_us = max(start_us, self.start_us), min(end_us, self.end_us)
        if end_us <= start_us:
            return np.empty(0, np.uint64)
        index, base = self._index(), self._index_start_ms
        low = int(index[start_us // 1000 - base])
        high = int(index[min(-(-end_us // 1000) - base, len(index) - 1)])
        rows = self.rows(low, high)
        first = 0 if start_us % 1000 == 0 else int(np.searchsorted(rows, np.uint64(start_us << TIME_SHIFT)))
        last = len(rows) if end_us % 1000 == 0 else int(np.searchsorted(rows, np.uint64(end_us << TIME_SHIFT)))
        return rows[first:last]

    def slice(self, start_us: int, end_us: int) -> Events:
        """Events with ``start_us <= t < end_us`` as columns."""
        return unpack(self.packed(start_us, end_us), self.width, self.height)

    def count(self, start_us: int, end_us: int) -> int:
        """Number of events with ``start_us <= t < end_us``."""
        return self.index_at(end_us) - self.index_at(start_us) if end_us > start_us else 0

    def index_at(self, time_us: int) -> int:
        """Index of the first event at or after this time; ``num_events`` where there is none."""
        if time_us <= self.start_us:
            return 0
        if time_us >= self.end_us:
            return self.num_events
        index, base = self._index(), self._index_start_ms
        low = int(index[time_us // 1000 - base])
        if time_us % 1000 == 0:
            return low
        high = int(index[time_us // 1000 - base + 1])
        return low + int(np.searchsorted(self.rows(low, high), np.uint64(time_us << TIME_SHIFT)))

    def rows(self, low: int, high: int) -> Packed:
        """Events number ``low`` to ``high - 1``, packed; read-only.

        Raises:
            RecordingError: a chunk is damaged.
        """
        low, high = max(low, 0), min(high, self.num_events)
        if high <= low:
            return np.empty(0, np.uint64)
        if self.cache != "none":
            return self._all()[low:high]
        return self._read(low, high)

    def verify(self) -> None:
        """Read everything once.

        Raises:
            RecordingError: a chunk, the order of events, the labels or the digest is not as it was written.
        """
        digest = hashlib.sha256()
        step = 1 << 20
        for low in range(0, self.num_events, step):
            digest.update(self._read(low, min(low + step, self.num_events)).tobytes())
        if digest.hexdigest() != self.attributes["digest"]:
            raise RecordingError(f"{self.path}: its events do not match their digest; convert the recording anew")
        self._index()
        if self.labelled:
            read_boxes(self.path, int(self.attributes["num_boxes"]))

    def _read(self, low: int, high: int) -> Packed:
        source = self._events()
        size = source.chunk_rows
        first, last = low // size, (high - 1) // size
        if first == last:
            return self._chunk(source, first)[low - first * size : high - first * size]
        out = np.empty(high - low, np.uint64)
        for chunk in range(first, last + 1):
            start = chunk * size
            begin, end = max(low, start), min(high, start + size)
            out[begin - low : end - low] = self._chunk(source, chunk)[begin - start : end - start]
        out.flags.writeable = False
        return out

    def _chunk(self, source: ChunkSource, chunk: int) -> Packed:
        key = (str(self.path), chunk)
        rows = self._chunks.get(key)
        if rows is None:
            rows = source.read(chunk)
            self._chunks.put(key, rows)
        return rows

    def _events(self) -> ChunkSource:
        if self._source is None:
            local = None if is_remote(self.path) else LocalChunks.open(Path(self.path), self._chunks)
            self._source = local or ZarrChunks(str(self.path), self._array("events"))
        return self._source

    def _index(self) -> npt.NDArray[np.int64]:
        key = (str(self.path), "ms_to_idx")
        index = self._chunks.get(key)
        if index is None:
            try:
                index = np.asarray(self._array("ms_to_idx")[:], np.int64)
            except (ValueError, RuntimeError, OSError) as error:
                raise RecordingError(
                    f"{self.path}: ms_to_idx is damaged ({error}); convert the recording anew"
                ) from error
            if len(index) < self.end_us // 1000 - self._index_start_ms or np.any(index < 0):
                raise RecordingError(f"{self.path}: ms_to_idx is damaged; convert the recording anew")
            self._chunks.put(key, index)
        return index

    @property
    def _index_start_ms(self) -> int:
        return int(self.attributes["index_start_ms"])

    def _array(self, name: str) -> Any:
        try:
            return zarr.open_array(zarr_store(self.path, read_only=True), path=name, mode="r")
        except (OSError, ValueError, KeyError) as error:
            raise RecordingError(f"{self.path}: its array {name!r} cannot be opened ({error})") from error

    def _all(self) -> Packed:
        """All events decoded: in memory, or in a file beside them that is mapped into memory."""
        if self._decoded is not None:
            return self._decoded
        if self.cache == "ram":
            self._decoded = np.empty(self.num_events, np.uint64)
            start = 0
            for part in self._decode():
                self._decoded[start : start + len(part)] = part
                start += len(part)
            self._decoded.flags.writeable = False
        else:
            self._decoded = mapped_copy(self.path, self.attributes["digest"], self.num_events, self._decode())
        return self._decoded

    def _decode(self) -> Iterator[Packed]:
        source = self._events()
        for start in range(0, self.num_events, source.chunk_rows):
            yield source.read(start // source.chunk_rows)[: self.num_events - start]
