"""Labels as their files have them: also those that training refuses, so that it can be told what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from spikeyolo.diagnosis.sampled import SampledFiles, SampledStore
from spikeyolo.errors import LabelError
from spikeyolo.events.conversion.convert import labels_of
from spikeyolo.events.conversion.identity import label_span
from spikeyolo.events.conversion.prepare import prepare
from spikeyolo.events.datasets import Source
from spikeyolo.events.labels import LabelCorrection, read_boxes
from spikeyolo.events.labels.classes import names_by_id
from spikeyolo.events.labels.clock import EventsClock
from spikeyolo.events.labels.formats.readers import read_rows
from spikeyolo.events.labels.units import TimeUnit, meant_unit
from spikeyolo.events.splits import Role
from spikeyolo.events.store import Recording
from spikeyolo.events.types import Boxes
from spikeyolo.windows.data import EventData, Progress
from spikeyolo.windows.shown import stored_unit

_ANY_FRAME = 1 << 20  # px: no box is cut at its edge
_ANY_TIME = 1 << 40  # µs


@dataclass(frozen=True, eq=False)
class Written:
    """One recording and its labels as written.

    Attributes:
        name: what messages call it.
        recording: its events.
        boxes: neither cut at the frame's edge nor refused where they lie outside the recording; None: no label file.
        counts: boxes in the file, kept, and dropped by each rule, as training reads it; empty where it refuses.
        refusal: why training refuses the file; empty where it does not.
        named: classes that its boxes are of, where all of them are left out as not selected; else empty.
        unit: that its label times must be in, where they are read as in another; None: no other fits so much better.
    """

    name: str
    recording: Recording
    boxes: Boxes | None
    counts: dict[str, int] = field(default_factory=dict)
    refusal: str = ""
    named: tuple[str, ...] = ()
    unit: TimeUnit | None = None


def written(data: EventData, sample: SampledFiles | SampledStore, role: Role, progress: Progress) -> list[Written]:
    """The recordings of a role, converted where they are not yet.

    Raises:
        RecordingError: an events file is not what it should be.
        ConfigError: the class list has a name that the files have not.
    """
    if isinstance(sample, SampledStore):
        return [
            Written(part.name, part.recording, part.boxes, {"kept": len(part.inside)}, unit=stored_unit(part))
            for part in data.parts(role, progress=progress)
        ]
    sources = sample.sources(role)
    bare = [replace(source, labels=None) for source in sources]
    prepared = prepare(bare, store=data.store, classes=data.classes, progress=progress)
    return [_read(source, Recording.open(item.path), data.classes) for source, item in zip(sources, prepared)]


def _read(source: Source, recording: Recording, classes: tuple[str, ...]) -> Written:
    if source.labels is None:
        return Written(source.name, recording, None)
    counts: dict[str, int] = {}
    refusal = ""
    span_us = (recording.start_us, recording.end_us)
    try:
        counts = labels_of(source, classes, recording, span_us).counts
    except LabelError as error:
        refusal = str(error)
    try:
        boxes = _uncut(source, recording, classes)
    except LabelError as error:
        refusal = refusal or str(error)
        boxes = Boxes.empty()
    unselected = bool(counts.get("dropped_class_not_kept")) and not counts.get("kept")
    named = _names(source) if unselected else ()
    return Written(source.name, recording, boxes, counts, refusal, named, _unit(source, recording))


def _unit(source: Source, recording: Recording) -> TimeUnit | None:
    """That the times of a label file must be in, if it is not the one they are read in."""
    assert source.labels is not None
    rules = source.rules
    span_us = label_span(recording, (recording.start_us, recording.end_us))
    try:
        rows = read_rows(source.labels)
        clock = EventsClock(
            label_clock=rules.label_clock,
            source=str(source.labels),
            start_us=span_us[0],
            time_offset_us=recording.time_offset_us,
            recording_clock=recording.clock,
            shift_us=0 if rules.correction is None else rules.correction.time_shift_us,
        )
        if (rules.frame_us or rows.frame_us) is not None:
            return None
        unit = rules.time_unit or rows.time_unit or "us"
        return meant_unit(rows.t, unit, span_us=span_us, tolerance_us=rules.time_tolerance_us, on_clock=clock.of)
    except LabelError:
        return None


def _names(source: Source) -> tuple[str, ...]:
    """Of the classes that a label file's boxes are of, as training would call them."""
    assert source.labels is not None
    rows, renamed = read_rows(source.labels), source.rules.class_map or {}
    by_id = names_by_id(source.rules.names) or rows.names or {}
    found: dict[str, None] = {}
    for value in np.unique(rows.category).tolist():
        name: str | None = value if isinstance(value, str) else by_id.get(value)
        name = renamed[value] if value in renamed else renamed.get(name or "", name)
        if name:
            found[name] = None
    return tuple(found)


def _uncut(source: Source, recording: Recording, classes: tuple[str, ...]) -> Boxes:
    assert source.labels is not None
    correction = source.rules.correction or LabelCorrection()
    unit = source.rules.box_unit or read_rows(source.labels).box_unit
    real = unit == "frame" or correction.flip != "none"
    if unit != "frame" and correction.scale is None:
        correction = replace(correction, scale=(1.0, 1.0))  # of whatever frame its images are
    rules = replace(
        source.rules,
        drop_invalid_boxes=True,
        min_side_px=0.0,
        min_diagonal_px=0.0,
        max_width_fraction=1.0,
        time_tolerance_us=_ANY_TIME,
        correction=correction,
    )
    return read_boxes(
        source.labels,
        classes=classes,
        width=recording.width if real else _ANY_FRAME,
        height=recording.height if real else _ANY_FRAME,
        span_us=label_span(recording, (recording.start_us, recording.end_us)),
        time_offset_us=recording.time_offset_us,
        recording_clock=recording.clock,
        rules=rules,
    ).boxes
