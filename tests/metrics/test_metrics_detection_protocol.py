"""The benchmark's filters: what they leave out of truth and of detections."""

from __future__ import annotations

import numpy as np
import pytest

from spikeyolo.events.types import Boxes, Detections
from spikeyolo.metrics.protocol import BoxFilter, gen1, one_megapixel

SIZES = np.array([[30, 30], [29, 9], [60, 19], [60, 20], [100, 100], [18, 18]], np.float32)  # width, height


def truth(time_us: int) -> Boxes:
    n = len(SIZES)
    xyxy = np.concatenate((np.full((n, 2), 5, np.float32), 5 + SIZES), 1)
    return Boxes(np.full(n, time_us), xyxy, np.arange(n), np.full(n, -1), np.ones(n, np.float32))


@pytest.mark.parametrize(("rule", "kept"), [(gen1(), [0, 2, 3, 4]), (one_megapixel(), [3, 4]), (BoxFilter(), range(6))])
def test_small_boxes_do_not_count(rule: BoxFilter, kept: list[int]) -> None:
    assert rule.truth(truth(1_000_000)).class_id.tolist() == list(kept)


@pytest.mark.parametrize("rule", [gen1(), one_megapixel()])
def test_the_first_half_second_does_not_count(rule: BoxFilter) -> None:
    assert len(rule.truth(truth(500_000))) == 0
    assert len(rule.truth(truth(500_001))) > 0


@pytest.mark.parametrize("rule", [gen1(), one_megapixel(), BoxFilter(min_side=19)])
@pytest.mark.parametrize("time_us", [1, 2_000_000])
def test_truth_and_detections_are_filtered_alike(rule: BoxFilter, time_us: int) -> None:
    boxes = truth(time_us)
    n = len(boxes)
    score = np.linspace(0.9, 0.1, n, dtype=np.float32)
    found = Detections(np.zeros(n, np.int64), boxes.xyxy, score, boxes.class_id, np.eye(n, dtype=np.float32))
    kept = rule.detections(found, time_us)
    expected = rule.truth(boxes).class_id
    assert kept.class_id.tolist() == expected.tolist()
    assert kept.embedding is not None
    np.testing.assert_array_equal(kept.embedding, np.eye(n)[expected])


def test_nothing_in_gives_nothing_out() -> None:
    assert len(gen1().truth(Boxes.empty())) == 0
