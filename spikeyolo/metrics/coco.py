"""COCO's matching and average precision over columns of boxes, computed by hotcoco (equal to pycocotools)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import hotcoco
import numpy as np
import numpy.typing as npt

from spikeyolo.metrics.pairs import paired

NAN = math.nan
AREAS = ("all", "small", "medium", "large")  # px²: up to 32², up to 96², above; COCO's order


@dataclass(frozen=True, eq=False)
class BoxColumns:
    """Boxes in images.

    Attributes:
        image: ``[M]`` int64, 0, 1, ….
        class_id: ``[M]`` int64.
        xywh: ``[M, 4]`` float64, px.
        score: ``[M]`` float64; 1 for truth.
    """

    image: npt.NDArray[np.int64]
    class_id: npt.NDArray[np.int64]
    xywh: npt.NDArray[np.float64]
    score: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, rows: npt.NDArray[Any] | slice) -> BoxColumns:
        """The chosen rows (mask, indices or slice), in that order."""
        return BoxColumns(self.image[rows], self.class_id[rows], self.xywh[rows], self.score[rows])

    @classmethod
    def join(cls, parts: Sequence[BoxColumns]) -> BoxColumns:
        """All rows of the parts; without a part, none."""
        if not parts:
            return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 4)), np.empty(0))
        return cls(
            np.concatenate([part.image for part in parts]),
            np.concatenate([part.class_id for part in parts]),
            np.concatenate([part.xywh for part in parts]),
            np.concatenate([part.score for part in parts]),
        )


class CocoEvaluation:
    """One run of COCO's evaluation of boxes (https://cocodataset.org/#detection-eval).

    Args:
        truth, found: boxes of the same images and classes.
        classes: names, in the order of class ids.
        images: how many there are, with or without boxes.
        max_detections: of an image and class that are looked at, best first.
        areas: also judge small, medium and large boxes apart.
    """

    def __init__(
        self,
        truth: BoxColumns,
        found: BoxColumns,
        *,
        classes: Sequence[str],
        images: int,
        max_detections: int = 100,
        areas: bool = True,
    ) -> None:
        self.truth, self.found, self.classes, self.max_detections = truth, found, tuple(classes), max_detections
        listed = [{"id": i} for i in range(1, images + 1)]
        categories = [{"id": k, "name": name} for k, name in enumerate(classes)]
        expected = hotcoco.COCO.from_arrays(listed, categories, truth.image + 1, truth.class_id, truth.xywh)
        rows = np.column_stack((found.image + 1, found.xywh, found.score, found.class_id)).astype(np.float64)
        self.run = hotcoco.COCOeval(expected, expected.load_res(rows), "bbox")
        if max_detections != 100:
            self.run.params.max_dets = [1, 10, max_detections]
        if not areas:
            ranges = self.run.params.area_rng
            self.run.params.area_rng, self.run.params.area_rng_lbl = ranges[:1], ["all"]
        self.run.evaluate()
        self.run.accumulate()

    @cached_property
    def precision(self) -> npt.NDArray[np.float64]:
        """``[IoU 0.50…0.95, recall 0…1, K, area, most detections]``; -1 where it is not defined."""
        assert self.run.eval is not None
        return np.asarray(self.run.eval["precision"], np.float64)

    @cached_property
    def recall(self) -> npt.NDArray[np.float64]:
        """``[IoU 0.50…0.95, K, area, most detections]``; -1 where it is not defined."""
        assert self.run.eval is not None
        return np.asarray(self.run.eval["recall"], np.float64)

    def figures(self) -> dict[str, float]:
        """``map``, ``map50``, ``map75``, ``map_small``, ``map_medium``, ``map_large``, ``recall``; NaN where one is
        not defined."""
        precision = self.precision
        figures = {
            "map": mean_of_defined(precision[:, :, :, 0, -1]),
            "map50": mean_of_defined(precision[0, :, :, 0, -1]),
            "map75": mean_of_defined(precision[5, :, :, 0, -1]),
        }
        for a, name in enumerate(AREAS[: precision.shape[3]]):
            if a:
                figures[f"map_{name}"] = mean_of_defined(precision[:, :, :, a, -1])
        return figures | {"recall": mean_of_defined(self.recall[:, :, 0, -1])}

    def class_figures(self) -> dict[str, dict[str, float]]:
        """``ap``, ``ap50`` and ``recall`` of each class; NaN for one that does not occur in the truth."""
        return {
            name: {
                "ap": mean_of_defined(self.precision[:, :, k, 0, -1]),
                "ap50": mean_of_defined(self.precision[0, :, k, 0, -1]),
                "recall": mean_of_defined(self.recall[:, k, 0, -1]),
            }
            for k, name in enumerate(self.classes)
        }

    def curves(self) -> dict[str, npt.NDArray[np.float64]]:
        """Precision at recall 0, 0.01, …, 1 and IoU 0.50, ``[101]`` for each class that occurs in the truth."""
        return {
            name: self.precision[0, :, k, 0, -1]
            for k, name in enumerate(self.classes)
            if self.precision[0, 0, k, 0, -1] > -1
        }

    def confusion(self, threshold: float) -> npt.NDArray[np.int64]:
        """``[K+1, K+1]`` int64, pairs at IoU 0.50 without regard to class, best score first.

        Rows are the truth, columns what was detected with at least that score; the last row holds detections of
        nothing, the last column objects that were missed.
        """
        return np.asarray(self.run.confusion_matrix(iou_thr=0.5, min_score=threshold)["matrix"], np.int64)

    @cached_property
    def pairs(self) -> npt.NDArray[np.int64]:
        """``[N]`` int64, the detection that is paired with each true box at IoU 0.50; -1 where none is."""
        truth, found = self.truth, self.found
        pairs, _ = paired(
            (truth.image, truth.class_id, truth.xywh),
            (found.image, found.class_id, found.xywh),
            found.score,
            ious=(0.5,),
            max_detections=self.max_detections,
        )
        of_truth: npt.NDArray[np.int64] = pairs[0]
        return of_truth

    @property
    def matched(self) -> npt.NDArray[np.bool_]:
        """``[M]`` bool, which detections are paired with a true box at IoU 0.50."""
        marked = np.zeros(len(self.found), bool)
        marked[self.pairs[self.pairs >= 0]] = True
        return marked


def mean_of_defined(values: npt.NDArray[np.float64]) -> float:
    """The mean of the entries that are defined (COCO marks the others -1); NaN where none is."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else NAN


@dataclass(frozen=True, eq=False)
class ThresholdCurve:
    """Precision, recall and F1 at IoU 0.50 over the score from which detections count, all classes pooled.

    Attributes:
        threshold: ``[S]``, the scores that occur, falling.
        precision, recall, f1: ``[S]``.
    """

    threshold: npt.NDArray[np.float64]
    precision: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]
    f1: npt.NDArray[np.float64]

    @classmethod
    def of(cls, right: npt.NDArray[np.bool_], score: npt.NDArray[np.float64], truths: int) -> ThresholdCurve:
        """From which detections are right (``[M]``), their scores and the number of true boxes."""
        order = np.argsort(-score, kind="stable")
        score = score[order]
        last_of_its_score = np.append(score[1:] < score[:-1], True)[: len(score)]
        true = np.cumsum(right[order])[last_of_its_score]
        claimed = np.flatnonzero(last_of_its_score) + 1
        return cls(score[last_of_its_score], true / claimed, true / truths, 2 * true / (claimed + truths))

    def best(self) -> dict[str, float]:
        """``precision``, ``recall50``, ``f1`` where F1 is best, and the ``f1_confidence`` that makes it so (NaN where
        nothing was found)."""
        if not len(self.f1):
            return {"precision": 0.0, "recall50": 0.0, "f1": 0.0, "f1_confidence": NAN}
        best = int(self.f1.argmax())
        return {
            "precision": float(self.precision[best]),
            "recall50": float(self.recall[best]),
            "f1": float(self.f1[best]),
            "f1_confidence": float(self.threshold[best]),
        }
