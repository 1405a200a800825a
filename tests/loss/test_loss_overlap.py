"""Overlap of boxes: equal to torchvision's, unmoved by shifts and scale, finite where boxes have no area."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision import ops

from spikeyolo.loss.overlap import complete_iou, distance_iou, generalized_iou, iou

Overlap = Callable[[Tensor, Tensor], Tensor]
ALL = [iou, generalized_iou, distance_iou, complete_iou]


def random_boxes(seed: int, n: int = 40) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = 100 * torch.rand(n, 2, generator=generator, dtype=torch.float64)
    size = 0.5 + 80 * torch.rand(n, 2, generator=generator, dtype=torch.float64)
    return torch.cat((corner, corner + size), 1)


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (iou, ops.box_iou),
        (generalized_iou, ops.generalized_box_iou),
        (distance_iou, ops.distance_box_iou),
        (complete_iou, ops.complete_box_iou),
    ],
)
@given(seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_overlap_equals_torchvisions(mine: Overlap, theirs: Overlap, seed: int) -> None:
    first, second = random_boxes(seed), random_boxes(seed + 1)
    torch.testing.assert_close(mine(first[:, None], second[None]), theirs(first, second), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("overlap", ALL)
@given(seed=st.integers(0, 1000), shift=st.floats(-500, 500), scale=st.floats(0.1, 10))
@settings(max_examples=10, deadline=None)
def test_shift_and_scale_are_of_no_account(overlap: Overlap, seed: int, shift: float, scale: float) -> None:
    first, second = random_boxes(seed), random_boxes(seed + 1)
    expected = overlap(first, second)
    torch.testing.assert_close(overlap(first * scale + shift, second * scale + shift), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(overlap(second, first), expected)


@pytest.mark.parametrize("overlap", ALL)
def test_a_box_overlaps_itself_fully(overlap: Overlap) -> None:
    boxes = random_boxes(0).float()
    torch.testing.assert_close(overlap(boxes, boxes), torch.ones(len(boxes)))


@pytest.mark.parametrize("overlap", ALL)
def test_boxes_without_area_give_finite_values_and_gradients(overlap: Overlap) -> None:
    point, line, box = [5.0, 5.0, 5.0, 5.0], [0.0, 5.0, 9.0, 5.0], [0.0, 0.0, 10.0, 10.0]
    first = torch.tensor([point, point, line, line, box, box, point], requires_grad=True)
    second = torch.tensor([point, box, line, box, point, line, line])
    value = overlap(first, second)
    value.sum().backward()
    assert first.grad is not None
    assert value.isfinite().all()
    assert first.grad.isfinite().all()


@pytest.mark.parametrize("overlap", [generalized_iou, complete_iou])
def test_boxes_apart_are_drawn_together(overlap: Overlap) -> None:
    first = torch.tensor([[0.0, 0.0, 10.0, 10.0]], requires_grad=True)
    overlap(first, torch.tensor([[50.0, 20.0, 60.0, 40.0]])).sum().backward()
    assert first.grad is not None
    assert first.grad[0, 2] > 0  # the right edge is to move to the right


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        # the same square; its right half (1/2; centres 1 apart, diagonal² 32); a neighbour (a gap of 4 in 12 by 4)
        ([0, 0, 4, 4], (1.0, 1.0, 1.0)),
        ([2, 0, 4, 4], (0.5, 0.5, 0.5 - 1 / 32)),
        ([8, 0, 12, 4], (0.0, -16 / 48, -64 / 160)),
    ],
)
def test_overlaps_of_boxes_drawn_by_hand(second: list[float], expected: tuple[float, float, float]) -> None:
    first, other = torch.tensor([0.0, 0, 4, 4]), torch.tensor(second, dtype=torch.float32)
    found = [float(overlap(first, other)) for overlap in (iou, generalized_iou, distance_iou)]
    assert found == pytest.approx(expected)
