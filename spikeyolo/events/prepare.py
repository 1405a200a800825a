"""Converting a data set's recordings into the store on first use, and finding them again afterwards.

Events are decoded once for each file (its path, size and time of change make the key); labels are read from their
file every time, because the class list and the rules may differ from run to run and reading them costs little.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from spikeyolo.errors import RecordingError
from spikeyolo.events.datasets import Source
from spikeyolo.events.formats import EventReader, open_recording
from spikeyolo.events.labels import Labels, read_boxes
from spikeyolo.events.store import Cache, ChunkCache, Recording
from spikeyolo.events.types import Boxes
from spikeyolo.events.writer import RecordingWriter, remove_abandoned

log = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]
_READ_BYTES = 1 << 22


@dataclass(frozen=True, eq=False)
class PreparedRecording:
    """A recording in the store, with the labels of this run.

    Attributes:
        path: where it is stored.
        source: what it was made from.
        boxes: its labels in the order of time; None where it has no label file.
        classes: names, in the order of class ids.
        counts: boxes in the file, kept, clipped, and dropped by each rule.
    """

    path: Path
    source: Source
    boxes: Boxes | None
    classes: tuple[str, ...]
    counts: dict[str, int] = field(default_factory=dict)

    def open(self, *, cache: Cache = "none", chunks: ChunkCache | None = None) -> Recording:
        """The stored events under this run's labels."""
        return Recording.open(self.path, cache=cache, chunks=chunks).with_boxes(self.boxes, self.classes)


def prepare(
    sources: Sequence[Source],
    *,
    store: Path | str,
    classes: Sequence[str],
    progress: Progress | None = None,
) -> list[PreparedRecording]:
    """Convert what is not in the store yet, and read the labels of all.

    Several processes may prepare the same store at once: each recording is converted by one of them.

    Args:
        sources: of one split.
        store: folder of the stored recordings.
        classes: names, in the order of class ids.
        progress: told ``(done, total, text)`` while recordings are converted, and after each.

    Raises:
        RecordingError: an events file is not what it should be, or the store cannot be written.
        LabelError: a label file does not fit its recording or the class list.
    """
    folder = Path(store)
    paths = [stored_path(source, folder) for source in sources]
    missing = [(source, path) for source, path in zip(sources, paths) if not path.exists()]
    for done, (source, path) in enumerate(missing, start=1):
        title = f"converting {source.name}"

        def events_so_far(count: int, done: int = done, title: str = title) -> None:
            if progress is not None:
                progress(done - 1, len(missing), f"{title}: {count / 1e6:.1f} M events")

        _convert_once(source, path, events_so_far)
        if progress is not None:
            progress(done, len(missing), title)
    prepared, totals = [], Counter[str]()
    for source, path in zip(sources, paths):
        recording = Recording.open(path)
        labels = read_labels(source, recording, classes)
        counts = labels.counts if labels is not None else {}
        totals.update(counts)
        boxes = None if labels is None else labels.boxes
        prepared.append(PreparedRecording(path, source, boxes, tuple(classes), counts))
    touched = {rule: count for rule, count in totals.items() if count and rule not in ("in_file", "kept")}
    if touched:
        rules = ", ".join(f"{rule} {count}" for rule, count in sorted(touched.items()))
        log.info("%s: %d of %d boxes kept (%s)", sources[0].split, totals["kept"], totals["in_file"], rules)
    return prepared


def read_labels(source: Source, recording: Recording, classes: Sequence[str]) -> Labels | None:
    """The boxes of a source, checked against its stored recording; None where it has no label file.

    Raises:
        LabelError: the label file does not fit the recording or the class list.
    """
    if source.labels is None:
        return None
    return read_boxes(
        source.labels,
        classes=classes,
        width=recording.width,
        height=recording.height,
        span_us=(recording.start_us, recording.end_us),
        time_offset_us=recording.time_offset_us,
        rules=source.rules,
    )


def stored_path(source: Source, folder: Path) -> Path:
    """Where the store keeps this file: its name, and a digest of its path, size and time of change.

    Raises:
        RecordingError: there is no such file.
    """
    file = source.events.resolve()
    try:
        stat = file.stat()
    except OSError as error:
        raise RecordingError(f"{source.events}: no such recording ({error.strerror})") from error
    key = hashlib.sha256(f"{file}\0{stat.st_size}\0{stat.st_mtime_ns}".encode()).hexdigest()[:12]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", file.stem).strip("-.") or "recording"
    return folder / f"{name}-{key}.zarr"


def convert_events(
    reader: EventReader, writer: RecordingWriter, *, progress: Callable[[int], None] | None = None
) -> int:
    """Copy all events of a file into an unsealed recording, in bounded memory.

    Args:
        progress: told how many events there are so far, after each batch.

    Returns:
        How many events there were.

    Raises:
        RecordingError: the file is damaged, or the store cannot be written.
    """
    count = 0
    for events in reader.batches():
        writer.append(events)
        count += len(events)
        if progress is not None:
            progress(count)
    return count


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
        raise RecordingError(f"{file}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()


def _convert_once(source: Source, path: Path, progress: Callable[[int], None]) -> None:
    locks = path.parent / ".locks"
    try:
        locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(locks / f"{path.name}.lock")
        lock.acquire()
    except OSError as error:
        raise RecordingError(f"{path.parent}: the store cannot be written ({error.strerror or error})") from error
    with lock:
        lock.release()
        if path.exists():  # another process was faster
            return
        remove_abandoned(path)
        reader = open_recording(source.events, strict=True)
        with RecordingWriter(
            path,
            width=reader.width,
            height=reader.height,
            source=str(source.events),
            source_sha256=sha256_of(source.events),
            time_offset_us=reader.time_offset_us,
        ) as writer:
            convert_events(reader, writer, progress=progress)
            writer.seal()
    log.info("%s → %s", source.events, path)
