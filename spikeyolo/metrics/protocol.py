"""Which boxes count: the filters of Prophesee's detection benchmarks (arXiv 2001.08499, 2009.13436), on truth and
detections alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spikeyolo.events.types import Boxes, Detections


@dataclass(frozen=True)
class BoxFilter:
    """What is left out before anything is counted; sizes are px of the sensor, not of a smaller encoded frame.

    Attributes:
        skip_us: boxes at times up to this, from the recording's start, are left out.
        min_diagonal: boxes with a shorter diagonal are left out, px.
        min_side: boxes with a shorter width or height are left out, px.
    """

    skip_us: int = 0
    min_diagonal: float = 0.0
    min_side: float = 0.0

    def truth(self, boxes: Boxes) -> Boxes:
        """The boxes that count, in their order."""
        return boxes[large_enough(boxes.xyxy, self.min_diagonal, self.min_side) & (boxes.t > self.skip_us)]

    def detections(self, detections: Detections, time_us: int) -> Detections:
        """The detections that count, in their order; ``time_us`` is their window's time in the recording."""
        keep = large_enough(detections.xyxy, self.min_diagonal, self.min_side) & (time_us > self.skip_us)
        embedding = detections.embedding
        return Detections(
            detections.step[keep],
            detections.xyxy[keep],
            detections.score[keep],
            detections.class_id[keep],
            None if embedding is None else embedding[keep],
        )


def gen1() -> BoxFilter:
    """The 304x240 benchmark: the first half second, diagonals under 30 px and sides under 10 px do not count."""
    return BoxFilter(skip_us=500_000, min_diagonal=30.0, min_side=10.0)


def one_megapixel() -> BoxFilter:
    """The 1280x720 benchmark: the first half second, diagonals under 60 px and sides under 20 px do not count."""
    return BoxFilter(skip_us=500_000, min_diagonal=60.0, min_side=20.0)


def large_enough(xyxy: npt.NDArray[Any], min_diagonal: float, min_side: float) -> npt.NDArray[np.bool_]:
    """``[M]`` bool: neither the diagonal nor a side of the box (``[M, 4]``, px) is too short."""
    size = (xyxy[:, 2:] - xyxy[:, :2]).astype(np.float64)
    keep: npt.NDArray[np.bool_] = (np.square(size).sum(1) >= min_diagonal**2) & (
        size.min(1, initial=np.inf) >= min_side
    )
    return keep
