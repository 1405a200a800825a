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

from spikeyolo.errors import RecordingError
from spikeyolo.events.conversion.convert import copy_events, exclusive, labels_of, sha256_of
from spikeyolo.events.datasets import Source
from spikeyolo.events.formats import open_recording
from spikeyolo.events.store import RecordingWriter
from spikeyolo.events.store.recording import Cache, ChunkCache, Recording
from spikeyolo.events.types import Boxes

log = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]


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


def check_labels(sources: Sequence[Source], *, store: Path | str, classes: Sequence[str]) -> None:
    """Read the label files of recordings that are not in the store yet, before hours are spent on converting them.

    Raises:
        RecordingError: an events file cannot be opened as what it claims to be.
        LabelError: a label file does not fit its sensor or the class list.
    """
    for source in sources:
        if source.labels is not None and not stored_path(source, Path(store)).exists():
            labels_of(source, tuple(classes), open_recording(source.events, strict=True), None)


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

        def events_so_far(count: int, share: float, done: int = done, title: str = title) -> None:
            if progress is not None:
                progress(done - 1, len(missing), f"{title}: {100 * share:.0f} %, {count / 1e6:.1f} M events")

        _convert_once(source, path, events_so_far)
        if progress is not None:
            progress(done, len(missing), title)
    prepared, totals = [], Counter[str]()
    for source, path in zip(sources, paths):
        recording = Recording.open(path)
        labels = None
        if source.labels is not None:
            labels = labels_of(source, tuple(classes), recording, (recording.start_us, recording.end_us))
        counts = {} if labels is None else labels.counts
        totals.update(counts)
        boxes = None if labels is None else labels.boxes
        prepared.append(PreparedRecording(path, source, boxes, tuple(classes), counts))
    touched = {rule: count for rule, count in totals.items() if count and rule not in ("in_file", "kept")}
    if touched:
        rules = ", ".join(f"{rule} {count}" for rule, count in sorted(touched.items()))
        log.info("%s: %d of %d boxes kept (%s)", sources[0].split, totals["kept"], totals["in_file"], rules)
    return prepared


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


def _convert_once(source: Source, path: Path, progress: Callable[[int, float], None]) -> None:
    with exclusive(path):
        if path.exists():  # another process was faster
            return
        reader = open_recording(source.events, strict=True)
        with RecordingWriter(
            path,
            width=reader.width,
            height=reader.height,
            source=str(source.events),
            source_sha256=sha256_of(source.events),
            time_offset_us=reader.time_offset_us,
        ) as writer:
            copy_events(reader, writer, progress=progress)
            writer.seal()
    log.info("%s → %s", source.events, path)
