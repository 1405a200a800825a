"""Truth of one recording from its labels as they are trained on: a label file, or what is stored with the recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from spikeyolo.detections import DetectionTable, Looks
from spikeyolo.detections.clock import OFFSETS, Clock
from spikeyolo.errors import ConfigError, DetectionError, LabelError
from spikeyolo.evaluation.tables.stored_truth import StoredTruth
from spikeyolo.events.conversion.identity import seen_us
from spikeyolo.events.labels import LabelRules, read_boxes, selected, warn_once
from spikeyolo.events.labels.formats.yolo import is_yolo
from spikeyolo.events.store import Recording
from spikeyolo.events.types import Boxes

EXPECTED = (
    "a table (.parquet), labels (.csv, .npy, a folder of YOLO's .txt), a recording with labels (.zarr), COCO JSON, or "
    ".npy or MOT files"
)
LARGEST = 1 << 20  # px, where nobody names the sensor: nothing is clipped


def read_truth(path: Path, found: DetectionTable, *, clock: Clock = "start") -> StoredTruth:
    """Truth in any known form.

    Args:
        path: of a table, labels, or a stored recording.
        found: a table of detections, which names recordings and classes; maybe not all of its rows.
        clock: what the times of a label file count from.

    Raises:
        DetectionError: it is no truth, or of another recording.
        LabelError: the label file is wrong.
        ConfigError: the camera's clock is not known.
        RecordingError: the stored recording cannot be read.
    """
    if not path.exists():
        raise DetectionError(f"truth: found {path}, which is not there; expected {EXPECTED}")
    stored = (path / "zarr.json").is_file()
    if not stored and path.suffix not in (".csv", ".npy") and not is_yolo(path):
        if path.is_file() and path.suffix not in (".parquet", ".json", ".txt"):
            raise DetectionError(f"truth: found {path}; expected {EXPECTED}")
        return StoredTruth.read(path, classes=found.classes if path.suffix not in (".parquet", ".json") else None)
    name = _recording_of(path, found)
    boxes, looks = _stored_boxes(path, found.classes) if stored else _labels(path, found, name, clock)
    if not len(boxes):
        raise DetectionError(f"{path}: holds no true box of {', '.join(found.classes)}; expected some to score with")
    return StoredTruth(_table(boxes, name, found.classes, looks), path)


def _recording_of(path: Path, found: DetectionTable) -> str:
    """What the detections call the recording of some labels: their only one, or that of the labels' name."""
    names = tuple(dict.fromkeys([*found.metadata.get("recordings", ()), *found.recordings]))
    stem = path.stem.removesuffix("_bbox").removesuffix("_labels")
    own = [name for name in names if PurePath(name).name.removesuffix(".zarr").removesuffix("_td") == stem]
    if len(names) > 1 and len(own) != 1:
        raise DetectionError(
            f"truth: found {path}, the labels of one recording, and detections of {len(names)}, of which "
            f"{'several are' if own else 'none is'} called {stem}; expected a table of truth, or detections of one"
        )
    return own[0] if own else names[0] if names else stem


def _stored_boxes(path: Path, classes: Sequence[str]) -> tuple[Boxes, Sequence[int]]:
    recording = Recording.open(path)
    if not recording.labelled:
        raise DetectionError(f"{path}: a recording without labels; expected one that was converted with them")
    return selected(recording.boxes, recording.classes, classes), seen_us(recording).tolist()


def _labels(path: Path, found: DetectionTable, name: str, clock: Clock) -> tuple[Boxes, Sequence[int]]:
    """Boxes of a label file, and the times at which somebody looked, on the clock of the table."""
    made: Mapping[str, Any] = (found.metadata.get("ended") or {}).get(name) or {}
    sensor = made.get("sensor") or found.metadata.get("sensor")
    if sensor is None and path.is_dir():
        raise DetectionError(
            f"truth: found {path}, boxes in fractions of the frame, and detections that do not tell their sensor's "
            "size; expected labels in px (.csv, .npy), or detections that predict or evaluate makes anew"
        )
    width, height = sensor or (LARGEST, LARGEST)
    offset_us = (found.metadata.get(OFFSETS) or {}).get(name)
    if clock == "camera" and offset_us is None:
        raise ConfigError(
            f"clock: found camera, but the table does not tell at which time of its camera {name} begins; expected "
            "clock=start, or detections that predict makes anew"
        )
    filtered = (found.metadata.get("identity") or {}).get("reading", {}).get("filters")
    span = None if filtered else made.get("span_us")  # labels count from the first event, also where it is filtered
    try:
        labels = read_boxes(
            path,
            classes=found.classes,
            width=width,
            height=height,
            span_us=None if span is None else (span[0], span[1] + 1),
            time_offset_us=offset_us or 0,
            rules=LabelRules(label_clock=clock),
        )
    except LabelError as error:
        raise LabelError(str(error).replace("label_clock=", "clock=")) from error  # what the key is called here
    warn_once([(path, labels.warnings)])
    return labels.boxes, labels.seen_us.tolist()


def _table(boxes: Boxes, name: str, classes: tuple[str, ...], looks: Sequence[int]) -> DetectionTable:
    count = len(boxes)
    xywh = np.concatenate((boxes.xyxy[:, :2], boxes.xyxy[:, 2:] - boxes.xyxy[:, :2]), axis=1)
    return DetectionTable(
        (name,),
        classes,
        np.zeros(count, np.int64),
        boxes.t,
        np.full(count, -1, np.int64),
        boxes.class_id,
        np.ones(count, np.float32),
        xywh,
        boxes.track_id,
        metadata={"looks": Looks.by_name((name, t_us) for t_us in looks)},
    )
