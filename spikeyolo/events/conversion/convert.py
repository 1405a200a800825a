"""Converting one recording into the store with its labels: skipped where it is finished, all or nothing otherwise."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from spikeyolo.errors import LabelError, RecordingError
from spikeyolo.events.conversion.abandoned import TOKEN_BYTES
from spikeyolo.events.conversion.identity import (
    accepted,
    differences,
    known_origin,
    label_span,
    open_source,
    origin_of,
    reading_notes,
    size_from,
)
from spikeyolo.events.conversion.manifest import Published, entry_of, publish, read_one
from spikeyolo.events.conversion.places import exclusive
from spikeyolo.events.conversion.remote_files import fetched
from spikeyolo.events.datasets import Source
from spikeyolo.events.filters import restricted
from spikeyolo.events.formats import EventReader
from spikeyolo.events.labels import Labels, read_boxes
from spikeyolo.events.store import Recording, RecordingWriter
from spikeyolo.events.store.attributes import OlderFormatError
from spikeyolo.events.store.location import is_remote, parent

log = logging.getLogger(__name__)

Progress = Callable[[int, float], None]
Status = Literal["converted", "verified", "repaired"]
TOOLS = ("spikeyolo", "zarr", "numcodecs", "numpy", "h5py")


@dataclass(frozen=True)
class Conversion:
    """One recording to convert.

    Attributes:
        source: the files, and how their labels are cleaned.
        place: folder or URL of the stored recording; in a remote store, what its prefix begins with.
        classes: names, in the order of class ids.
        strict: a damaged file is an error; otherwise what can be read of it is kept, with a warning.
        replace: convert anew what was made from other files or with other rules.
        root: the set that it becomes part of; None for the folder in which it lies.
    """

    source: Source
    place: Path | str
    classes: tuple[str, ...]
    strict: bool = True
    replace: bool = False
    root: Path | str | None = None

    @property
    def set(self) -> Path | str:
        """Folder or URL of the set."""
        return parent(self.place) if self.root is None else self.root

    @property
    def name(self) -> str:
        """The recording's name in the set's manifest."""
        return str(self.place)[len(str(self.set)) + 1 :].replace("\\", "/")


@dataclass(frozen=True)
class _Found:
    """What stands in the manifest, or locally at the place, when a conversion begins."""

    published: Published | None
    recording: Recording | None = None
    damaged: bool = False


def convert(conversion: Conversion, *, progress: Progress | None = None) -> tuple[Status, dict[str, Any]]:
    """Convert a recording, or verify that it has been, and put it into its set's manifest.

    Args:
        progress: called with the number of events so far and the share of the file read, after each batch.

    Returns:
        What was done, and the recording's entry of the manifest.

    Raises:
        RecordingError: the events file is damaged, the store cannot be written, or holds another recording there.
        LabelError: the label file does not fit.
    """
    with exclusive(conversion.place):
        found = _find(conversion)
        known = None if found.recording is None else known_origin(conversion.source, found.recording)
        if known is not None and _is_finished(conversion, found, known):
            return "verified", _published(conversion, found)
        with fetched(conversion.source) as files:
            origin = origin_of(conversion.source, files)
            if known is None and _is_finished(conversion, found, origin):
                return "verified", _published(conversion, found)
            repaired = (found.damaged or found.recording is not None) and not conversion.replace
            return _write(conversion, files, origin, found, "repaired" if repaired else "converted", progress)


def _write(
    conversion: Conversion,
    files: Source,
    origin: dict[str, Any],
    found: _Found,
    status: Status,
    progress: Progress | None,
) -> tuple[Status, dict[str, Any]]:
    """Convert from files that are on this machine."""
    source, place = conversion.source, conversion.place
    reader = open_source(files, strict=conversion.strict)
    if files.labels is not None:  # say what is wrong with them before the events are decoded
        labels_of(files, conversion.classes, reader, None)
    if is_remote(place):  # below a prefix of its own, which nobody reads before it is published
        place = f"{str(place).removesuffix('.zarr')}-{secrets.token_hex(TOKEN_BYTES)}.zarr"
    with RecordingWriter(
        place,
        width=reader.width,
        height=reader.height,
        classes=conversion.classes,
        source=source.address(source.events),
        source_sha256=origin["source_sha256"],
        time_offset_us=reader.time_offset_us,
        notes={
            **origin,
            "strict": conversion.strict,
            "tools": {name: _version(name) for name in TOOLS},
        },
        replace=found.damaged or found.recording is not None,
    ) as writer:
        copy_events(reader, writer, progress=progress)
        labels = None
        if files.labels is not None:
            labels = labels_of(files, conversion.classes, reader, writer.span_us)
            writer.set_boxes(labels.boxes)
        writer.note("boxes", {} if labels is None else labels.counts)
        writer.note("shared_track_ids", [] if labels is None else list(labels.shared_ids))
        writer.note("left_out_us", [] if labels is None else labels.left_out_us.tolist())
        if labels is not None and labels.looks_us is not None:
            writer.note("looks_us", labels.looks_us.tolist())
        writer.note("label_warnings", {} if labels is None else labels.warnings)
        for name, note in reading_notes(reader).items():
            writer.note(name, note)
        writer.seal()
    item = _item(conversion, Recording.open(place))
    if publish(conversion.set, conversion.name, item, instead=found.published):
        if is_remote(place) and found.published is not None:
            found.published.remove(conversion.set)  # no manifest names it any more
        return status, entry_of(item.attributes)
    item.remove(conversion.set)  # another job was faster
    other = _find(conversion)
    if other.recording is None or not _is_finished(conversion, other, origin):
        raise RecordingError(f"{conversion.place}: another job converts into the same set; start this one again")
    return "verified", _published(conversion, other)


def copy_events(reader: EventReader, writer: RecordingWriter, *, progress: Progress | None = None) -> None:
    """Copy all events of a file into an unsealed recording, in bounded memory.

    Args:
        progress: called with the number of events so far and the share of the file read, after each batch.

    Raises:
        RecordingError: the file is damaged, or the store cannot be written.
    """
    count = 0
    for events in reader.batches():
        writer.append(events)
        count += len(events)
        if progress is not None:
            progress(count, reader.share_read)


def labels_of(
    source: Source, classes: tuple[str, ...], sensor: EventReader | Recording, span_us: tuple[int, int] | None
) -> Labels:
    """The boxes of a source that has a label file, checked against its events.

    Raises:
        LabelError: the label file does not fit the recording or the class list.
    """
    assert source.labels is not None
    try:
        labels = read_boxes(
            source.labels,
            classes=classes,
            width=sensor.width,
            height=sensor.height,
            span_us=None if span_us is None else label_span(sensor, span_us),
            time_offset_us=sensor.time_offset_us,
            recording_clock=sensor.clock,
            rules=source.rules,
        )
    except LabelError as error:
        size = f"{sensor.width}x{sensor.height} px"
        if size_from(sensor) == "guessed" and size in str(error):
            advice = f"{size} is a guess, as the events file names no sensor: size=[WIDTH,HEIGHT], or data.size"
            raise LabelError(f"{error} ({advice})") from error
        raise
    return restricted(labels, source.filters, min_side_px=source.rules.min_side_px)


def _find(conversion: Conversion) -> _Found:
    """What is there already.

    Raises:
        RecordingError: it cannot be opened, and may not be replaced.
    """
    published = read_one(conversion.set, conversion.name)
    if is_remote(conversion.place):
        return _Found(published, None if published is None else published.open(conversion.set))
    if not Path(conversion.place).exists():
        return _Found(published)
    try:
        return _Found(published, Recording.open(conversion.place))
    except OlderFormatError as error:
        log.info("%s", error)
    except RecordingError as error:
        if not conversion.replace:
            raise RecordingError(f"{error}, with replace=true") from error
    return _Found(published, damaged=True)


def _is_finished(conversion: Conversion, found: _Found, origin: dict[str, Any]) -> bool:
    """Whether what was found is whole and what would be stored now; otherwise it is to be written.

    Raises:
        RecordingError: it is another recording, and may not be replaced.
    """
    recording = found.recording
    if recording is None:
        return False
    differ = differences(recording, origin, conversion.classes)
    if differ:
        if conversion.replace:
            return False
        raise RecordingError(
            f"{conversion.place}: was converted from other files, classes or rules ({recording.attributes['source']}; "
            f"its {', '.join(differ)} differ); expected another out, or replace=true"
        )
    if not accepted(recording, strict=conversion.strict):
        log.info("%s: was converted with strict=false; converted again", conversion.place)
        return False
    try:
        if is_remote(conversion.place):  # reading it all would fetch it all
            recording.check_files()
        else:
            recording.verify()
    except RecordingError as error:
        log.warning("%s", error)
        return False
    return True


def _published(conversion: Conversion, found: _Found) -> dict[str, Any]:
    """The manifest's entry of a recording that was finished before; its split is that of this conversion."""
    assert found.recording is not None
    item = _item(conversion, found.recording)
    if found.published != item:
        publish(conversion.set, conversion.name, item, instead=found.published)
    return entry_of(item.attributes)


def _item(conversion: Conversion, recording: Recording) -> Published:
    stored = str(recording.path)[len(str(conversion.set)) + 1 :].replace("\\", "/")
    group = recording.group if is_remote(recording.path) else None
    return Published(conversion.source.split, stored, recording.attributes, group)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"
