"""Confusion: every true box and every sure detection is counted once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeyolo.events.types import Boxes, Detections
from spikeyolo.metrics.confusion import ConfusionMatrix


def boxes_of(xyxy: list[list[float]], class_id: list[int]) -> Boxes:
    n = len(class_id)
    rows = np.asarray(xyxy, np.float32).reshape(-1, 4)
    return Boxes(np.zeros(n, np.int64), rows, np.asarray(class_id, np.int64), np.full(n, -1), np.ones(n, np.float32))


def detections_of(xyxy: list[list[float]], class_id: list[int], score: list[float]) -> Detections:
    rows = np.asarray(xyxy, np.float32).reshape(-1, 4)
    n = len(class_id)
    return Detections(np.zeros(n, np.int64), rows, np.asarray(score, np.float32), np.asarray(class_id, np.int64))


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_rows_and_columns_add_up_to_truth_and_detections(seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = ConfusionMatrix(num_classes=3, confidence=0.4)
    true, claimed = np.zeros(3), np.zeros(3)
    for _ in range(4):
        n, m = rng.integers(0, 6, 2)
        truth = boxes_of(
            [[x, y, x + 20, y + 20] for x, y in rng.uniform(0, 40, (n, 2))], rng.integers(0, 3, n).tolist()
        )
        found = detections_of(
            [[x, y, x + 20, y + 20] for x, y in rng.uniform(0, 40, (m, 2))],
            rng.integers(0, 3, m).tolist(),
            np.sort(rng.uniform(0, 1, m))[::-1].tolist(),
        )
        matrix.add(found, truth)
        true += np.bincount(truth.class_id, minlength=3)
        claimed += np.bincount(found.class_id[found.score >= np.float32(0.4)], minlength=3)
    np.testing.assert_array_equal(matrix.counts[:3].sum(1), true)
    np.testing.assert_array_equal(matrix.counts[:, :3].sum(0), claimed)
    assert matrix.counts[3, 3] == 0


def test_a_car_taken_for_a_bus_stands_in_the_cars_row_and_the_buses_column() -> None:
    matrix = ConfusionMatrix(num_classes=2)
    matrix.add(
        detections_of([[0, 0, 20, 20], [60, 60, 80, 80]], [1, 0], [0.9, 0.8]),
        boxes_of([[0, 0, 20, 20], [30, 0, 50, 20]], [0, 1]),
    )
    assert matrix.counts.tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]


def test_the_better_overlap_is_paired_first_whatever_the_score() -> None:
    matrix = ConfusionMatrix(num_classes=2)
    matrix.add(detections_of([[0, 0, 20, 14], [0, 0, 20, 20]], [1, 0], [0.9, 0.3]), boxes_of([[0, 0, 20, 20]], [0]))
    assert matrix.counts.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_unsure_detections_are_not_counted(confidence: float) -> None:
    matrix = ConfusionMatrix(num_classes=1, confidence=confidence)
    matrix.add(detections_of([[0, 0, 9, 9]], [0], [0.9]), Boxes.empty())
    assert matrix.counts[1, 0] == (1 if confidence == 0.5 else 0)
