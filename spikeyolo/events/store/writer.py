"""Writing a recording into the store: events arrive in batches of any size, and nothing is seen before it is sealed."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import secrets
import shutil
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import zarr

from spikeyolo.errors import RecordingError
from spikeyolo.events.packing import pack
from spikeyolo.events.store.attributes import FORMAT, FORMAT_VERSION
from spikeyolo.events.store.label_columns import write_boxes
from spikeyolo.events.store.location import (
    is_remote,
    normalise,
    reason,
    remove_remote,
    sizes_below,
    store_errors,
    zarr_store,
)
from spikeyolo.events.store.sharded import ShardedColumn
from spikeyolo.events.types import Array, Boxes, Events

# 16 Ki events decode in about 0.1 ms: small windows waste little of a chunk, and no byte an event is lost to it.
CHUNK_EVENTS = 1 << 14
SHARD_EVENTS = 1 << 22
CHUNK_MS = 1 << 13
SHARD_MS = 1 << 20
_DISCARD_TRIES = 50


class RecordingWriter:
    """Writes one recording beside its place, and renames it into place when sealed.

    A context manager: left by an error, or without :meth:`seal`, nothing stays behind. A process killed in between
    leaves at most a ``.partial-…`` folder, which does not open. In a remote store, where nothing can be renamed, the
    attributes are written last and play the same part; its place is to be its own (see ``events.conversion``), and what
    others wrote there is never touched.

    Args:
        path: folder (or URL) of the recording to be.
        width, height: the sensor, px.
        classes: names in the order of class ids.
        source: what it was made from.
        source_sha256: of that file.
        time_offset_us: what was taken off the times of the events file, µs.
        notes: whatever else should be kept in its attributes, as JSON.
        replace: write over a recording that is already there.

    Raises:
        RecordingError: something is already at ``path``, or it cannot be written to.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        width: int,
        height: int,
        classes: Sequence[str] = (),
        source: str = "",
        source_sha256: str = "",
        time_offset_us: int = 0,
        notes: Mapping[str, Any] | None = None,
        replace: bool = False,
    ) -> None:
        self.path = normalise(path)
        self._width, self._height = int(width), int(height)
        self._attributes: dict[str, Any] = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "width": int(width),
            "height": int(height),
            "time_offset_us": int(time_offset_us),
            "classes": [str(name) for name in classes],
            "source": source,
            "source_sha256": source_sha256,
            "notes": dict(notes or {}),
        }
        self._replace = replace
        self._boxes: Boxes | None = None
        self._digest = hashlib.sha256()
        self._start_us = -1
        self._last_us = 0
        self._next_ms = 0
        self._open = True
        self._stored_events = 0
        if is_remote(self.path):
            self._target: Path | str = self.path
        else:
            local = Path(self.path)
            self._target = local.with_name(f"{local.name}.partial-{os.getpid()}-{secrets.token_hex(2)}")
        self._check_free()
        try:
            if isinstance(self._target, Path):
                self._target.parent.mkdir(parents=True, exist_ok=True)
            self._group = zarr.create_group(zarr_store(self._target, read_only=False), overwrite=False)
            self._events = ShardedColumn(
                self._group,
                "events",
                dtype="uint64",
                chunk_rows=CHUNK_EVENTS,
                shard_rows=SHARD_EVENTS,
                written=self._hash,
            )
            self._index = ShardedColumn(
                self._group, "ms_to_idx", dtype="int64", chunk_rows=CHUNK_MS, shard_rows=SHARD_MS
            )
        except store_errors() as error:
            self._discard()
            raise self._failed(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:
            self._discard()

    def append(self, events: Events) -> None:
        """Add the events that follow; batches of any size, memory stays bounded by a shard of 4 Mi events.

        Raises:
            RecordingError: an invariant of :class:`Events` is broken (across batches too), or the disk is full. The
                writer is then closed and nothing stays behind.
        """
        self._require_open()
        try:
            if (events.width, events.height) != (self._width, self._height):
                raise RecordingError(
                    f"{self._name}: events of a sensor of {events.width}x{events.height} px; "
                    f"expected {self._width}x{self._height} px"
                )
            if not len(events):
                return
            packed = pack(events, source=self._name, previous_us=self._last_us)
            self._index_times(events)
            self._last_us = int(events.t[-1])
            self._events.append(packed)
        except RecordingError:
            self._discard()
            raise
        except store_errors() as error:
            self._discard()
            raise self._failed(error) from error

    def set_boxes(self, boxes: Boxes) -> None:
        """Set the labels of the recording; it counts as labelled even if there are none."""
        self._require_open()
        order = np.argsort(boxes.t, kind="stable")
        self._boxes = boxes[order]

    def note(self, name: str, value: Any) -> None:
        """Keep one more thing in the attributes' notes, as JSON."""
        self._require_open()
        self._attributes["notes"][name] = value

    @property
    def span_us(self) -> tuple[int, int]:
        """Time of the first event so far, and of the last plus 1, µs; (0, 0) before the first."""
        return (0, 0) if self._start_us < 0 else (self._start_us, self._last_us + 1)

    def seal(self) -> None:
        """Write what is left and put the recording in its place.

        Raises:
            RecordingError: there was no event, the disk is full, or something has taken the place meanwhile.
        """
        self._require_open()
        try:
            if self._start_us < 0:
                raise RecordingError(f"{self._name}: no events; expected at least one")
            self._seal()
        except RecordingError:
            self._discard()
            raise
        except store_errors() as error:
            self._discard()
            raise self._failed(error) from error
        self._open = False

    @property
    def _name(self) -> str:
        return str(self._attributes["source"] or self.path)

    def _hash(self, rows: Array) -> None:
        self._digest.update(rows.data)
        self._stored_events += len(rows)

    def _index_times(self, events: Events) -> None:
        """Add the index of the first event at or after every millisecond that these events reach."""
        t = events.t
        if self._start_us < 0:
            self._start_us = int(t[0])
            self._next_ms = self._start_us // 1000
        last_ms = int(t[-1]) // 1000
        before = len(self._events)
        for first in range(self._next_ms, last_ms + 1, SHARD_MS):  # a recording may pause for days
            edges = np.arange(first, min(first + SHARD_MS, last_ms + 1), dtype=np.int64) * 1000
            self._index.append(before + np.searchsorted(t, edges).astype(np.int64))
        self._next_ms = last_ms + 1

    def _seal(self) -> None:
        self._events.flush()
        num_events = self._events.stored_rows
        self._index.append(np.array([num_events], np.int64))
        self._index.flush()
        if self._boxes is not None:
            write_boxes(self._group, self._boxes)
        self._attributes.update(
            num_events=num_events,
            start_us=self._start_us,
            end_us=self._last_us + 1,
            index_start_ms=self._start_us // 1000,
            digest=self._digest.hexdigest(),
            labelled=self._boxes is not None,
            num_boxes=0 if self._boxes is None else len(self._boxes),
            stored=stored_size(self._target),
        )
        self._group.update_attributes(self._attributes)
        with warnings.catch_warnings():  # that other implementations may not know consolidated metadata
            warnings.simplefilter("ignore")
            zarr.consolidate_metadata(self._group.store)
        if isinstance(self._target, Path):
            self._rename(self._target, Path(self.path))

    def _rename(self, written: Path, place: Path) -> None:
        self._check_free()
        aside = None
        if self._replace and place.exists():
            aside = place.with_name(f"{place.name}.partial-{os.getpid()}-{secrets.token_hex(2)}-old")
            os.rename(place, aside)
        os.rename(written, place)
        if aside is not None:
            shutil.rmtree(aside)

    def _check_free(self) -> None:
        """Refuse a place that is taken."""
        if is_remote(self.path):
            try:
                taken = bool(sizes_below(self.path))
            except store_errors() as error:
                raise self._failed(error) from error
        else:
            taken = os.path.lexists(self.path) and not self._replace
        if taken:
            raise RecordingError(f"{self.path}: already exists; expected a free name, or to be told to replace it")

    def _require_open(self) -> None:
        if not self._open:
            raise RecordingError(f"{self.path}: its writer is closed; open a new one")

    def _discard(self) -> None:
        self._open = False
        if isinstance(self._target, Path):
            # When one of several writes of zarr's fails, the others go on for a moment, and make the folder anew.
            for _ in range(_DISCARD_TRIES):
                shutil.rmtree(self._target, ignore_errors=True)
                time.sleep(0.01)
                if not self._target.exists():
                    break
        else:
            with suppress(*store_errors()):  # without attributes, what is left does not open
                remove_remote(self._target)

    def _failed(self, error: Exception) -> RecordingError:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return RecordingError(
                f"{self.path}: the disk is full after {self._stored_events} events; nothing of this recording was kept"
            )
        return RecordingError(f"{self.path}: cannot be written ({reason(error)})")


def stored_size(path: Path | str) -> dict[str, int]:
    """How many files or objects a recording consists of, but for its own ``zarr.json``, and their bytes in all."""
    sizes = [size for name, size in sizes_below(path).items() if name != "zarr.json"]
    return {"files": len(sizes), "bytes": sum(sizes)}


def remove_abandoned(path: Path) -> None:
    """Remove what killed processes left while writing this recording; call it only while no other may write it."""
    for left in path.parent.glob(f"{glob.escape(path.name)}.partial-*"):
        shutil.rmtree(left, ignore_errors=True)
