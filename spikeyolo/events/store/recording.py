"""The recording store: one Zarr v3 group a recording, written once, read by time.

    NAME.zarr/
      zarr.json         attributes: format, version, sensor, time offset, classes, source and its sha256, digest, …
      events            uint64, one packed event; chunks of 16 Ki in shards of 4 Mi, blosc (zstd 3, bitshuffle), crc32c
      ms_to_idx         int64, first event at or after each millisecond from ``index_start_ms`` on, likewise
      labels            float64 [M, 8]: t, x0, y0, x1, y1, class_id, track_id, confidence (absent where not labelled)

Attributes are written last: without them a group is not a recording. ``zarr.json`` also holds the arrays' metadata
(zarr's consolidated metadata), so that a recording is opened with one read, and its boxes with a second.
"""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr

from spikeyolo.errors import RecordingError
from spikeyolo.events.packing import TIME_SHIFT, Packed, pack, unpack
from spikeyolo.events.store.attributes import checked_attributes, read_group
from spikeyolo.events.store.chunks import ChunkCache, ChunkedRows, ChunkSource, LocalChunks, ZarrChunks
from spikeyolo.events.store.label_columns import read_boxes
from spikeyolo.events.store.location import is_remote, normalise, reason, store_errors, zarr_store
from spikeyolo.events.store.mapped import default_folder, mapped_copy
from spikeyolo.events.store.writer import RecordingWriter, stored_size
from spikeyolo.events.types import Boxes, Events

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
        time_offset_us: what was taken off the times of the events file, µs.
        clock: what those count from, ``camera`` or ``unix``.
        labelled: whether boxes are known (there may be none).
        attributes: all of the group's attributes.
        group: the group's metadata, of recordings in a remote store.
    """

    def __init__(
        self,
        path: Path | str,
        attributes: dict[str, Any],
        *,
        cache: Cache = "none",
        chunks: ChunkCache | None = None,
        boxes: Boxes | None = None,
        group: dict[str, Any] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.path = path
        self.attributes = attributes
        self.group = group
        self.width = int(attributes["width"])
        self.height = int(attributes["height"])
        self.classes: tuple[str, ...] = tuple(attributes["classes"])
        self.num_events = int(attributes["num_events"])
        self.start_us = int(attributes["start_us"])
        self.end_us = int(attributes["end_us"])
        self.time_offset_us = int(attributes["time_offset_us"])
        self.clock = str((attributes.get("notes") or {}).get("clock", "camera"))
        self.labelled = bool(attributes["labelled"])
        self.cache: Cache = cache
        self._chunks = chunks if chunks is not None else ChunkCache(max_bytes=4 << 20)
        self._boxes = boxes
        self._arrays: dict[str, ChunkedRows] = {}
        self._decoded: Packed | None = None
        self._folder = folder

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        cache: Cache = "none",
        chunks: ChunkCache | None = None,
        group: dict[str, Any] | None = None,
        folder: Path | None = None,
    ) -> Recording:
        """Open a sealed recording.

        Args:
            path: folder or URL of the recording.
            cache: "none" decodes chunks as they are asked for; "ram" keeps all events decoded in this process; "mmap"
                writes them once, decoded, into a file that all processes share.
            chunks: decoded chunks to share with other recordings; by default the last 4 MiB of this one are kept.
            group: its group's metadata, where they are known: nothing is read then.
            folder: of files that are memory-mapped; None takes the user's cache folder.

        Raises:
            RecordingError: there is no sealed recording, or a newer spikeyolo wrote it.
        """
        path = normalise(path)
        group = read_group(path) if group is None else group
        attributes = checked_attributes(path, group)
        try:
            kept = group if is_remote(path) else None
            return cls(path, attributes, cache=cache, chunks=chunks, group=kept, folder=folder)
        except (KeyError, TypeError, ValueError) as error:
            raise RecordingError(
                f"{path}: its attributes are damaged ({error!r}); convert the recording anew"
            ) from error

    def with_boxes(self, boxes: Boxes | None, classes: tuple[str, ...]) -> Recording:
        """The same events under other labels (None: not labelled) and another class list."""
        attributes = {**self.attributes, "classes": list(classes), "labelled": boxes is not None}
        boxes = Boxes.empty() if boxes is None else boxes
        return Recording(
            self.path,
            attributes,
            cache=self.cache,
            chunks=self._chunks,
            boxes=boxes,
            group=self.group,
            folder=self._folder,
        )

    def with_cache(self, cache: Cache, chunks: ChunkCache, *, folder: Path | None = None) -> Recording:
        """The same recording, its events kept in another way.

        Args:
            cache, chunks, folder: see :meth:`open`.
        """
        return Recording(
            self.path,
            self.attributes,
            cache=cache,
            chunks=chunks,
            boxes=self._boxes,
            group=self.group,
            folder=folder,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_arrays": {}, "_decoded": None}

    def __repr__(self) -> str:
        return (
            f"Recording({str(self.path)!r}, {self.width}x{self.height} px, {self.num_events} events, "
            f"{self.start_us} to {self.end_us} µs)"
        )

    @property
    def name(self) -> str:
        """What messages call it: the last part of its path or URL."""
        return str(self.path).rstrip("/").replace("\\", "/").rsplit("/", 1)[-1]

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
        low, high = self._index_ms(start_us // 1000), self._index_ms(-(-end_us // 1000))
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
        low = self._index_ms(time_us // 1000)
        if time_us % 1000 == 0:
            return low
        high = self._index_ms(time_us // 1000 + 1)
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
        return self._stored("events").read(low, high)

    def verify(self) -> None:
        """Read everything once.

        Raises:
            RecordingError: a chunk, the order of events, the labels or the digest is not as it was written.
        """
        digest = hashlib.sha256()
        for rows in self._stored("events").decode(self.num_events):
            digest.update(rows.data)
        if digest.hexdigest() != self.attributes["digest"]:
            raise RecordingError(f"{self.path}: its events do not match their digest; convert the recording anew")
        index = np.concatenate(list(self._stored("ms_to_idx").decode(self._last_ms - self._first_ms + 1)))
        if index[0] != 0 or index[-1] != self.num_events or np.any(np.diff(index) < 0):
            raise RecordingError(f"{self.path}: ms_to_idx does not fit its events; convert the recording anew")
        if self.labelled:
            read_boxes(self.path, int(self.attributes["num_boxes"]))

    def check_files(self) -> None:
        """Compare the sizes of its files or objects with those it was written with; nothing is read.

        Raises:
            RecordingError: one is absent, or of another size.
        """
        try:
            found = stored_size(self.path)
        except store_errors() as error:
            raise RecordingError(f"{self.path}: cannot be read ({reason(error)})") from error
        expected = self.attributes["stored"]
        if found != expected:
            raise RecordingError(
                f"{self.path}: {found['bytes']} bytes in {found['files']} files are there; expected "
                f"{expected['bytes']} in {expected['files']}: convert the recording anew"
            )

    @property
    def _first_ms(self) -> int:
        return int(self.attributes["index_start_ms"])

    @property
    def _last_ms(self) -> int:
        return (self.end_us - 1) // 1000 + 1

    def _index_ms(self, ms: int) -> int:
        """Index of the first event at or after a millisecond."""
        return self._stored("ms_to_idx")[min(ms, self._last_ms) - self._first_ms]

    def _stored(self, name: str) -> ChunkedRows:
        if name not in self._arrays:
            source: ChunkSource | None = None
            if not is_remote(self.path):
                source = LocalChunks.open(Path(self.path), name, self._chunks)
            if source is None:
                source = ZarrChunks(str(self.path), name, self._zarr_array(name))
            self._arrays[name] = ChunkedRows(source, (str(self.path), name), self._chunks)
        return self._arrays[name]

    def _zarr_array(self, name: str) -> Any:
        try:
            if self.group is not None and "consolidated_metadata" in self.group:  # no request
                place = zarr.storage.StorePath(zarr_store(self.path, read_only=True))
                return zarr.Group(zarr.AsyncGroup.from_dict(place, copy.deepcopy(self.group)))[name]
            return zarr.open_array(zarr_store(self.path, read_only=True), path=name, mode="r", zarr_format=3)
        except store_errors(ValueError, KeyError) as error:
            raise RecordingError(f"{self.path}: its array {name!r} cannot be opened ({reason(error)})") from error

    def _all(self) -> Packed:
        """All events decoded: in memory, or in a file beside them that is mapped into memory."""
        if self._decoded is not None:
            return self._decoded
        parts = self._stored("events").decode(self.num_events)
        if self.cache == "ram":
            self._decoded = np.empty(self.num_events, np.uint64)
            start = 0
            for part in parts:
                self._decoded[start : start + len(part)] = part
                start += len(part)
            self._decoded.flags.writeable = False
        else:
            self._decoded = mapped_copy(
                self._folder or default_folder(), self.name, self.attributes["digest"], self.num_events, parts
            )
        return self._decoded
