"""When a detector fails: the share of true boxes that is found, by size, speed and number of events."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from spikeyolo.detections import DetectionTable
from spikeyolo.metrics.scores import PropertyCurve

Values = npt.NDArray[np.float64]


def sizes(boxes: DetectionTable) -> Values:
    """``[M]``, square root of each box's area, px."""
    side: Values = np.sqrt(boxes.xywh[:, 2:].astype(np.float64).prod(axis=1))
    return side


def speeds(boxes: DetectionTable) -> Values:
    """``[M]``, how fast each box's centre moves since its track's last box, px/s; the first takes that of the
    second, and NaN where a box has no track, or its track no other box."""
    speed = np.full(len(boxes), np.nan)
    order = np.lexsort((boxes.t_us, boxes.track_id, boxes.recording))
    order = order[boxes.track_id[order] >= 0]
    recording, track, t_us = boxes.recording[order], boxes.track_id[order], boxes.t_us[order].astype(np.float64)
    centre = boxes.xywh[order, :2].astype(np.float64) + boxes.xywh[order, 2:].astype(np.float64) / 2
    elapsed = np.diff(t_us)
    same = (np.diff(recording) == 0) & (np.diff(track) == 0) & (elapsed > 0)
    moved = np.linalg.norm(np.diff(centre, axis=0), axis=1)
    since = np.full(len(order), np.nan)
    since[1:][same] = moved[same] / elapsed[same] * 1e6
    until = np.full(len(order), np.nan)
    until[:-1][same] = since[1:][same]
    speed[order] = np.where(np.isnan(since), until, since)
    return speed


def property_curve(
    name: str, values: Values, paired: npt.NDArray[np.float64], *, threshold: float, bins: int = 10
) -> PropertyCurve | None:
    """Bins of about equally many boxes.

    Args:
        name: of the property, with its unit.
        values: ``[M]``, of each true box; NaN where it is not known.
        paired: ``[M]``, score of the detection that found the box, NaN where none did.
        threshold: score that makes F1 best, NaN where there is none.
        bins: at most so many; equal values share one.

    Returns:
        None where no box has a value.
    """
    known = ~np.isnan(values)
    if not known.any():
        return None
    values, paired = values[known], paired[known]
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)))
    place = np.clip(np.searchsorted(edges, values, "right") - 1, 0, max(len(edges) - 2, 0))
    size = max(len(edges) - 1, 1)
    count = np.bincount(place, minlength=size)
    found = np.bincount(place, weights=~np.isnan(paired), minlength=size)
    at_best = np.bincount(
        place, weights=np.nan_to_num(paired, nan=-1) >= np.nan_to_num(threshold, nan=2), minlength=size
    )
    share = np.maximum(count, 1)
    return PropertyCurve(name, edges[:size], edges[-size:], count, found / share, at_best / share)
