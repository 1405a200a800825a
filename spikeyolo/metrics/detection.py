"""COCO's figures for windows of detections held against the truth, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from spikeyolo.events.types import Boxes, Detections
from spikeyolo.metrics.coco import NAN, BoxColumns, CocoEvaluation, ThresholdCurve


class DetectionMetrics:
    """Gathers windows one by one, then judges them all.

    Truth and detections of a window share one frame of reference (px of the encoded frame, or of the sensor); COCO's
    size classes (32² and 96² px) are meant in it.

    Args:
        classes: names, in the order of class ids.
    """

    def __init__(self, *, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self._windows = 0
        self._truth: list[BoxColumns] = []
        self._found: list[BoxColumns] = []

    def add(self, detections: Detections, truth: Boxes) -> None:
        """Take in one window; its truth may be empty, then every detection in it is a false one."""
        self._truth.append(self._columns(truth, np.ones(len(truth))))
        self._found.append(self._columns(detections, detections.score.astype(np.float64)))
        self._windows += 1
        self.__dict__.pop("_evaluation", None)

    def compute(self) -> dict[str, float]:
        """Judge all windows.

        Returns:
            A flat mapping. Always present: ``map`` (mean over IoU 0.50 to 0.95), ``map50``, ``map75``, ``map_small``,
            ``map_medium``, ``map_large``, ``recall`` (COCO's AR with 100 detections a window); ``precision``,
            ``recall50``, ``f1`` at the score ``f1_confidence`` that makes F1 best at IoU 0.50, all classes pooled;
            the counts ``windows``, ``truths``, ``detections``; ``ap/<class>`` and ``ap50/<class>`` of every class. A
            figure that is not defined is NaN: one of a size that no true box has, of a class that does not occur in
            the truth (as COCO has it, it has no part in the means), and all of them where there is no truth.
        """
        evaluation = self._evaluation
        truths, found = len(evaluation.truth), len(evaluation.found)
        figures = evaluation.figures() | {
            f"{figure}/{name}": of_class[figure]
            for name, of_class in evaluation.class_figures().items()
            for figure in ("ap", "ap50")
        }
        best = self._threshold_curve().best()
        if not truths:
            best = dict.fromkeys(best, NAN)
        counts = {"windows": float(self._windows), "truths": float(truths), "detections": float(found)}
        return figures | best | counts

    def best_threshold(self, *, default: float) -> float:
        """The score that makes F1 best at IoU 0.50, all classes pooled; ``default`` where nothing was found rightly."""
        best = self._threshold_curve().best()
        return best["f1_confidence"] if best["f1"] > 0 else default

    def curves(self) -> dict[str, npt.NDArray[np.float64]]:
        """Precision at recall 0, 0.01, …, 1 and IoU 0.50 (interpolated as COCO does), ``[101]`` for each class that
        occurs in the truth."""
        return self._evaluation.curves()

    def confusion(self, *, confidence: float) -> npt.NDArray[np.int64]:
        """``[K+1, K+1]`` int64, which class is taken for which at IoU 0.50, among detections of at least that score.

        Rows are the truth, columns what was detected; the last row holds detections of nothing, the last column objects
        that were missed.
        """
        return self._evaluation.confusion(confidence)

    @cached_property
    def _evaluation(self) -> CocoEvaluation:
        return CocoEvaluation(
            BoxColumns.join(self._truth), BoxColumns.join(self._found), classes=self.classes, images=self._windows
        )

    def _threshold_curve(self) -> ThresholdCurve:
        evaluation = self._evaluation
        if not len(evaluation.truth):
            return ThresholdCurve.of(np.empty(0, bool), np.empty(0), 1)
        return ThresholdCurve.of(evaluation.matched, evaluation.found.score, len(evaluation.truth))

    def _columns(self, boxes: Boxes | Detections, score: npt.NDArray[np.float64]) -> BoxColumns:
        xyxy = boxes.xyxy.astype(np.float64)
        xywh = np.concatenate((xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]), axis=1)
        return BoxColumns(np.full(len(boxes), self._windows), boxes.class_id, xywh, score)
