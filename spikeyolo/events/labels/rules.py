"""How the boxes of a data set are cleaned: each rule is named, typed and counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Interval

LabelClock = Literal["recording", "camera"]


@dataclass(frozen=True, kw_only=True)
class LabelRules:
    """How the boxes of a data set are cleaned; each rule that removes or changes a box is counted under its name.

    Attributes:
        class_map: id in the file → name in the class list, or None for a class that is not kept; without a map, ids
            are positions in the class list.
        clip_to_frame: cut boxes that reach over the frame's edge; otherwise such a box is an error.
        drop_invalid_boxes: leave out boxes of no area, wholly outside the frame, or at times outside the recording;
            otherwise such a box is an error.
        skip_first_us: leave out boxes of the recording's first stretch, µs (Prophesee: 500,000).
        min_diagonal_px: leave out boxes with a shorter diagonal (Prophesee: 30 for Gen1, 60 for 1 Mpx).
        min_side_px: leave out boxes with a shorter side (Prophesee: 10 and 20).
        max_width_fraction: leave out boxes wider than this share of the frame (labels of no object; training only).
        time_tolerance_us: how far before the first or after the last event a label may lie, µs.
        label_clock: whether label times count from the recording's start, or on the camera's clock.
    """

    class_map: Mapping[int, str | None] | None = None
    clip_to_frame: bool = True
    drop_invalid_boxes: bool = False
    skip_first_us: Annotated[int, Ge(0)] = 0
    min_diagonal_px: Annotated[float, Ge(0)] = 0.0
    min_side_px: Annotated[float, Ge(0)] = 0.0
    max_width_fraction: Annotated[float, Interval(gt=0, le=1)] = 1.0
    time_tolerance_us: Annotated[int, Ge(0)] = 100_000
    label_clock: LabelClock = "recording"
