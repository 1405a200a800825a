"""What is drawn over a recording: its labels, and the rows of tables that are its own."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from spikeyolo.detections import DetectionTable
from spikeyolo.detections.table import RowTimes, read_metadata
from spikeyolo.errors import ConfigError, DetectionError
from spikeyolo.events.conversion.identity import label_span, seen_us
from spikeyolo.events.filters import restricted
from spikeyolo.events.labels import ClassSelection, LabelRules, read_boxes, warn_once
from spikeyolo.events.labels.formats.readers import read_rows
from spikeyolo.events.types import Boxes
from spikeyolo.viewing.footage import Footage, Span

TrackIds = Literal["kept", "none", "needed"]

_LOOKS_AROUND = 20  # before and after the part that is shown: how long a box is seen depends on its neighbours

log = logging.getLogger("spikeyolo")


@dataclass(frozen=True, eq=False)
class Overlay:
    """Boxes of the recording, with the names of their classes.

    Attributes:
        boxes: on the clock of its events.
        classes: names, in the order of class ids.
        look_us: ``[L]`` int64, times at which somebody looked, with or without a box.
    """

    boxes: Boxes
    classes: Sequence[str]
    look_us: npt.NDArray[np.int64]


def label_overlay(
    footage: Footage, span: Span, labels: Path | None, classes: Sequence[str] | None, rules: LabelRules
) -> Overlay | None:
    """The labels of a recording: of the file named, beside it, or stored with it; None where there are none.

    Args:
        footage, span: the recording.
        labels: the label file; None takes what comes with the recording.
        classes: those that are shown, by name, or by their ids where nobody names them; None shows all.
        rules: how they are cleaned.

    Raises:
        LabelError: the file is none of labels, or of another recording.
        ConfigError: the classes are none of the file's.
    """
    if labels is None and footage.stored is not None:
        if not footage.stored.labelled:
            return None
        boxes = footage.stored.boxes
        return of_classes(Overlay(boxes, footage.stored.classes, seen_us(footage.stored)), classes, footage.address)
    path = labels or footage.labels
    if path is None:
        return None
    names = tuple(classes) if classes is not None else classes_of(path, rules)
    events_us = (span.start_us, span.end_us)
    found = read_boxes(
        path,
        classes=names,
        width=footage.width,
        height=footage.height,
        span_us=events_us if footage.sensor is None else label_span(footage.sensor, events_us),
        time_offset_us=footage.time_offset_us,
        recording_clock=footage.clock,
        rules=rules,
    )
    warn_once([(path, found.warnings)])
    found = restricted(found, footage.filters)
    dropped = ", ".join(f"{count} {rule}" for rule, count in found.dropped.items())
    log.info("%s: %d boxes%s", path, len(found.boxes), f"; left out: {dropped}" if dropped else "")
    return Overlay(found.boxes, names, found.seen_us)


def check_label_rules(footage: Footage, labels: str | None, given: Set[str]) -> None:
    """Refuse rules of cleaning labels, where boxes are taken as they are: those of a table, and those stored.

    Args:
        footage: the recording.
        labels: the file named; None for those that come with the recording.
        given: keys that the command line has.

    Raises:
        ConfigError: a rule would have no effect.
    """
    rules = sorted(key for key in given if key.startswith("label_rules."))
    if labels is None and footage.stored is not None and footage.stored.labelled:
        taken = f"the labels stored with {footage.address}, which are taken as they were converted"
    elif labels is not None and labels.endswith(".parquet"):
        taken = f"the table {labels}, whose boxes are taken as they are"
    else:
        return
    if rules:
        raise ConfigError(f"{rules[0]}: found beside {taken}; expected labels=FILE, that they were made from")


def of_classes(overlay: Overlay, classes: Sequence[str] | None, source: str) -> Overlay:
    """The boxes of some classes, by name; the times at which somebody looked stay.

    Args:
        overlay: whose boxes are chosen from.
        classes: names; None takes all.
        source: where the boxes are from.

    Raises:
        ConfigError: a name is none of its classes.
    """
    if classes is None:
        return overlay
    known = list(overlay.classes)
    unknown = [name for name in classes if name not in known]
    if unknown:
        raise ConfigError(
            f"classes: found {', '.join(unknown)}; expected some of {', '.join(known) or 'none'}, which {source} has"
        )
    chosen = np.isin(overlay.boxes.class_id, [known.index(name) for name in classes])
    return replace(overlay, boxes=overlay.boxes[chosen])


def classes_of(path: Path, rules: LabelRules) -> tuple[str, ...]:
    """Names of all classes in a label file: its own, those of the rules, or the ids where nobody names them.

    Raises:
        LabelError: it is no file of labels.
    """
    rows = read_rows(path)
    named = ClassSelection((), rules, names=rows.names, first_id=rows.first_class).known
    if named:
        return named
    if rows.category.dtype.kind == "U":
        return tuple(np.unique(rows.category).tolist())
    ids = rows.category[np.isfinite(rows.category)] if rows.category.dtype.kind == "f" else rows.category
    last = int(ids.max(initial=rows.first_class))
    return tuple(str(k) for k in range(rows.first_class, last + 1))


def table_overlay(
    footage: Footage,
    span: Span,
    path: Path,
    *,
    recording: str | None,
    min_score: float,
    ids: TrackIds,
    before_us: float = 0.0,
) -> Overlay:
    """The rows of a table that belong to a recording, at the times that are shown and some around them.

    Args:
        footage, span: the recording.
        path: of the table.
        recording: what the table calls it; None takes the recording's own name, or the only one there is.
        min_score: rows of a lower score are left out.
        ids: of tracks: ``kept``; ``none``, they are forgotten; ``needed``, only rows that have one are taken.
        before_us: what so long before the part that is shown is still seen in it, µs.

    Raises:
        DetectionError: the table cannot be read, is of other recordings, or has no tracks.
    """
    every = RowTimes.read(path)
    made = read_metadata(path)
    silent = _silent(every.recordings, made, footage, recording)
    if silent or (ids == "needed" and made.get("tracker") and (every.track_id < 0).all()):
        log.warning("%s: has no %s of %s", path, "track" if ids == "needed" else "row", footage.name)
        return Overlay(Boxes.empty(), tuple(made.get("classes") or ()), np.empty(0, np.int64))
    name = _name_in(every.recordings, path, footage, recording)
    own = every.recording == every.recordings.index(name)
    looks = np.unique(every.t_us[own])
    low, high = int(looks[0]), int(looks[-1])
    longest = int(np.diff(looks).max(initial=0))  # a row stands for the window before it
    if high < span.start_us or low > span.end_us + longest:
        raise DetectionError(
            f"{path}: its rows of {name} lie at {low} to {high} µs, but {footage.address} lasts from {span.start_us} "
            f"to {span.end_us - 1} µs; expected a table of this recording"
        )
    if ids == "needed" and (every.track_id[own] < 0).all():
        raise DetectionError(
            f"{path}: none of its rows of {name} has a track_id; expected a table of tracks, as python -m "
            "spikeyolo.track writes it (detections=FILE shows one without)"
        )
    first = np.searchsorted(looks, span.shown_us[0] - before_us) - _LOOKS_AROUND
    looks = looks[max(int(first), 0) : int(np.searchsorted(looks, span.shown_us[1])) + _LOOKS_AROUND]
    between_us = (int(looks[0]), int(looks[-1])) if len(looks) else (low, low)
    table = DetectionTable.read(path, embeddings=False, between_us=between_us)
    rows = table[np.array([*table.recordings, ""])[table.recording] == name]
    beyond = np.flatnonzero((rows.xyxy[:, 0] >= footage.width) | (rows.xyxy[:, 1] >= footage.height))
    if 2 * len(beyond) > len(rows):
        raise DetectionError(
            f"{path}: {len(beyond)} of its {len(rows)} boxes of {name} lie outside the sensor of {footage.address}, "
            f"{footage.width}x{footage.height} px; expected a table of this recording"
        )
    rows = rows[(rows.score >= min_score) & ((rows.track_id >= 0) | (ids != "needed"))]
    track_id = np.full(len(rows), -1, np.int64) if ids == "none" else rows.track_id
    boxes = Boxes(rows.t_us, rows.xyxy, rows.class_id, track_id, rows.score)
    return Overlay(boxes, table.classes, looks)


def _own(names: Sequence[str], footage: Footage) -> list[str]:
    """Names that a table may have given the recording."""
    return [name for name in names if PurePath(name).name.removesuffix(".zarr") == footage.name]


def _silent(with_rows: Sequence[str], made: Mapping[str, Any], footage: Footage, recording: str | None) -> bool:
    """Whether nothing was found in a recording: the table has no row at all, or names it beside those with rows."""
    listed = [name for name in made.get("recordings") or () if name not in with_rows]
    if not with_rows:
        return True
    if recording is not None:
        return recording in listed
    return bool(_own(listed, footage)) and not _own(with_rows, footage)


def _name_in(known: Sequence[str], path: Path, footage: Footage, recording: str | None) -> str:
    """What a table calls the recording.

    Raises:
        DetectionError: it has no row of it.
    """
    if recording is not None:
        if recording in known:
            return recording
        raise DetectionError(f"recording: found {recording}; expected one that {path} has: {_listed(known)}")
    own = _own(known, footage)
    if len(own) == 1:
        return own[0]
    if len(known) == 1:
        log.warning("%s: calls its recording %s; taken for %s", path, known[0], footage.name)
        return known[0]
    raise DetectionError(
        f"{path}: has {'several recordings' if own else 'no recording'} called {footage.name}; expected "
        f"recording=NAME, one of {_listed(own or known)}"
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{', '.join(names[:5])}{more}"
