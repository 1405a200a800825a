"""Converting a data set's recordings into training's store on first use, and finding them again afterwards.

They are converted as ``spikeyolo.convert`` converts them, but without labels: events are decoded once for each file
(its path, size, time of change and how it is read make the key), labels are read from their file every time, because
the class list and the rules may differ from run to run and reading them costs little.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spikeyolo.errors import RecordingError
from spikeyolo.events.cleaning import EventCounts
from spikeyolo.events.conversion.convert import Conversion, labels_of
from spikeyolo.events.conversion.identity import filter_counts_of, open_source
from spikeyolo.events.conversion.places import stored_path
from spikeyolo.events.conversion.pool import Outcome, Running, convert_all
from spikeyolo.events.datasets import Source
from spikeyolo.events.filters import FilterCounts
from spikeyolo.events.labels import without_common_ids
from spikeyolo.events.store import Recording
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
        warnings: what is suspicious about its label file, by kind.
        left_out_us: label times of which rules left out every box, ``[N]`` int64, µs.
        looks_us: times at which its label file says what is to be seen, ``[L]`` int64, µs; None: it lists no looks.
    """

    path: Path
    source: Source
    boxes: Boxes | None
    classes: tuple[str, ...]
    counts: dict[str, int] = field(default_factory=dict)
    warnings: dict[str, str] = field(default_factory=dict)
    left_out_us: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    looks_us: npt.NDArray[np.int64] | None = None

    def open(self) -> Recording:
        """The stored events under this run's labels."""
        return Recording.open(self.path).with_boxes(self.boxes, self.classes)


def check_labels(sources: Sequence[Source], *, store: Path | str, classes: Sequence[str]) -> None:
    """Read the label files of recordings that are not in the store yet, before hours are spent on converting them.

    Raises:
        RecordingError: an events file cannot be opened as what it claims to be.
        LabelError: a label file does not fit its sensor or the class list.
    """
    for source in sources:
        if source.labels is not None and not stored_path(source, Path(store)).exists():
            labels_of(source, tuple(classes), open_source(source, strict=True), None)


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
        progress: called with ``(done, total, text)`` while recordings are converted, and after each.

    Raises:
        RecordingError: an events file is not what it should be, or the store cannot be written.
        LabelError: a label file does not fit its recording or the class list.
    """
    folder = Path(store)
    paths = [stored_path(source, folder) for source in sources]
    # A file may serve two splits, each with a part of it: its recording belongs to neither.
    whole = [
        replace(item, labels=None, split=item.split if item.start_us is item.end_us is None else "") for item in sources
    ]
    missing = [Conversion(source, path, ()) for source, path in zip(whole, paths) if not path.exists()]
    _convert(missing, folder, progress)
    paths = [stored_path(source, folder) for source in sources]
    read, cleaned, filtered = [], [], FilterCounts()
    for source, path in zip(sources, paths):
        recording = Recording.open(path)
        events = EventCounts.from_dict((recording.attributes.get("notes") or {}).get("event_counts") or {})
        if not events.clean:
            cleaned.append(events)
        filtered += filter_counts_of(recording)
        span_us = (recording.start_us, recording.end_us)
        read.append(None if source.labels is None else labels_of(source, tuple(classes), recording, span_us))
    totals, shared = Counter[str](), {id_ for labels in read if labels is not None for id_ in labels.shared_ids}
    prepared = []
    for source, path, labels in zip(sources, paths, read):
        if labels is None:
            prepared.append(PreparedRecording(path, source, None, tuple(classes)))
            continue
        totals.update(labels.counts)
        boxes = without_common_ids(labels.boxes, shared)
        prepared.append(
            PreparedRecording(
                path, source, boxes, tuple(classes), labels.counts, labels.warnings, labels.left_out_us, labels.looks_us
            )
        )
    touched = {rule: count for rule, count in totals.items() if count and rule not in ("in_file", "kept")}
    if cleaned:
        found = sum(cleaned, EventCounts()).words()
        log.warning("%s: %d recordings are cleaned: %s", sources[0].split, len(cleaned), found)
    if filtered.words():
        log.info("%s: %s", sources[0].split, filtered.words())
    if touched:
        rules = ", ".join(f"{rule} {count}" for rule, count in sorted(touched.items()))
        log.info("%s: %d of %d boxes kept (%s)", sources[0].split, totals["kept"], totals["in_file"], rules)
    return prepared


def _convert(missing: Sequence[Conversion], folder: Path, progress: Progress | None) -> None:
    """Convert them all, or none after the first that cannot be: no training begins without it.

    Where another training has stored the same file under other event rules meanwhile, this one's place is another.
    """
    done, elsewhere = 0, []

    def finished(outcome: Outcome) -> None:
        nonlocal done
        if outcome.status == "failed":
            place = stored_path(outcome.conversion.source, folder)
            if place == outcome.conversion.place:
                raise RecordingError(outcome.error)
            elsewhere.append(replace(outcome.conversion, place=place))
            return
        done += 1
        source = outcome.conversion.source
        log.info("%s → %s", source.events, outcome.conversion.place)
        if progress is not None:
            progress(done, len(missing), f"converting {source.name}")

    def watch(running: Sequence[Running]) -> None:
        busy = [item for item in running if item.events >= 0]
        if progress is not None and busy:
            texts = (
                f"{missing[item.index].source.name}: {100 * item.share:.0f} %, {item.events / 1e6:.1f} M events"
                for item in busy
            )
            progress(done, len(missing), f"converting {'; '.join(texts)}")

    convert_all(missing, workers=None, finished=finished, watch=watch)
    if elsewhere:
        _convert(elsewhere, folder, progress)
