"""The recordings that ``source`` names, of any kind, each opened as a stream of packed events."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spikeyolo.detections.clock import OFFSETS
from spikeyolo.errors import ConfigError, RecordingError
from spikeyolo.events import Events
from spikeyolo.events.conversion.identity import open_source, reading_notes
from spikeyolo.events.conversion.remote_files import fetched, find_remote
from spikeyolo.events.conversion.sources import places_at
from spikeyolo.events.datasets import SUFFIXES, TEXT_SUFFIXES, Source
from spikeyolo.events.filters import filtered
from spikeyolo.events.formats import EventReader
from spikeyolo.events.formats.live import LiveSource, is_stream
from spikeyolo.events.labels import LabelRules
from spikeyolo.events.packing import Packed, pack
from spikeyolo.events.store import Recording
from spikeyolo.events.store.location import is_remote
from spikeyolo.prediction.reading import Reading

BATCH = 1 << 18  # events that are read at once

log = logging.getLogger("spikeyolo")


@dataclass(frozen=True, eq=False)
class Opened:
    """A recording as it is read.

    Attributes:
        name: that the table calls it by.
        width, height: the sensor, px.
        batches: packed events in order, to be gone through once.
        share: how much of it the batches so far were, 0 to 1; None where nobody knows.
        notes: what there is to say of its events once they were read, JSON values.
    """

    name: str
    width: int
    height: int
    batches: Iterator[Packed]
    share: Callable[[], float | None]
    notes: Callable[[], dict[str, Any]] = dict


@dataclass(frozen=True, eq=False)
class Input:
    """One recording that is to be predicted on.

    Attributes:
        name: that the table calls it by, unique.
        place: where it is.
    """

    name: str
    place: Recording | Source | LiveSource

    @property
    def identity(self) -> Any:
        """JSON that differs where its events may; None where it can be read only once."""
        if isinstance(self.place, Recording):
            return self.place.attributes["digest"]
        if isinstance(self.place, LiveSource):
            return None if self.place.is_stream else ["follow", str(Path(self.place.address).resolve())]
        if self.place.folder is not None:
            return self.place.versions
        stat = self.place.events.stat()
        return [str(self.place.events.resolve()), stat.st_size, stat.st_mtime_ns]

    @contextmanager
    def open(self, reading: Reading) -> Iterator[Opened]:
        """Its events, read as ``reading`` says.

        Raises:
            RecordingError: it cannot be read.
        """
        if isinstance(self.place, Recording):
            yield _stored(self.name, self.place)
        elif isinstance(self.place, LiveSource):
            if reading.filters.hot_pixel_factor is not None:
                raise ConfigError(
                    "filters.hot_pixel_factor: reads a recording twice, which a live source cannot be; expected null"
                )
            with self.place.open(rules=reading.event_rules, size=reading.size) as live:
                reader = filtered(live, reading.filters)
                batches = (pack(events) for events in reader.batches(BATCH))
                yield Opened(self.name, reader.width, reader.height, batches, lambda: None, lambda: _notes(reader))
        else:
            with fetched(replace(self.place, **vars(reading))) as files:
                reader = open_source(files, strict=False)
                batches = (pack(events) for events in reader.batches(BATCH))
                yield Opened(
                    self.name,
                    reader.width,
                    reader.height,
                    batches,
                    lambda: reader.share_read,
                    lambda: _notes(reader),
                )


def of_events(events: Events, name: str = "events") -> Opened:
    """Events in memory.

    Raises:
        RecordingError: an invariant of theirs is broken.
    """
    events.check(name)
    parts = iter([pack(events)] if len(events) else [])
    return Opened(name, events.width, events.height, parts, lambda: None)


def inputs_at(
    source: str | Sequence[str],
    *,
    followed: bool = False,
    timeout_s: float = 10.0,
    stopped: Callable[[], bool] | None = None,
) -> list[Input]:
    """The recordings that a source names, each under a name of its own.

    Args:
        source: a file of any known format, a stored recording or a folder of them, a folder of files, a glob, a URL, or
            ``-`` (standard input); or several of these.
        followed: a file grows; it ends when it has not for ``timeout_s``.
        timeout_s: so long a live source may give nothing.
        stopped: asked while a live source is waited for: whether to end it now.

    Raises:
        RecordingError: there is none, or a stored one cannot be opened.
        ConfigError: no source was given, or several that are followed.
    """
    sources = [source] if isinstance(source, str) else list(source)
    if not sources:
        raise ConfigError("source: found an empty list; expected at least one recording")
    live = [item for item in sources if followed or is_stream(item)]
    if live and len(sources) > 1:
        raise ConfigError(f"source: found {len(sources)} with follow=true or standard input; expected one")
    if live:
        place = LiveSource(live[0], timeout_s=timeout_s, stopped=stopped or (lambda: False))
        return [Input("stdin" if live[0] == "-" else Path(live[0]).stem, place)]
    found = [item for one in sources for item in _places(one)]
    names = _unique([name for name, _, _ in found], [whole for _, whole, _ in found])
    return [Input(name, place) for name, (_, _, place) in zip(names, found, strict=True)]


def _places(source: str) -> list[tuple[str, str, Recording | Source]]:
    """Name, whole path or URL without its ending, and place."""
    if is_remote(source) and source.lower().rstrip("/").endswith((*SUFFIXES, "*")):
        return _raw_remote(source)
    try:
        places = places_at(source)
    except RecordingError:
        if not is_remote(source):
            raise
        return _raw_remote(source)  # a folder of files and not of stored recordings
    found: list[tuple[str, str, Recording | Source]] = []
    for name, place in places:
        name = name.removesuffix(".zarr")
        if isinstance(place, Recording):
            found.append((name, str(place.path).removesuffix(".zarr"), place))
        else:
            found.append((name, str(place.with_suffix("")), Source(place, None, name, "")))
    return found


def _raw_remote(url: str) -> list[tuple[str, str, Recording | Source]]:
    named = url.lower().endswith(TEXT_SUFFIXES)
    suffixes = [suffix for suffix in SUFFIXES if named or suffix not in TEXT_SUFFIXES]
    found = find_remote(url, suffixes, LabelRules())
    return [(item.name, f"{item.folder}/{item.events.stem}", replace(item, labels=None, split="")) for item in found]


def _unique(names: list[str], whole: list[str]) -> list[str]:
    """The names; where two are the same, whole paths without what they have in common."""
    if len(set(names)) == len(names):
        return names
    twice = next((path for path in whole if whole.count(path) > 1), None)
    if twice is not None:
        raise RecordingError(f"source: {twice} stands twice; expected every recording once")
    if any(is_remote(path) for path in whole):
        return whole
    absolute = [os.path.abspath(path) for path in whole]
    return [os.path.relpath(path, os.path.commonpath(absolute)) for path in absolute]


def _notes(reader: EventReader) -> dict[str, Any]:
    return {**reading_notes(reader), OFFSETS: reader.time_offset_us}


def _stored(name: str, recording: Recording) -> Opened:
    read = 0

    def batches() -> Iterator[Packed]:
        nonlocal read
        for first in range(0, recording.num_events, BATCH):
            rows = recording.rows(first, first + BATCH)
            read = first + BATCH
            yield rows

    counts = (recording.attributes.get("notes") or {}).get("event_counts", {})
    notes = {"event_counts": counts, OFFSETS: recording.time_offset_us}
    return Opened(
        name,
        recording.width,
        recording.height,
        batches(),
        lambda: min(1.0, read / max(recording.num_events, 1)),
        lambda: notes,
    )
