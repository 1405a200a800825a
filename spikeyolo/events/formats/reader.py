"""What every decoder offers: batches of checked events from one file, read in order with bounded memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from spikeyolo.errors import RecordingError
from spikeyolo.events.cleaning import Cleaner, EventCounts, EventRules
from spikeyolo.events.types import Events

logger = logging.getLogger(__name__)

DEFAULT_BATCH = 1 << 20
MAX_SIDE = 4096
# DAVIS240, ATIS, DAVIS346, VGA (DVXplorer, Gen3), Gen4 and IMX636: by size, for files that name no sensor.
KNOWN_SIZES = ((240, 180), (304, 240), (346, 260), (640, 480), (1280, 720))
OUTSIDE = 65535  # the coordinate of what 16 bits cannot hold: outside any sensor
# Events a batch in a look at a file's start: for its first event, for its first second.
_FEW, _SOME = 1 << 8, 1 << 14


@runtime_checkable
class EventReader(Protocol):
    """One events file, opened; iterate :meth:`batches` as often as needed.

    Attributes:
        path: the file.
        format: what its content is, e.g. ``"evt3"``.
        width, height: the sensor, px.
        size_from: who says so: the ``file``, the caller (``given``), or nobody (``guessed``).
        clock: what the file's times count from: ``unix`` (1970), or ``camera`` (whatever the camera's clock did).
        time_offset_us: time of the first event that is kept, on the file's clock, µs; it was taken off all times.
        rules: how its events are cleaned.
        counts: what the event rules did in the last iteration.
        dropped_events: events of the last iteration that carry no usable time (EVT: before the first time word).
        share_read: how much of the file the events given so far took, 0 to 1.
        warnings: sentences about the last iteration (a truncated file, a guessed sensor size, cleaned events).
    """

    path: Path
    format: str
    width: int
    height: int
    size_from: str
    clock: str
    rules: EventRules
    counts: EventCounts
    dropped_events: int
    share_read: float
    warnings: list[str]

    @property
    def time_offset_us(self) -> int: ...

    def batches(self, max_events: int = DEFAULT_BATCH) -> Iterator[Events]:
        """Yield the events in order, at most ``max_events`` at a time, none of them empty; the first is at 0 µs.

        Raises:
            RecordingError: events are dirtier than the event rules allow, or (strict) the file is damaged.
        """
        ...


class CheckedReader:
    """Base of the decoders: subclasses decode, this class cleans, splits and reports.

    Under ``strict`` damage is an error that would be a warning otherwise. A decoder that tests the invariants as it
    goes may clear ``suspect`` for a batch that keeps them. A decoder takes ``origin_us`` off all times it gives.

    Args:
        clock_zero_us: what the file's own times count from, on its clock (DSEC's ``t_offset``), µs.
    """

    suspect = True
    clock = "camera"
    time_jumps = 0

    def __init__(
        self, path: Path, format: str, width: int, height: int, *, clock_zero_us: int = 0, strict: bool = False
    ) -> None:
        self.path = path
        self.format = format
        self.width = width
        self.height = height
        self.clock_zero_us = clock_zero_us
        self.strict = strict
        self.rules = EventRules()
        self.size_from = "file"
        self.counts = EventCounts()
        self.origin_us = 0
        self.dropped_events = 0
        self.share_read = 0.0
        self.opening_warnings: list[str] = []
        self.warnings: list[str] = []
        self._first_us: int | None = None
        self._silent = False
        self._said: set[str] = set()

    @property
    def time_offset_us(self) -> int:
        """See :class:`EventReader`; looked for in the file when first asked for.

        Raises:
            RecordingError: the file cannot be read.
        """
        return self.clock_zero_us + self._find_first()

    def batches(self, max_events: int = DEFAULT_BATCH) -> Iterator[Events]:
        """See :meth:`EventReader.batches`."""
        if max_events < 1:
            raise ValueError(f"max_events is {max_events}; expected at least 1")
        origin_us = self._find_first()
        self._begin(origin_us)
        for sentence in self.opening_warnings:  # now, as a file may be opened more often than it is read
            self._say(sentence)
        cleaner = Cleaner(self.rules, source=str(self.path), width=self.width, height=self.height)
        for batch in self._decode(max_events):
            if not len(batch):
                continue
            cleaner.note_time_jumps(self.time_jumps)
            events = cleaner.clean(batch, suspect=self.suspect, origin_us=origin_us)
            self.counts = cleaner.counts
            for first in range(0, len(events), max_events):
                yield events if len(events) <= max_events else _rows(events, slice(first, first + max_events))
            if cleaner.ended:
                break
        cleaner.note_time_jumps(self.time_jumps)
        self.counts = cleaner.counts
        cleaner.finish()
        if self.counts.words():
            self._warn(f"{self.path}: {self.counts.words()}")
        if self.counts.time_jumps:
            self._warn(
                f"{self.path}: {self.counts.time_jumps} time words jump far ahead and back with the next (damaged?); "
                "times after them may be wrong"
            )
        if not self.counts.kept and len(self.warnings) == len(self.opening_warnings):
            self.report(f"{self.path}: holds no events; expected at least one ({self.format})")

    def _decode(self, max_events: int) -> Iterator[Events]:
        """Yield the events in file order; batches may pass ``max_events`` by a little."""
        raise NotImplementedError

    def _begin(self, origin_us: int) -> None:
        self.origin_us = origin_us
        self.warnings = list(self.opening_warnings)
        self.counts = EventCounts()
        self.dropped_events = self.time_jumps = 0
        self.share_read = 0.0

    def _find_first(self) -> int:
        """Time of the first event inside the sensor, as the file writes it; 0 where there is none."""
        if self._first_us is None:
            self._first_us = 0
            for events in self._look(_FEW):
                inside = (events.x < self.width) & (events.y < self.height)
                if inside.any():
                    self._first_us = int(events.t[inside.argmax()])
                    break
        return self._first_us

    def _look(self, max_events: int) -> Iterator[Events]:
        """Batches from the file's start, uncleaned, on its own clock; damage ends them and is not reported."""
        self._begin(0)
        strict, self.strict, self._silent = self.strict, False, True
        try:
            yield from (events for events in self._decode(max_events) if len(events))
        finally:
            self.strict, self._silent = strict, False

    def damaged(self, sentence: str) -> None:
        """Report damage before which there may be events, and what becomes of those."""
        kept = "kept the events before"
        if self.strict:
            kept = "nothing is kept (strict=false of spikeyolo.convert keeps the events before)"
        self.report(f"{sentence}; {kept}")

    def report(self, sentence: str) -> None:
        """Log damage that still leaves events to read, or raise it under ``strict``.

        Raises:
            RecordingError: the reader is strict.
        """
        if self.strict:
            raise RecordingError(sentence)
        if not self._silent:
            self._warn(sentence)

    def settle_size(self, size: tuple[int, int] | None) -> None:
        """Where a file names no sensor and none was given: the smallest known one that holds its first second, said."""
        if self.width and self.height:
            self.size_from = "file" if size is None or (self.width, self.height) != tuple(size) else "given"
            return
        # Not an error under strict: nothing is lost, and a wrong guess shows as a pixel outside the sensor.
        self.size_from = "guessed"
        self.width, self.height = self._guessed_size()
        self.opening_warnings.append(
            f"{self.path}: names no sensor size; took {self.width}x{self.height} px, the smallest known sensor that "
            f"holds its first second (size=[WIDTH,HEIGHT] sets another; data.size in training)"
        )

    def _guessed_size(self) -> tuple[int, int]:
        """Pixels that not even the largest known sensor holds are dirt, and have no say.

        Looks no further than the answer needs, and keeps the first event's time: it lies inside what is guessed.
        """
        (most_columns, most_lines), *smaller = KNOWN_SIZES[::-1]
        columns = lines = 0
        end_us = None
        self.width = self.height = MAX_SIDE  # for decoders that look at pixels as they go
        for events in self._look(_SOME):
            end_us = int(events.t[0]) + 1_000_000 if end_us is None else end_us
            now = (events.t < end_us) & (events.x < most_columns) & (events.y < most_lines)
            if self._first_us is None and now.any():
                self._first_us = int(events.t[now.argmax()])
            columns = max(columns, int(events.x.max(where=now, initial=0)))
            lines = max(lines, int(events.y.max(where=now, initial=0)))
            if events.t[-1] >= end_us or not any(columns < width and lines < height for width, height in smaller):
                break
        return next(size for size in KNOWN_SIZES if columns < size[0] and lines < size[1])

    def _warn(self, sentence: str) -> None:
        self.warnings.append(sentence)
        self._say(sentence)

    def _say(self, sentence: str) -> None:
        if sentence not in self._said:  # a file may be read more than once
            logger.warning("%s", sentence)
        self._said.add(sentence)


def _rows(events: Events, part: slice) -> Events:
    return Events(events.t[part], events.x[part], events.y[part], events.p[part], events.width, events.height)


def blank_columns(
    rows: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint16], npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
    """Room for ``rows`` events: t, x, y, p."""
    return np.empty(rows, np.int64), np.empty(rows, np.uint16), np.empty(rows, np.uint16), np.empty(rows, np.uint8)


def columns(t: Any, x: Any, y: Any, p: Any, width: int, height: int) -> Events:
    """Events from columns of any integer or boolean type, cast without loss by the caller's promise."""
    return Events(
        np.ascontiguousarray(t, np.int64),
        np.ascontiguousarray(x, np.uint16),
        np.ascontiguousarray(y, np.uint16),
        np.ascontiguousarray(p, np.uint8),
        width,
        height,
    )


def checked_columns(reader: CheckedReader, t: Any, x: Any, y: Any, p: Any) -> Events:
    """Cast without wrapping: pixels that do not fit their column stay outside any sensor, polarities -1 become 0."""
    x, y = (_pixels(column) for column in (x, y))
    if t.dtype == np.uint64 and int(t.max()) > np.iinfo(np.int64).max:
        raise RecordingError(f"{reader.path}: an event has t={int(t.max())}; expected microseconds")
    polarity = np.where(p == -1, 0, p) if p.dtype.kind == "i" else p
    if p.dtype not in (np.bool_, np.uint8) and (int(polarity.max()) > 1 or int(polarity.min()) < 0):
        raise RecordingError(f"{reader.path}: polarities {p.min()} to {p.max()}; expected 0 and 1, or -1 and 1")
    if reader.origin_us:
        t = np.subtract(t, reader.origin_us, dtype=np.int64)
    return columns(t, x, y, polarity, reader.width, reader.height)


def _pixels(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if column.dtype.kind != "b" and column.dtype != np.uint16 and (column.min() < 0 or column.max() > OUTSIDE):
        return np.where((column < 0) | (column > OUTSIDE), OUTSIDE, column)
    return column
