"""What every decoder offers: batches of checked events from one file, read in order with bounded memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from numba import njit

from spikeyolo.errors import RecordingError
from spikeyolo.events.types import Events

logger = logging.getLogger(__name__)

DEFAULT_BATCH = 1 << 20
FALLBACK_SIZE = (1280, 720)


@runtime_checkable
class EventReader(Protocol):
    """One events file, opened; iterate :meth:`batches` as often as needed.

    Attributes:
        path: the file.
        format: what its content is, e.g. ``"evt3"``.
        width, height: the sensor, px.
        time_offset_us: what was subtracted from the file's own clock, µs.
        dropped_events: events of the last iteration that carry no usable time (EVT: before the first time word).
        share_read: how much of the file the events given so far took, 0 to 1.
        warnings: sentences about the last iteration (a truncated file, a guessed sensor size).
    """

    path: Path
    format: str
    width: int
    height: int
    time_offset_us: int
    dropped_events: int
    share_read: float
    warnings: list[str]

    def batches(self, max_events: int = DEFAULT_BATCH) -> Iterator[Events]:
        """Yield the events in order, at most ``max_events`` at a time, none of them empty.

        Raises:
            RecordingError: times decrease, a pixel lies outside the sensor, or (strict) the file is damaged.
        """
        ...


class CheckedReader:
    """Base of the decoders: subclasses decode, this class checks, splits and reports.

    Under ``strict`` what would be a warning is an error. A decoder that tests the invariants as it goes may clear
    ``suspect`` for a batch that keeps them.
    """

    suspect = True

    def __init__(
        self, path: Path, format: str, width: int, height: int, *, time_offset_us: int = 0, strict: bool = False
    ) -> None:
        self.path = path
        self.format = format
        self.width = width
        self.height = height
        self.time_offset_us = time_offset_us
        self.strict = strict
        self.dropped_events = 0
        self.share_read = 0.0
        self.opening_warnings: list[str] = []
        self.warnings: list[str] = []

    def batches(self, max_events: int = DEFAULT_BATCH) -> Iterator[Events]:
        """See :meth:`EventReader.batches`."""
        if max_events < 1:
            raise ValueError(f"max_events is {max_events}; expected at least 1")
        self.warnings = list(self.opening_warnings)
        self.dropped_events = 0
        self.share_read = 0.0
        last_us = np.iinfo(np.int64).min
        count = 0
        for events in self._decode(max_events):
            if not len(events):
                continue
            if self.suspect:
                self._check(events, int(last_us), count)
            last_us = int(events.t[-1])
            count += len(events)
            if len(events) <= max_events:
                yield events
                continue
            for first in range(0, len(events), max_events):
                part = slice(first, first + max_events)
                yield Events(events.t[part], events.x[part], events.y[part], events.p[part], self.width, self.height)
        if not count and len(self.warnings) == len(self.opening_warnings):
            self.report(f"{self.path}: holds no events; expected at least one ({self.format})")

    def _decode(self, max_events: int) -> Iterator[Events]:
        """Yield the events in file order; batches may pass ``max_events`` by a little."""
        raise NotImplementedError

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
        self.warnings.append(sentence)
        logger.warning("%s", sentence)

    def guess_size(self) -> tuple[int, int]:
        """The usual sensor, said aloud, where a file names none."""
        width, height = FALLBACK_SIZE
        # Not an error under strict: nothing is lost, and a wrong guess shows as a pixel outside the sensor.
        sentence = f"{self.path}: names no sensor size; expected one in the file or `size`, took {width}x{height}"
        self.opening_warnings.append(sentence)
        logger.warning("%s", sentence)
        return width, height

    def _check(self, events: Events, last_us: int, first_index: int) -> None:
        lengths = {len(column) for column in (events.t, events.x, events.y, events.p)}
        if len(lengths) > 1:
            raise RecordingError(f"{self.path}: columns differ in length; expected one row an event")
        kind, i = first_broken(events.t, events.x, events.y, events.p, self.width, self.height, last_us)
        if kind == 0:
            return
        index = first_index + i
        if kind == 1:
            before = int(events.t[i - 1]) if i else last_us
            raise RecordingError(
                f"{self.path}: time decreases at event {index} ({before} µs, then {events.t[i]} µs); "
                "expected non-decreasing times"
            )
        if kind == 2:
            raise RecordingError(
                f"{self.path}: event {index} lies at x={events.x[i]}, y={events.y[i]}; "
                f"expected a pixel of the {self.width}x{self.height} sensor"
            )
        raise RecordingError(f"{self.path}: event {index} has polarity {events.p[i]}; expected 0 (OFF) or 1 (ON)")


@njit(nogil=True, cache=True)
def first_broken(
    t: npt.NDArray[np.int64],
    x: npt.NDArray[np.uint16],
    y: npt.NDArray[np.uint16],
    p: npt.NDArray[np.uint8],
    width: int,
    height: int,
    last_us: int,
) -> tuple[int, int]:
    """Which invariant breaks first and where: (0 none, 1 time, 2 pixel, 3 polarity), index in the batch."""
    n = len(t)
    # Whole-batch sums vectorise; the place is looked for only in the batch that is broken.
    bad = 0
    for i in range(1, n):
        bad += t[i] < t[i - 1]
    for i in range(n):
        bad += (x[i] >= width) | (y[i] >= height) | (p[i] > 1)
    if n and t[0] < last_us:
        bad += 1
    if bad == 0:
        return 0, 0
    for i in range(n):
        if t[i] < (t[i - 1] if i else last_us):
            return 1, i
        if x[i] >= width or y[i] >= height:
            return 2, i
        if p[i] > 1:
            return 3, i
    return 0, 0


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
