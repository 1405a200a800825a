"""Pairs of detections and true boxes are those of COCO's matching, which hotcoco makes one image at a time."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from spikeyolo.metrics.coco import BoxColumns, CocoEvaluation
from spikeyolo.metrics.pairs import paired
from spikeyolo.metrics.resample import IOUS


def crowded(rng: np.random.Generator, count: int) -> BoxColumns:
    """Boxes on a coarse grid in few images, so that many overlap, some equally; few distinct scores."""
    xywh = np.column_stack((rng.integers(0, 6, (count, 2)), rng.integers(2, 7, (count, 2)))).astype(np.float64)
    return BoxColumns(rng.integers(0, 4, count), rng.integers(0, 2, count), xywh, rng.integers(1, 9, count) / 8)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(0, 160), st.sampled_from([11, 100]))
def test_pairs_are_hotcocos(seed: int, truths: int, founds: int, most: int) -> None:
    rng = np.random.default_rng(seed)
    truth, found = crowded(rng, truths), crowded(rng, founds)
    evaluation = CocoEvaluation(truth, found, classes=("car", "bus"), images=4, max_detections=most)
    told = evaluation.run.image_diagnostics(iou_thr=0.5)["gt_match"]
    expected = np.full(truths, -1)
    for true, of in told.items():
        expected[int(true) - 1] = int(of) - 1
    np.testing.assert_array_equal(evaluation.pairs, expected)
    assert evaluation.matched.sum() == (expected >= 0).sum()


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(0, 160), st.sampled_from([11, 100]))
def test_at_every_overlap_the_same_detections_are_right_and_looked_at(
    seed: int, truths: int, founds: int, most: int
) -> None:
    rng = np.random.default_rng(seed)
    truth, found = crowded(rng, truths), crowded(rng, founds)
    evaluation = CocoEvaluation(truth, found, classes=("car", "bus"), images=4, max_detections=most, areas=False)
    right, seen = np.zeros((len(IOUS), founds), bool), np.zeros(founds, bool)
    for image in evaluation.run.eval_imgs:
        if image is not None and image["dtIds"]:
            rows = np.array(image["dtIds"]) - 1
            seen[rows] = True
            right[:, rows] = np.array(image["dtMatched"], bool)
    pairs, looked_at = paired(
        (truth.image, truth.class_id, truth.xywh), (found.image, found.class_id, found.xywh), found.score,
        ious=IOUS, max_detections=most,
    )  # fmt: skip
    np.testing.assert_array_equal(looked_at, seen)
    for row, of_truth in enumerate(pairs):
        np.testing.assert_array_equal(np.isin(np.arange(founds), of_truth), right[row])
