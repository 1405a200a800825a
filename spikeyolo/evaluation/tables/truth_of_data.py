"""The truth of a data set's split as a table, for detections that were made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from spikeyolo.detections import DetectionTable
from spikeyolo.detections.clock import OFFSETS
from spikeyolo.detections.table import concatenated
from spikeyolo.evaluation.looks import matcher_of
from spikeyolo.evaluation.tables import identity
from spikeyolo.events import Boxes
from spikeyolo.windows import EventData, Part, scored


def truth_of_data(data: EventData, parts: Sequence[Part], split: str) -> DetectionTable:
    """Every label, at its own time; where annotators found a recording empty, there are looks as often as labels are.

    Args:
        data: the data set; ``negative_share=0`` leaves out empty stretches.
        parts: its recordings of the split.
        split: its name.
    """
    matcher, names, placement = matcher_of(data, parts), identity.recording_names(parts), data.encoder.placement()
    tables, looks = [], {}
    for index, (part, name) in enumerate(zip(parts, names, strict=True)):
        known = part.inside if part.labels_from_us is None else part.inside[part.inside.t >= part.labels_from_us]
        spans = scored.empty_spans(part, matcher, index, negative_share=data.rules.negative_share)
        empty = [np.arange(*span, matcher.interval_us) for span in spans]
        seen = scored.empty_looks(part, matcher, index, negative_share=data.rules.negative_share)
        looks[name] = np.unique(np.concatenate([known.t, *empty, seen])).tolist()
        tables.append(_table(part, name, known, data.classes))
    metadata = {
        "windows": "a table of another program, scored at the labels' times",
        "made_from": made_from(parts, split),
        "recordings": names,
        OFFSETS: identity.time_offsets_us(parts),
        "looks": looks,
        "scale": [placement.scale_x, placement.scale_y],
    }
    return replace(concatenated(tables), metadata=metadata)


def made_from(parts: Sequence[Part], split: str) -> Mapping[str, Any]:
    """What decides such a table."""
    return {"data": identity.data_digest(parts), "split": split}


def _table(part: Part, name: str, boxes: Boxes, classes: Sequence[str]) -> DetectionTable:
    """Boxes inside the sensor."""
    limits = np.array([part.recording.width, part.recording.height] * 2, np.float32)
    xyxy = np.clip(boxes.xyxy, np.float32(0), limits)
    seen = (xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1])
    boxes, xyxy = boxes[seen], xyxy[seen]
    unknown = np.full(len(boxes), -1, np.int64)
    return DetectionTable(
        (name,),
        tuple(classes),
        np.zeros(len(boxes), np.int64),
        boxes.t,
        unknown,
        boxes.class_id,
        np.ones(len(boxes), np.float32),
        np.concatenate((xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]), axis=1),
        boxes.track_id,
    )
