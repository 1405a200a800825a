"""COCO's figures for detections held against the truth, computed in memory by faster-coco-eval."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from faster_coco_eval import COCO, COCOeval_faster

from spikeyolo.events.types import Boxes, Detections

_logger = logging.getLogger(__name__)
_AREAS = ("all", "small", "medium", "large")  # px²: up to 32², up to 96², above; COCO's order
_NAN = math.nan


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
        self._truth: list[npt.NDArray[np.float64]] = []  # rows of window, class, x, y, w, h
        self._found: list[npt.NDArray[np.float64]] = []  # the same and score

    def add(self, detections: Detections, truth: Boxes) -> None:
        """Take in one window; its truth may be empty, then every detection in it is a false one."""
        self._windows += 1
        if len(truth):
            self._truth.append(self._rows(truth.class_id, truth.xyxy))
        if len(detections):
            rows = self._rows(detections.class_id, detections.xyxy)
            self._found.append(np.column_stack((rows, detections.score.astype(np.float64))))

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
        truth = np.concatenate(self._truth) if self._truth else np.empty((0, 6))
        found = np.concatenate(self._found) if self._found else np.empty((0, 7))
        counts = {"windows": float(self._windows), "truths": float(len(truth)), "detections": float(len(found))}
        if not len(truth):
            names = ["map", "map50", "map75", "map_small", "map_medium", "map_large", "recall"]
            names += [f"{figure}/{name}" for name in self.classes for figure in ("ap", "ap50")]
            return dict.fromkeys((*names, "precision", "recall50", "f1", "f1_confidence"), _NAN) | counts
        sets = self._sets(truth, found)
        return self._average_precision(_evaluate(*sets)) | _best_f1(_matched(*sets), found[:, -1], len(truth)) | counts

    def best_threshold(self, *, default: float) -> float:
        """The score that makes F1 best at IoU 0.50, all classes pooled; ``default`` where nothing was found rightly."""
        if not self._truth or not self._found:
            return default
        truth, found = np.concatenate(self._truth), np.concatenate(self._found)
        best = _best_f1(_matched(*self._sets(truth, found)), found[:, -1], len(truth))
        return best["f1_confidence"] if best["f1"] > 0 else default

    def curves(self) -> dict[str, npt.NDArray[np.float64]]:
        """Precision at recall 0, 0.01, …, 1 and IoU 0.50 (interpolated as COCO does), ``[101]`` for each class that
        occurs in the truth."""
        if not self._truth:
            return {}
        found = np.concatenate(self._found) if self._found else np.empty((0, 7))
        precision = _evaluate(*self._sets(np.concatenate(self._truth), found)).eval["precision"]
        return {
            name: np.asarray(precision[0, :, k, 0, -1], np.float64)
            for k, name in enumerate(self.classes)
            if precision[0, 0, k, 0, -1] > -1
        }

    def _rows(self, class_id: npt.NDArray[np.int64], xyxy: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        box = xyxy.astype(np.float64)
        window = np.full(len(box), self._windows)
        return np.column_stack((window, class_id, box[:, :2], box[:, 2:] - box[:, :2]))

    def _sets(self, truth: npt.NDArray[np.float64], found: npt.NDArray[np.float64]) -> tuple[Any, Any]:
        images = [{"id": i} for i in range(1, self._windows + 1)]
        categories = [{"id": k, "name": name} for k, name in enumerate(self.classes)]
        return _coco(images, categories, truth), _coco(images, categories, found)

    def _average_precision(self, evaluation: Any) -> dict[str, float]:
        precision = evaluation.eval["precision"]  # [IoU 0.50…0.95, recall 0…1, K, area, most detections]
        recall = evaluation.eval["recall"]  # [IoU, K, area, most detections]
        figures = {
            "map": _mean(precision[:, :, :, 0, -1]),
            "map50": _mean(precision[0, :, :, 0, -1]),
            "map75": _mean(precision[5, :, :, 0, -1]),
        }
        figures |= {f"map_{name}": _mean(precision[:, :, :, a, -1]) for a, name in enumerate(_AREAS) if a}
        figures["recall"] = _mean(recall[:, :, 0, -1])
        for k, name in enumerate(self.classes):
            figures[f"ap/{name}"] = _mean(precision[:, :, k, 0, -1])
            figures[f"ap50/{name}"] = _mean(precision[0, :, k, 0, -1])
        return figures


def _coco(images: list[dict[str, Any]], categories: list[dict[str, Any]], rows: npt.NDArray[np.float64]) -> Any:
    """COCO's in-memory form of boxes; ids start at 1, for 0 means "unmatched" there."""
    keys: tuple[Literal["image_id", "category_id"], ...] = ("image_id", "category_id")
    places = rows[:, :2].astype(np.int64).tolist()
    boxes = rows[:, 2:6].tolist()
    annotations: list[dict[str, Any]] = [
        {**dict(zip(keys, place)), "id": i, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for i, (place, box) in enumerate(zip(places, boxes), start=1)
    ]
    if rows.shape[1] == 7:
        for annotation, score in zip(annotations, rows[:, 6].tolist()):
            annotation["score"] = score
    coco = COCO(print_function=_logger.debug)
    coco.dataset = {"images": images, "categories": categories, "annotations": annotations, "info": {}}
    coco.createIndex()
    return coco


def _mean(values: npt.NDArray[np.float64]) -> float:
    """The mean of the entries that are defined (COCO marks the others -1)."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else _NAN


def _evaluate(truth: Any, found: Any) -> Any:
    evaluation = COCOeval_faster(truth, found, iouType="bbox", print_function=_logger.debug, extra_calc=False)
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation


def _matched(truth: Any, found: Any) -> list[int]:
    """Rows of detections that COCO's matching at IoU 0.50 gives a true box.

    A run of its own, for ``eval["matched"]`` pools the matches of all IoU thresholds, where two detections may hold
    the same box.
    """
    evaluation = COCOeval_faster(truth, found, iouType="bbox", print_function=_logger.debug, extra_calc=False)
    evaluation.params.iouThrs = np.array([0.5])
    evaluation.params.areaRng = evaluation.params.areaRng[:1]
    evaluation.params.areaRngLbl = evaluation.params.areaRngLbl[:1]
    evaluation.params.maxDets = evaluation.params.maxDets[-1:]
    evaluation.evaluate()
    evaluation.accumulate()
    return [int(pair.partition("_")[0]) - 1 for pair in evaluation.eval["matched"]]


def _best_f1(matched: list[int], score: npt.NDArray[np.float64], truths: int) -> dict[str, float]:
    """Precision and recall at IoU 0.50 where F1 is best, over all scores that occur."""
    if not len(score):
        return {"precision": 0.0, "recall50": 0.0, "f1": 0.0, "f1_confidence": _NAN}
    right = np.zeros(len(score), np.int64)
    right[matched] = 1
    order = np.argsort(-score, kind="stable")
    score = score[order]
    last_of_its_score = np.append(score[1:] < score[:-1], True)
    true = np.cumsum(right[order])[last_of_its_score]
    claimed = np.flatnonzero(last_of_its_score) + 1
    f1 = 2 * true / (claimed + truths)
    best = int(f1.argmax())
    return {
        "precision": float(true[best] / claimed[best]),
        "recall50": float(true[best] / truths),
        "f1": float(f1[best]),
        "f1_confidence": float(score[last_of_its_score][best]),
    }
