"""Converting one recording into the store with its labels: skipped where it is finished, all or nothing otherwise."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from spikeyolo.errors import RecordingError
from spikeyolo.events.conversion.remote_files import fetched
from spikeyolo.events.datasets import Source
from spikeyolo.events.formats import EventReader, open_recording
from spikeyolo.events.labels import Labels, read_boxes
from spikeyolo.events.store import Recording
from spikeyolo.events.store.attributes import NewerFormatError
from spikeyolo.events.store.location import child, is_remote, reason
from spikeyolo.events.store.writer import RecordingWriter, remove_abandoned

log = logging.getLogger(__name__)

Progress = Callable[[int, float], None]
Status = Literal["converted", "verified", "repaired"]
TOOLS = ("spikeyolo", "zarr", "numcodecs", "numpy", "h5py")
_READ_BYTES = 1 << 22


@dataclass(frozen=True)
class Conversion:
    """One recording to convert.

    Attributes:
        source: the files, and how their labels are cleaned.
        place: folder or URL of the stored recording.
        classes: names, in the order of class ids.
        strict: a damaged file is an error; otherwise what can be read of it is kept, with a warning.
        replace: convert anew what was made from other files or with other rules.
    """

    source: Source
    place: Path | str
    classes: tuple[str, ...]
    strict: bool = True
    replace: bool = False


def convert(conversion: Conversion, *, progress: Progress | None = None) -> tuple[Status, dict[str, Any]]:
    """Convert a recording, or verify that it has been.

    Args:
        progress: told how many events there are so far, and the share of the file read, after each batch.

    Returns:
        What was done, and the recording's entry of the manifest.

    Raises:
        RecordingError: the events file is damaged, the store cannot be written, or holds another recording there.
        LabelError: the label file does not fit.
    """
    with fetched(conversion.source) as files:
        origin = _origin(conversion.source, files)
        with exclusive(conversion.place):
            return _convert(conversion, files, origin, progress)


def _convert(
    conversion: Conversion, files: Source, origin: dict[str, Any], progress: Progress | None
) -> tuple[Status, dict[str, Any]]:
    """Convert from files that are on this machine."""
    source, place = conversion.source, conversion.place
    finished = _finished(conversion, origin)
    if finished is True:
        return "verified", entry_of(Recording.open(place))
    status: Status = "repaired" if finished is False and not conversion.replace else "converted"
    reader = open_recording(files.events, strict=conversion.strict)
    if files.labels is not None:  # say what is wrong with them before the events are decoded
        labels_of(files, conversion.classes, reader, None)
    with RecordingWriter(
        place,
        width=reader.width,
        height=reader.height,
        classes=conversion.classes,
        source=source.address(source.events),
        source_sha256=origin["source_sha256"],
        time_offset_us=reader.time_offset_us,
        notes={**origin, "format": reader.format, "tools": {name: _version(name) for name in TOOLS}},
        replace=finished is False,
    ) as writer:
        copy_events(reader, writer, progress=progress)
        labels = None
        if files.labels is not None:
            labels = labels_of(files, conversion.classes, reader, writer.span_us)
            writer.set_boxes(labels.boxes)
        writer.note("boxes", {} if labels is None else labels.counts)
        writer.note("warnings", list(reader.warnings))
        writer.note("dropped_events", reader.dropped_events)
        writer.seal()
    return status, entry_of(Recording.open(place))


def copy_events(reader: EventReader, writer: RecordingWriter, *, progress: Progress | None = None) -> None:
    """Copy all events of a file into an unsealed recording, in bounded memory.

    Args:
        progress: told how many events there are so far, and the share of the file read, after each batch.

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
    return read_boxes(
        source.labels,
        classes=classes,
        width=sensor.width,
        height=sensor.height,
        span_us=span_us,
        time_offset_us=sensor.time_offset_us,
        rules=source.rules,
    )


def entry_of(recording: Recording) -> dict[str, Any]:
    """What the manifest says of a stored recording."""
    attributes = recording.attributes
    notes = attributes.get("notes", {})
    return {
        "source": attributes["source"],
        "source_sha256": attributes["source_sha256"],
        "source_format": notes.get("format"),
        "events": recording.num_events,
        "start_us": recording.start_us,
        "end_us": recording.end_us,
        "time_offset_us": recording.time_offset_us,
        "width": recording.width,
        "height": recording.height,
        "classes": list(recording.classes),
        "labelled": recording.labelled,
        "labels": notes.get("labels"),
        "labels_sha256": notes.get("labels_sha256"),
        "rules": notes.get("rules"),
        "boxes": notes.get("boxes", {}),
        "warnings": notes.get("warnings", []),
        "dropped_events": notes.get("dropped_events", 0),
        "digest": attributes["digest"],
        "format_version": attributes["format_version"],
        "tools": notes.get("tools", {}),
    }


@contextmanager
def exclusive(place: Path | str) -> Iterator[None]:
    """Hold the lock of a place in a local store, and clear what killed processes left there; remote places have none.

    Raises:
        RecordingError: the store's folder cannot be written.
    """
    if is_remote(place):
        yield
        return
    path = Path(place)
    locks = path.parent / ".locks"
    try:
        locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(locks / f"{path.name}.lock")
        lock.acquire()
    except OSError as error:
        raise RecordingError(f"{path.parent}: the store cannot be written ({reason(error)})") from error
    try:
        remove_abandoned(path)
        yield
    finally:
        lock.release()


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


def place_of(source: Source, out: Path | str) -> Path | str:
    """Where a converted data set keeps this recording: ``out/split/NAME.zarr``, or ``out/NAME.zarr``."""
    name = re.sub(r"[^A-Za-z0-9._/-]+", "-", source.name).strip("-./") or "recording"
    if source.split and not name.startswith((f"{source.split}/", f"{source.split}_")):
        name = f"{source.split}/{name}"
    return child(out, f"{name}.zarr")


def _origin(source: Source, files: Source) -> dict[str, Any]:
    """What decides a stored recording's contents; ``files`` is the source as it lies on this machine."""
    rules = asdict(source.rules)
    if rules["class_map"] is not None:
        rules["class_map"] = {str(key): name for key, name in rules["class_map"].items()}
    return {
        "source_sha256": sha256_of(files.events),
        "labels": None if source.labels is None else source.address(source.labels),
        "labels_sha256": None if files.labels is None else sha256_of(files.labels),
        "rules": rules,
    }


def _finished(conversion: Conversion, origin: dict[str, Any]) -> bool | None:
    """True: there, whole and of this origin; False: to be replaced; None: not there."""
    place = conversion.place
    if not is_remote(place) and not Path(place).exists():
        return None
    try:
        recording = Recording.open(place)
    except RecordingError as error:
        if is_remote(place) and not isinstance(error, NewerFormatError):
            return None
        if conversion.replace:
            return False
        raise RecordingError(f"{error}, with replace=true") from error
    notes = recording.attributes.get("notes", {})
    same = recording.attributes["source_sha256"] == origin["source_sha256"] and all(
        notes.get(key) == origin[key] for key in (("labels_sha256", "rules") if origin["labels"] else ("labels",))
    )
    if conversion.source.labels is not None:
        same = same and recording.classes == conversion.classes
    if not same:
        if conversion.replace:
            return False
        raise RecordingError(
            f"{place}: was converted from other files, classes or rules ({recording.attributes['source']}); "
            "expected another out, or replace=true"
        )
    try:
        recording.verify()
    except RecordingError as error:
        log.warning("%s", error)
        return False
    return True


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"
