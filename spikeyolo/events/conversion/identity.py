"""What decides a stored recording's contents: its files' bytes, how events are read, how labels are cleaned."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spikeyolo.errors import ConfigError, RecordingError
from spikeyolo.events.cleaning import EventCounts, EventRules
from spikeyolo.events.datasets import Source
from spikeyolo.events.filters import FilterCounts, FilteredReader, filtered
from spikeyolo.events.formats import EventReader, open_recording
from spikeyolo.events.labels import files_read
from spikeyolo.events.store import Recording
from spikeyolo.events.store.location import reason

_READ_BYTES = 1 << 22


def reading_of(source: Source) -> dict[str, Any]:
    """How a source's events are read, as JSON: whatever makes other events of the same bytes belongs in here.

    It is part of a stored recording's identity, and of the name under which training keeps it. Event rules and the
    given sensor size stand in the identity alone, since they often change nothing: see :func:`read_otherwise`.
    """
    reading: dict[str, Any] = {}
    if source.filters.active:
        reading["filters"] = source.filters.as_dict()
    if source.time_unit is not None:
        reading["time_unit"] = source.time_unit
    return reading


def open_source(files: Source, *, strict: bool) -> EventReader:
    """The events of a source on this machine, read as :func:`reading_of` says.

    Raises:
        RecordingError: the file is not what it should be.
    """
    reader = open_recording(
        files.events, strict=strict, size=files.size, rules=files.event_rules, time_unit=files.time_unit
    )
    return filtered(reader, files.filters)


def reading_notes(reader: EventReader) -> dict[str, Any]:
    """What a stored recording's notes say of how its events were read, once they have been."""
    left_out = {"filter_counts": reader.filter_counts.as_dict()} if isinstance(reader, FilteredReader) else {}
    return {
        **left_out,
        "format": reader.format,
        "clock": reader.clock,
        "size_from": reader.size_from,
        "event_counts": reader.counts.as_dict(),
        "dropped_events": reader.dropped_events,
        "warnings": list(reader.warnings),
    }


def check_stored(name: str, given: Set[str]) -> None:
    """Refuse keys that say how a file is read, where a stored recording is taken as it is.

    Args:
        name: of the recording.
        given: keys that the command line has.

    Raises:
        ConfigError: one of them would have no effect.
    """
    reading = {key for key in given if key.startswith(("event_rules.", "filters.")) or key in ("size", "time_unit")}
    if reading:
        raise ConfigError(
            f"{min(reading)}: found beside the stored recording {name}, which is taken as it was converted; expected "
            "the file that it was made from"
        )


def filter_counts_of(sensor: EventReader | Recording) -> FilterCounts:
    """What filters left out of a recording, that is read or stored."""
    if isinstance(sensor, FilteredReader):
        return sensor.filter_counts
    notes = (sensor.attributes.get("notes") or {}) if isinstance(sensor, Recording) else {}
    return FilterCounts.from_dict(notes.get("filter_counts") or {})


def label_span(sensor: EventReader | Recording, span_us: tuple[int, int]) -> tuple[int, int]:
    """Time of the first event and of the last plus 1, whether filters left them in or not, µs: labels count from there.

    Args:
        sensor: the recording, gone through where it is read.
        span_us: of the events that are left.
    """
    end_us = filter_counts_of(sensor).end_us
    return (0, max(span_us[1], end_us)) if end_us else span_us


def seen_us(recording: Recording) -> npt.NDArray[np.int64]:
    """Every time at which somebody looked at a stored recording, also where they saw nothing, ascending, µs."""
    notes = recording.attributes.get("notes") or {}
    listed = [np.asarray(notes.get(key) or (), np.int64) for key in ("left_out_us", "looks_us")]
    return np.unique(np.concatenate((recording.boxes.t, *listed)))


def first_event_us(recording: Recording) -> int:
    """Time of a stored recording's first event, whether filters left it in or not, µs."""
    return label_span(recording, (recording.start_us, recording.end_us))[0]


def size_from(sensor: EventReader | Recording) -> str:
    """Who named the sensor's size: ``file``, ``given``, or nobody (``guessed``)."""
    if not isinstance(sensor, Recording):
        return sensor.size_from
    return str((sensor.attributes.get("notes") or {}).get("size_from", "file"))


def read_otherwise(recording: Recording, event_rules: Mapping[str, Any], size: Sequence[int] | None) -> bool:
    """Whether these rules and this size would give other events than those stored of the same file.

    Rules that would have cleaned the same events alike make no difference, and a file that names its sensor needs no
    size.
    """
    notes = recording.attributes.get("notes") or {}
    counts = EventCounts.from_dict(notes.get("event_counts") or {})
    if notes.get("event_rules") != event_rules and not EventRules(**event_rules).leave(counts):
        return True
    if notes.get("size_from", "file") == "file" or notes.get("size") == size:
        return False
    return size is None or list(size) != [recording.width, recording.height]


def origin_of(source: Source, files: Source) -> dict[str, Any]:
    """The identity of what would be stored, as it goes into the recording's notes.

    Args:
        source: as it was asked for.
        files: the same as it lies on this machine.

    Raises:
        RecordingError: a file cannot be read.
    """
    labels = None if files.labels is None else sha256_of_labels(files.labels)
    return _origin(source, sha256_of(files.events), labels)


def known_origin(source: Source, recording: Recording) -> dict[str, Any] | None:
    """The same without fetching anything, where ETags and sizes are those of the files it was made from."""
    notes = recording.attributes.get("notes") or {}
    if not source.versions or source.versions != notes.get("versions"):
        return None
    return _origin(source, recording.attributes["source_sha256"], notes.get("labels_sha256"))


def differences(recording: Recording, origin: Mapping[str, Any], classes: tuple[str, ...]) -> list[str]:
    """In what a stored recording is not what would be stored now, in words; empty where it is the same."""
    notes = recording.attributes.get("notes") or {}
    differ = []
    if recording.attributes["source_sha256"] != origin["source_sha256"]:
        differ.append("events file")
    other = read_otherwise(recording, origin["event_rules"], origin["size"])
    if (notes.get("reading") or {}) != origin["reading"] or other:
        differ.append("rules for events")
    if (notes.get("labels") is None) != (origin["labels"] is None):
        differ.append("label file")
    elif origin["labels"] is not None:
        if notes.get("labels_sha256") != origin["labels_sha256"]:
            differ.append("label file")
        if notes.get("rules") != origin["rules"]:
            differ.append("rules for labels")
        if recording.classes != classes:
            differ.append("classes")
    return differ


def accepted(recording: Recording, *, strict: bool) -> bool:
    """Whether it may stand for one converted now: what was made leniently, with something to say, is no strict one."""
    notes = recording.attributes.get("notes") or {}
    return not strict or bool(notes.get("strict", True)) or not notes.get("warnings")


def sha256_of(file: Path) -> str:
    """Digest of a file's bytes.

    Raises:
        RecordingError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with file.open("rb") as content:
            while block := content.read(_READ_BYTES):
                digest.update(block)
    except OSError as error:
        raise RecordingError(f"{file}: cannot be read ({reason(error)})") from error
    return digest.hexdigest()


def sha256_of_labels(labels: Path) -> str:
    """Digest of a label file; of the names and contents of all files that decide what it says, where those are more.

    Raises:
        RecordingError: one cannot be read.
    """
    files = files_read(labels)
    if files == [labels]:
        return sha256_of(labels)
    return hashlib.sha256("".join(f"{file.name}\0{sha256_of(file)}\n" for file in files).encode()).hexdigest()


def _origin(source: Source, events_sha256: str, labels_sha256: str | None) -> dict[str, Any]:
    return {
        "source_sha256": events_sha256,
        "reading": reading_of(source),
        "event_rules": source.event_rules.as_dict(),
        "size": None if source.size is None else list(source.size),
        "versions": source.versions,
        "labels": None if source.labels is None else source.address(source.labels),
        "labels_sha256": labels_sha256,
        "rules": source.rules.noted(),
    }
