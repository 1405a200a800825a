"""Decoding: distances from distributions, suppression, order, and independence of a batch's windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision import ops

from spikeyolo.model.decode import Decoder, decode_boxes
from spikeyolo.model.predictions import Predictions
from spikeyolo.model.suppression import suppress

R = 16
Placed = tuple[int, int, int, int, float]  # step, window, cell, class, probability


def grid(height: int, width: int, strides: tuple[int, ...] = (8, 16, 32)) -> tuple[Tensor, Tensor]:
    points, steps = [], []
    for stride in strides:
        y, x = torch.meshgrid(
            torch.arange(0, height, stride) + stride / 2, torch.arange(0, width, stride) + stride / 2, indexing="ij"
        )
        points.append(torch.stack((x, y), -1).reshape(-1, 2).float())
        steps.append(torch.full((len(points[-1]),), float(stride)))
    return torch.cat(points), torch.cat(steps)


def exact_logits(distances: Tensor) -> Tensor:
    """Logits whose mean over bins is exactly ``distances`` (in strides, 0..R-1)."""
    left = distances.floor().clamp(0, R - 2)
    weight = distances - left
    probability = torch.zeros(*distances.shape, R)
    probability.scatter_(-1, left.long().unsqueeze(-1), (1 - weight).unsqueeze(-1))
    probability.scatter_(-1, left.long().unsqueeze(-1) + 1, weight.unsqueeze(-1))
    return (probability + 1e-12).log()


def predictions_of(placed: list[Placed], T: int = 1, B: int = 1, K: int = 3, **extra: Any) -> Predictions:
    """All cells silent but for the placed ones; every cell's box is 3 strides wide and high."""
    points, strides = grid(64, 96)
    A = len(points)
    class_logits = torch.full((T, B, A, K), -20.0)
    for step, window, cell, class_id, probability in placed:
        class_logits[step, window, cell, class_id] = torch.logit(torch.tensor(probability))
    box_logits = exact_logits(torch.full((T, B, A, 4), 1.5))
    return Predictions(box_logits, class_logits, points, strides, **extra)


@given(st.lists(st.floats(0, R - 1), min_size=4, max_size=4), st.sampled_from([8.0, 16.0, 32.0]))
@settings(max_examples=50, deadline=None)
def test_a_box_is_its_cell_centre_moved_by_the_mean_distance_of_each_side(sides: list[float], stride: float) -> None:
    distances = torch.tensor([sides])
    point = torch.tensor([[100.0, 50.0]])
    box = decode_boxes(exact_logits(distances), point, torch.tensor([stride]))[0]
    left, top, right, bottom = (stride * side for side in sides)
    expected = torch.tensor([100 - left, 50 - top, 100 + right, 50 + bottom])
    assert torch.allclose(box, expected, atol=1e-3 * stride)


def test_half_precision_logits_give_float32_boxes() -> None:
    points, strides = grid(64, 96)
    assert decode_boxes(torch.randn(2, len(points), 4, R).bfloat16(), points, strides).dtype == torch.float32


def test_of_two_overlapping_candidates_of_a_class_the_better_stays() -> None:
    found = Decoder(iou=0.3)(predictions_of([(0, 0, 20, 1, 0.6), (0, 0, 21, 1, 0.9)]))[0]
    assert found.class_id.tolist() == [1]
    assert found.score == pytest.approx([0.9])


def test_candidates_of_different_classes_suppress_one_another_only_when_asked() -> None:
    placed = [(0, 0, 20, 1, 0.6), (0, 0, 20, 2, 0.9)]
    assert len(Decoder(iou=0.5)(predictions_of(placed))[0]) == 2
    assert Decoder(iou=0.5, class_agnostic=True)(predictions_of(placed))[0].class_id.tolist() == [2]


def test_the_last_step_speaks_alone_unless_all_are_pooled() -> None:
    placed = [(0, 0, 15, 0, 0.9), (1, 0, 40, 0, 0.7), (2, 0, 60, 2, 0.5)]
    assert Decoder(steps="last")(predictions_of(placed, T=3))[0].step.tolist() == [2]
    assert Decoder(steps="all")(predictions_of(placed, T=3))[0].step.tolist() == [0, 1, 2]


def test_one_object_seen_in_all_steps_is_one_detection_when_they_are_pooled() -> None:
    placed = [(step, 0, 30, 0, 0.5 + step / 10) for step in range(4)]
    found = Decoder(steps="all")(predictions_of(placed, T=4))[0]
    assert found.step.tolist() == [3]


def test_silence_gives_empty_columns_of_the_promised_types() -> None:
    found = Decoder()(predictions_of([]))[0]
    assert (len(found), found.xyxy.shape, found.xyxy.dtype) == (0, (0, 4), np.float32)
    assert (found.step.dtype, found.class_id.dtype, found.score.dtype) == (np.int64, np.int64, np.float32)


def test_boxes_end_at_the_frame_that_is_given_or_at_the_cells() -> None:
    points, strides = grid(64, 96)
    wide = Predictions(
        exact_logits(torch.full((1, 1, len(points), 4), 15.0)), torch.zeros(1, 1, len(points), 1), points, strides
    )
    assert Decoder(iou=1.0)(wide)[0].xyxy.max(0).tolist() == pytest.approx([0, 0, 96, 64], abs=1e-3)
    found = Decoder(iou=1.0)(wide, frame_size=(60, 90))[0]
    assert found.xyxy[:, 2].max() == 90
    assert found.xyxy[:, 3].max() == 60


def test_no_more_than_the_bound_of_detections_is_returned() -> None:
    placed = [(0, 0, cell, 0, 0.5) for cell in range(0, 90, 4)]
    assert len(Decoder(max_detections=7)(predictions_of(placed))[0]) == 7


def test_as_many_candidates_enter_as_detections_are_asked_for() -> None:
    placed = [(0, 0, cell, 0, 0.5) for cell in range(60)]
    assert len(Decoder(iou=1.0, max_detections=50, max_candidates=10)(predictions_of(placed))[0]) == 50


def test_what_one_step_alone_shows_is_not_crowded_out_by_the_others_when_they_are_pooled() -> None:
    placed = [(step, 0, cell, 0, 0.9) for step in range(3) for cell in range(0, 96, 10)]  # the same ten, three times
    found = Decoder(steps="all", max_detections=11, max_candidates=11)(
        predictions_of([*placed, (0, 0, 47, 1, 0.3)], T=3)
    )[0]
    assert len(found) == 11
    assert found.class_id[-1] == 1


def test_embeddings_follow_their_detections() -> None:
    A = len(grid(64, 96)[0])
    embedding = torch.nn.functional.normalize(torch.randn(2, 1, A, 5), dim=-1)
    found = Decoder(steps="all")(predictions_of([(0, 0, 15, 0, 0.4), (1, 0, 60, 0, 0.8)], T=2, embedding=embedding))[0]
    expected = torch.stack((embedding[1, 0, 60], embedding[0, 0, 15])).numpy()
    assert found.embedding is not None
    np.testing.assert_array_equal(found.embedding, expected)


@pytest.mark.parametrize("steps", ["last", "all"])
def test_a_window_is_decoded_alike_alone_and_in_a_batch(steps: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    points, strides = grid(64, 96)
    box_logits = 3 * torch.randn(3, 4, len(points), 4, R, generator=generator)
    class_logits = 2 * torch.randn(3, 4, len(points), 3, generator=generator) - 2
    decoder = Decoder(steps=steps)
    together = decoder(Predictions(box_logits, class_logits, points, strides))
    for b in range(4):
        alone = decoder(Predictions(box_logits[:, b : b + 1], class_logits[:, b : b + 1], points, strides))[0]
        for name in ("step", "xyxy", "score", "class_id"):
            np.testing.assert_array_equal(getattr(alone, name), getattr(together[b], name))
        assert (np.diff(alone.score) <= 0).all()
        assert len(alone) > 10


@given(st.integers(0, 80), st.sampled_from([0.3, 0.65, 1.0]), st.sampled_from([5, 100]), st.integers(0, 10_000))
def test_what_stays_is_what_torchvisions_suppression_leaves_of_each_group(
    rows: int, iou: float, most: int, seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    corner, sides = torch.rand(rows, 2, generator=draw) * 60, torch.rand(rows, 2, generator=draw) * 40
    xyxy, groups = torch.cat((corner, corner + sides), 1), torch.randint(3, (rows,), generator=draw)
    scores = torch.linspace(1, 0, rows)
    expected: list[int] = []
    for group in range(3):
        members = torch.nonzero(groups == group)[:, 0]
        expected += members[ops.nms(xyxy[members], scores[members], iou)].tolist()
    found = suppress(xyxy.numpy(), groups.numpy(), iou, most)
    assert found.tolist() == sorted(expected)[:most]
