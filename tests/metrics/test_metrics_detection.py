"""Detection figures: truth as prediction is perfect, order is of no account, and COCO's own tools agree."""

from __future__ import annotations

import contextlib
import io
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeyolo.events.types import Boxes, Detections
from spikeyolo.metrics.detection import DetectionMetrics

CLASSES = ("car", "bus", "bike")
Scene = list[tuple[Detections, Boxes]]


def boxes_of(xyxy: npt.ArrayLike, class_id: npt.ArrayLike) -> Boxes:
    rows = np.asarray(xyxy, np.float32).reshape(-1, 4)
    n = len(rows)
    return Boxes(np.zeros(n, np.int64), rows, np.asarray(class_id, np.int64), np.full(n, -1), np.ones(n, np.float32))


def detections_of(xyxy: npt.ArrayLike, class_id: npt.ArrayLike, score: npt.ArrayLike) -> Detections:
    order = np.argsort(-np.asarray(score, np.float32), kind="stable")
    rows = np.asarray(xyxy, np.float32).reshape(-1, 4)
    return Detections(
        np.zeros(len(order), np.int64),
        rows[order],
        np.asarray(score, np.float32)[order],
        np.asarray(class_id, np.int64)[order],
    )


def random_scene(seed: int, windows: int = 6, classes: int = 3) -> Scene:
    rng = np.random.default_rng(seed)

    def random_boxes(n: int) -> npt.NDArray[np.float32]:
        corner, size = rng.uniform(0, 150, (n, 2)), rng.uniform(4, 140, (n, 2))
        return np.concatenate((corner, corner + size), 1).astype(np.float32)

    scene = []
    for _ in range(windows):
        truth = boxes_of(random_boxes(n := rng.integers(0, 5)), rng.integers(0, classes, n))
        near = truth.xyxy + rng.normal(0, 5, truth.xyxy.shape).astype(np.float32)
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        false = random_boxes(rng.integers(0, 4))
        found = np.concatenate((near, near, false))
        class_id = np.concatenate((truth.class_id, truth.class_id, rng.integers(0, 3, len(false))))
        # few distinct scores, so that ties occur
        scene.append((detections_of(found, class_id, rng.integers(1, 9, len(found)) / 10), truth))
    return scene


def judge(scene: Scene) -> dict[str, float]:
    metrics = DetectionMetrics(classes=CLASSES)
    for found, truth in scene:
        metrics.add(found, truth)
    return metrics.compute()


def oracle(scene: Scene) -> dict[str, float]:
    """pycocotools, the reference implementation."""
    coco = pytest.importorskip("pycocotools.coco", reason="the oracle pycocotools is not installed")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")

    def dataset(parts: list[Any]) -> Any:
        result, annotations = coco.COCO(), []
        for image, part in enumerate(parts, start=1):
            score = getattr(part, "score", np.ones(len(part)))
            for box, k, s in zip(part.xyxy.astype(np.float64), part.class_id, score):
                width, height = box[2:] - box[:2]
                annotations.append(
                    {"id": len(annotations) + 1, "image_id": image, "category_id": int(k), "iscrowd": 0, "ignore": 0}
                    | {"bbox": [box[0], box[1], width, height], "area": width * height, "score": float(s)}
                )
        result.dataset = {
            "images": [{"id": i} for i in range(1, len(parts) + 1)],
            "categories": [{"id": k, "name": name} for k, name in enumerate(CLASSES)],
            "annotations": annotations,
        }
        result.createIndex()
        return result

    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = cocoeval.COCOeval(dataset([t for _, t in scene]), dataset([d for d, _ in scene]), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    names = ("map", "map50", "map75", "map_small", "map_medium", "map_large")
    figures = {name: (value if value > -1 else math.nan) for name, value in zip(names, evaluation.stats)}
    return figures | {"recall": float(evaluation.stats[8])}


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_all_figures_equal_those_of_pycocotools(seed: int) -> None:
    scene = random_scene(seed)
    if not sum(len(truth) for _, truth in scene):
        return
    mine, theirs = judge(scene), oracle(scene)
    assert {name: mine[name] for name in theirs} == pytest.approx(theirs, abs=1e-12, nan_ok=True)


@given(st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_truth_as_prediction_scores_one(seed: int) -> None:
    scene = [
        (detections_of(truth.xyxy, truth.class_id, np.full(len(truth), 0.7)), truth) for _, truth in random_scene(seed)
    ]
    figures = judge(scene)
    if not figures["truths"]:
        return
    for name, value in figures.items():
        if name.startswith(("map", "ap")) or name in ("recall", "precision", "recall50", "f1"):
            assert math.isnan(value) or value == pytest.approx(1.0), name
    assert figures["map50"] == pytest.approx(1.0)


def best_f1_by_hand(scene: Scene) -> float:
    """Greedy pairs in each window and class at IoU 0.50, best score first; the best F1 over all thresholds."""
    pairs: list[tuple[float, bool]] = []
    for found, truth in scene:
        free = [True] * len(truth)
        for row in np.argsort(-found.score, kind="stable"):
            x, best, which = found.xyxy[row].astype(float), 0.5 - 1e-10, -1
            for column, y in enumerate(truth.xyxy.astype(float)):
                inner = np.clip(np.minimum(x[2:], y[2:]) - np.maximum(x[:2], y[:2]), 0, None).prod()
                overlap = inner / ((x[2:] - x[:2]).prod() + (y[2:] - y[:2]).prod() - inner)
                if free[column] and found.class_id[row] == truth.class_id[column] and overlap >= best:
                    best, which = overlap, column
            if which >= 0:
                free[which] = False
            pairs.append((float(found.score[row]), which >= 0))
    truths = sum(len(truth) for _, truth in scene)
    scores = {score for score, _ in pairs}
    counted = [[right for score, right in pairs if score >= threshold] for threshold in scores]
    return max((2 * sum(right) / (len(right) + truths) for right in counted), default=0.0)


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_the_best_f1_equals_that_of_pairs_made_by_hand(seed: int) -> None:
    scene = random_scene(seed)
    figures = judge(scene)
    if figures["truths"]:
        assert figures["f1"] == pytest.approx(best_f1_by_hand(scene), abs=1e-9)
        assert figures["f1"] == pytest.approx(
            2 * figures["precision"] * figures["recall50"] / max(figures["precision"] + figures["recall50"], 1e-12)
        )


def test_the_order_of_windows_is_of_no_account_where_scores_differ() -> None:
    scene = random_scene(5)
    scores = np.random.default_rng(3).permutation(sum(len(found) for found, _ in scene)) / 1000
    distinct = []
    for found, truth in scene:
        own, scores = scores[: len(found)], scores[len(found) :]
        distinct.append((detections_of(found.xyxy, found.class_id, own), truth))
    assert judge(distinct) == pytest.approx(judge(distinct[::-1]), nan_ok=True)


def test_best_f1_is_that_of_every_threshold_tried_by_hand() -> None:
    for seed in range(5):
        scene = random_scene(seed, windows=4)
        figures = judge(scene)
        tried = []
        for threshold in np.unique(np.concatenate([found.score for found, _ in scene])):
            kept = [
                (
                    detections_of(
                        f.xyxy[f.score >= threshold], f.class_id[f.score >= threshold], f.score[f.score >= threshold]
                    ),
                    t,
                )
                for f, t in scene
            ]
            right = sum(_right_by_class(kept, k) for k in range(len(CLASSES)))
            claimed = sum(len(f) for f, _ in kept)
            tried.append(2 * right / (claimed + figures["truths"]))
        assert figures["f1"] == pytest.approx(max(tried))
        assert figures["f1"] == pytest.approx(
            2 * figures["precision"] * figures["recall50"] / (figures["precision"] + figures["recall50"])
        )


def test_the_threshold_of_the_pictures_is_the_one_of_the_best_f1() -> None:
    metrics = DetectionMetrics(classes=CLASSES)
    assert metrics.best_threshold(default=0.3) == 0.3
    for found, truth in random_scene(1):
        metrics.add(found, truth)
    assert metrics.best_threshold(default=0.3) == metrics.compute()["f1_confidence"] != 0.3


def _right_by_class(scene: Scene, k: int) -> float:
    """True detections of class k at IoU 0.50: greedy matching, best score first, as COCO describes it."""
    right = 0
    for found, truth in scene:
        free = [box.astype(np.float64) for box in truth.xyxy[truth.class_id == k]]
        for box in found.xyxy[found.class_id == k].astype(np.float64):
            overlaps = [_overlap(box, other) for other in free]
            if overlaps and max(overlaps) >= 0.5:
                free.pop(int(np.argmax(overlaps)))
                right += 1
    return right


def _overlap(a: Any, b: Any) -> float:
    shared = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    return float(shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared))


def test_two_detections_of_one_object_are_one_right_and_one_false() -> None:
    scene = [(detections_of([[0, 0, 100, 55], [0, 0, 100, 90]], [0, 0], [0.9, 0.8]), boxes_of([[0, 0, 100, 100]], [0]))]
    figures = judge(scene)
    assert (figures["precision"], figures["recall50"], figures["f1"]) == (1.0, 1.0, 1.0)
    assert figures["f1_confidence"] == pytest.approx(0.9)


def test_a_class_without_truth_has_an_undefined_figure_and_no_part_in_the_mean() -> None:
    scene = [(detections_of([[0, 0, 50, 50], [60, 60, 90, 90]], [0, 1], [0.9, 0.8]), boxes_of([[0, 0, 50, 50]], [0]))]
    figures = judge(scene)
    assert figures["map50"] == pytest.approx(1.0)
    assert figures["ap50/car"] == pytest.approx(1.0)
    assert math.isnan(figures["ap50/bus"])
    assert math.isnan(figures["ap/bus"])


def test_a_class_that_is_never_found_scores_zero() -> None:
    scene = [(detections_of([[0, 0, 50, 50]], [0], [0.9]), boxes_of([[0, 0, 50, 50], [60, 0, 99, 50]], [0, 1]))]
    figures = judge(scene)
    assert figures["ap50/bus"] == 0.0
    assert figures["map50"] == pytest.approx(0.5)


def test_without_truth_the_figures_are_not_a_number_and_the_counts_say_why() -> None:
    figures = judge([(detections_of([[0, 0, 50, 50]], [0], [0.9]), Boxes.empty())])
    assert math.isnan(figures["map50"])
    assert (figures["windows"], figures["truths"], figures["detections"]) == (1, 0, 1)
    assert judge([]).keys() == figures.keys()


def test_without_detections_the_figures_are_zero() -> None:
    figures = judge([(detections_of([], [], []), boxes_of([[0, 0, 50, 50]], [0]))])
    assert (figures["map50"], figures["recall"], figures["f1"]) == (0, 0, 0)


def test_false_detections_in_a_window_without_truth_cost_precision() -> None:
    good = (detections_of([[0, 0, 50, 50]], [0], [0.5]), boxes_of([[0, 0, 50, 50]], [0]))
    false = (detections_of([[0, 0, 50, 50]], [0], [0.9]), Boxes.empty())
    assert judge([good])["map50"] == pytest.approx(1.0)
    assert judge([good, false])["map50"] == pytest.approx(0.5)


def test_curves_average_to_the_figures() -> None:
    metrics = DetectionMetrics(classes=CLASSES)
    for found, truth in random_scene(1):
        metrics.add(found, truth)
    curves, figures = metrics.curves(), metrics.compute()
    defined = {name for name, value in figures.items() if name.startswith("ap50/") and not math.isnan(value)}
    assert curves.keys() == {name.removeprefix("ap50/") for name in defined}
    for name, curve in curves.items():
        assert curve.shape == (101,)
        assert curve.mean() == pytest.approx(figures[f"ap50/{name}"])


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    judge(random_scene(2))
    assert capsys.readouterr() == ("", "")


def confusion(scene: Scene, confidence: float) -> npt.NDArray[np.int64]:
    metrics = DetectionMetrics(classes=CLASSES)
    for found, truth in scene:
        metrics.add(found, truth)
    return metrics.confusion(confidence=confidence)


@given(st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_rows_and_columns_of_the_confusion_add_up_to_truth_and_sure_detections(seed: int) -> None:
    scene = random_scene(seed)
    counts = confusion(scene, 0.4)
    true = sum(np.bincount(truth.class_id, minlength=3) for _, truth in scene)
    sure = sum(np.bincount(found.class_id[found.score >= np.float32(0.4)], minlength=3) for found, _ in scene)
    np.testing.assert_array_equal(counts[:3].sum(1), true)
    np.testing.assert_array_equal(counts[:, :3].sum(0), sure)
    assert counts[3, 3] == 0


def test_a_car_taken_for_a_bus_stands_in_the_cars_row_and_the_buses_column() -> None:
    found = detections_of([[0, 0, 20, 20], [60, 60, 80, 80], [30, 0, 50, 20]], [1, 0, 1], [0.9, 0.8, 0.2])
    truth = boxes_of([[0, 0, 20, 20], [30, 0, 50, 20]], [0, 1])
    assert confusion([(found, truth)], 0.5).tolist() == [[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]]
    assert confusion([(found, truth)], 0.2)[1].tolist() == [0, 1, 0, 0]


def test_without_windows_nothing_is_confused() -> None:
    assert not confusion([], 0.5).any()


def test_a_further_detection_of_an_object_stands_in_the_row_of_nothing() -> None:
    found = detections_of([[0, 0, 20, 20], [0, 0, 20, 19]], [0, 0], [0.9, 0.8])
    assert confusion([(found, boxes_of([[0, 0, 20, 20]], [0]))], 0.5)[:, 0].tolist() == [1, 0, 0, 1]
