"""The recording that is looked at: a file of any known format, or a stored one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any, TypeVar

from spikeyolo.errors import RecordingError
from spikeyolo.events.conversion.identity import open_source
from spikeyolo.events.conversion.remote_files import fetched, find_remote
from spikeyolo.events.conversion.sources import places_at
from spikeyolo.events.datasets import SUFFIXES, Source
from spikeyolo.events.filters import EventFilters
from spikeyolo.events.formats import EventReader
from spikeyolo.events.labels import LabelRules, labels_of_file
from spikeyolo.events.packing import unpack
from spikeyolo.events.store import Recording
from spikeyolo.events.store.location import is_remote
from spikeyolo.events.types import Events

T = TypeVar("T")

_BATCH = 1 << 18  # events that are read at once


@dataclass(frozen=True, eq=False)
class Footage:
    """A recording that can be gone through as often as needed.

    Attributes:
        name: without folder and suffix.
        address: where it is, in words.
        width, height: the sensor, px.
        time_offset_us: what was taken off the times of its file, µs.
        clock: what those count from, ``camera`` or ``unix``.
        batches: its events in order; those before a time given may be left out.
        sensor: what reads it, or the stored recording; None where nothing tells what filters left out.
        filters: that leave some of its events out.
        stored: the stored recording, where it is one.
        labels: the label file beside it, where there is one.
    """

    name: str
    address: str
    width: int
    height: int
    time_offset_us: int
    clock: str
    batches: Callable[[int], Iterator[Events]]
    sensor: EventReader | Recording | None = None
    filters: EventFilters = field(default_factory=EventFilters)
    stored: Recording | None = None
    labels: Path | None = None


@dataclass(frozen=True)
class Span:
    """What one pass over a recording tells.

    Attributes:
        start_us, end_us: time of its first event, and of its last plus 1, µs.
        shown_us: from where to where it is shown.
        events: number of events that are shown.
    """

    start_us: int
    end_us: int
    shown_us: tuple[int, int]
    events: int

    @property
    def events_a_second(self) -> float:
        """Of the part that is shown."""
        return 1e6 * self.events / max(self.shown_us[1] - self.shown_us[0], 1)


@contextmanager
def open_footage(source: str, reading: dict[str, Any], *, beside: bool = True) -> Iterator[Footage]:
    """Open the one recording that a path or URL names.

    Args:
        source: a file, a stored recording (``NAME.zarr``), or a folder, glob or URL that names one recording.
        reading: how the events of a file are read: attributes of a :class:`Source`.
        beside: whether to look for labels beside a file.

    Raises:
        RecordingError: there is none, there are several, or it cannot be read.
    """
    found = _found(source)
    if isinstance(found, Recording):
        yield _stored(found)
        return
    with fetched(replace(found, **reading)) as files:
        reader = open_source(files, strict=False)
        if found.folder is not None:
            labels = files.labels
        else:
            labels = labels_of_file(files.events, None) if beside else None

        def batches(from_us: int) -> Iterator[Events]:
            yield from (events for events in reader.batches(_BATCH) if events.t[-1] >= from_us)

        yield Footage(
            files.events.stem,
            found.address(found.events),
            reader.width,
            reader.height,
            reader.time_offset_us,
            reader.clock,
            batches,
            sensor=reader,
            filters=files.filters,
            labels=labels,
        )


def span_of(footage: Footage, *, start_us: int, duration_us: int | None, whole: bool) -> Span:
    """From where to where a recording lasts, and is shown.

    Args:
        footage: is gone through once, unless it is stored.
        start_us: of what is shown, µs from the first event.
        duration_us: of what is shown; None up to the last event.
        whole: whether the recording's end must be known even where it is not shown.

    Raises:
        RecordingError: it holds no events, or none from ``start_us`` on.
    """
    stored = footage.stored
    if stored is not None:
        first, end = stored.start_us, stored.end_us
        until = end if duration_us is None else min(end, first + start_us + duration_us)
        count = stored.count(first + start_us, until)
    else:
        first, end, count, until = _gone_through(footage, start_us, duration_us, whole)
    if end <= first:
        raise RecordingError(f"{footage.address}: holds no events; expected at least one")
    if until <= first + start_us:
        raise RecordingError(
            f"start_us: found {start_us}, but {footage.address} lasts {end - first} µs; expected a time within it"
        )
    return Span(first, end, (first + start_us, until), count)


def _gone_through(footage: Footage, start_us: int, duration_us: int | None, whole: bool) -> tuple[int, int, int, int]:
    first = end = count = 0
    any_yet = False
    for events in footage.batches(0):
        if not any_yet:
            first, any_yet = int(events.t[0]), True
        low, high = first + start_us, 2**62 if duration_us is None else first + start_us + duration_us
        end = int(events.t[-1]) + 1
        count += int(((events.t >= low) & (events.t < high)).sum())
        if end > high and not whole:
            break
    return first, end, count, end if duration_us is None else min(end, first + start_us + duration_us)


def _found(source: str) -> Recording | Source:
    if is_remote(source) and source.lower().rstrip("/").endswith((*SUFFIXES, "*")):
        found = {item.name: item for item in find_remote(source, SUFFIXES, LabelRules())}
        return _only(source, found)
    places = dict(places_at(source))
    place = _only(source, places)
    return place if isinstance(place, Recording) else Source(place, None, place.stem, "")


def _only(source: str, found: Mapping[str, T]) -> T:
    if len(found) > 1:
        names = list(found)
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise RecordingError(
            f"source: {source} names {len(names)} recordings ({', '.join(names[:3])}{more}); expected one of them"
        )
    return next(iter(found.values()))


def _stored(recording: Recording) -> Footage:
    def batches(from_us: int) -> Iterator[Events]:
        for low in range(recording.index_at(from_us), recording.num_events, _BATCH):
            yield unpack(recording.rows(low, low + _BATCH), recording.width, recording.height)

    return Footage(
        PurePath(recording.name).stem,
        str(recording.path),
        recording.width,
        recording.height,
        recording.time_offset_us,
        recording.clock,
        batches,
        sensor=recording,
        stored=recording,
    )
