"""How the boxes of a data set are cleaned: each rule is named, typed and counted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from annotated_types import Ge, Gt, Interval

from spikeyolo.events.labels.clock import LabelClock
from spikeyolo.events.labels.correction import LabelCorrection
from spikeyolo.events.labels.units import BoxUnit, TimeUnit


@dataclass(frozen=True, kw_only=True)
class LabelRules:
    """How the boxes of a data set are cleaned; each rule that removes or changes a box is counted under its name.

    Attributes:
        names: of the classes in the label files, in the order of their ids or by id; None takes what a file says of
            itself, or else its ids as places in the class list.
        class_map: id or name in the file → the name it goes by, or None for a class that is not kept; several may go by
            one name. Of the resulting names, the class list selects.
        clip_to_frame: cut boxes that reach over the frame's edge; otherwise such a box is an error.
        drop_invalid_boxes: leave out boxes of no area, wholly outside the frame, or at times outside the recording;
            otherwise such a box is an error.
        skip_first_us: leave out boxes of the recording's first stretch, µs (Prophesee: 500,000).
        min_diagonal_px: leave out boxes with a shorter diagonal (Prophesee: 30 for Gen1, 60 for 1 Mpx).
        min_side_px: leave out boxes with a shorter side (Prophesee: 10 and 20).
        max_width_fraction: leave out boxes wider than this share of the frame (labels of no object; training only).
        time_tolerance_us: how far before the first or after the last event a label may lie, µs.
        label_clock: what label times count from: ``start`` (the first event), ``camera`` (the clock of the events
            file) or ``unix`` (1970).
        frame_us: how long a frame lasts, µs, where label times are numbers of frames (counted from 0, in MOT files from
            1); None where they are times, or where the file says it.
        time_unit: what label times count in; None takes µs and refuses what cannot be, a name is believed.
        box_unit: px, or fractions of the frame; None takes px and refuses what cannot be.
        correction: of all labels, before anything else; None corrects nothing.
    """

    names: Sequence[str] | Mapping[int, str] | None = None
    class_map: Mapping[int | str, str | None] | None = None
    clip_to_frame: bool = True
    drop_invalid_boxes: bool = False
    skip_first_us: Annotated[int, Ge(0)] = 0
    min_diagonal_px: Annotated[float, Ge(0)] = 0.0
    min_side_px: Annotated[float, Ge(0)] = 0.0
    max_width_fraction: Annotated[float, Interval(gt=0, le=1)] = 1.0
    time_tolerance_us: Annotated[int, Ge(0)] = 100_000
    label_clock: LabelClock = "start"
    frame_us: Annotated[float, Gt(0)] | None = None
    time_unit: TimeUnit | None = None
    box_unit: BoxUnit | None = None
    correction: LabelCorrection | None = None

    def noted(self) -> dict[str, Any]:
        """As the manifest of a converted set has them."""
        noted: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        if self.correction is None or self.correction.none:  # as it was before there were corrections
            del noted["correction"]
        return noted
