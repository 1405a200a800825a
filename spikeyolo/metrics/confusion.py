"""Which class is taken for which: counts of matched, missed and invented objects."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Interval

from spikeyolo.events.types import Boxes, Detections


class ConfusionMatrix:
    """Counts pairs of true and detected classes, window by window.

    In each window detections and true boxes are paired without regard to class, the greatest overlap first, each used
    once. Unlike average precision this looks at one confidence only.

    Args:
        num_classes: K.
        confidence: detections with a lower score are not counted.
        iou: pairs that overlap less are none.
    """

    def __init__(
        self,
        *,
        num_classes: Annotated[int, Ge(1)],
        confidence: Annotated[float, Interval(ge=0, le=1)] = 0.25,
        iou: Annotated[float, Interval(gt=0, le=1)] = 0.5,
    ) -> None:
        self.confidence = confidence
        self.iou = iou
        self.counts: npt.NDArray[np.int64] = np.zeros((num_classes + 1, num_classes + 1), np.int64)

    def add(self, detections: Detections, truth: Boxes) -> None:
        """Count one window: rows of ``counts`` are the truth, columns what was detected; the last row holds
        detections of nothing, the last column objects that were missed."""
        sure = detections.score >= self.confidence
        found, found_class = detections.xyxy[sure], detections.class_id[sure]
        overlap = _overlaps(truth.xyxy, found)
        missed = np.ones(len(truth), bool)
        invented = np.ones(len(found), bool)
        rows, columns = np.nonzero(overlap >= self.iou)
        for pair in np.argsort(-overlap[rows, columns], kind="stable"):
            row, column = rows[pair], columns[pair]
            if missed[row] and invented[column]:
                missed[row] = invented[column] = False
                self.counts[truth.class_id[row], found_class[column]] += 1
        size = len(self.counts)
        self.counts[:, -1] += np.bincount(truth.class_id[missed], minlength=size)
        self.counts[-1] += np.bincount(found_class[invented], minlength=size)


def _overlaps(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Intersection over union of every pair, ``[M, 4]`` and ``[N, 4]`` → ``[M, N]``."""
    a, b = first.astype(np.float64)[:, None], second.astype(np.float64)[None]
    shared = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - shared
    quotient: npt.NDArray[np.float64] = shared / np.maximum(union, 1e-12)
    return quotient
