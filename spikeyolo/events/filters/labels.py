"""Labels of filtered recordings: where no events are left, nothing is to be found."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from spikeyolo.events.filters.rules import EventFilters
from spikeyolo.events.labels import Labels


def restricted(labels: Labels, filters: EventFilters, *, min_side_px: float = 0.0) -> Labels:
    """The boxes within the time range, cut at the region's edge; what is left out is counted under the filter's name.

    Args:
        labels: of the whole recording.
        filters: of its events.
        min_side_px: a box of which less is left by the region is left out.
    """
    boxes, dropped = labels.boxes, Counter(labels.dropped)
    if filters.time_range_us is not None:
        start, end = filters.time_range_us
        boxes, before = boxes[(boxes.t >= start) & (boxes.t < end)], len(boxes)
        dropped["outside_time_range"] += before - len(boxes)
    if filters.region is not None:
        left, top, right, bottom = filters.region
        cut = np.clip(boxes.xyxy, (left, top, left, top), (right, bottom, right, bottom)).astype(np.float32)
        sides = (cut[:, 2:] - cut[:, :2]).min(axis=1, initial=np.inf)
        slivers = boxes.t[(sides > 0) & (sides < min_side_px)]
        boxes, before = replace(boxes, xyxy=cut)[(sides > 0) & (sides >= min_side_px)], len(boxes)
        unknown = np.setdiff1d(slivers, boxes.t)
        labels = replace(labels, left_out_us=np.union1d(labels.left_out_us, unknown))
        dropped["outside_region"] += before - len(boxes)
    return replace(labels, boxes=boxes, dropped={rule: count for rule, count in dropped.items() if count})
