"""Which anchor points are positives of which box: task-aligned assignment (TOOD, arXiv 2108.07755), step by step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from spikeyolo.loss.overlap import iou
from spikeyolo.loss.precision import wide

_CHUNK = 1 << 21  # pairs of box and anchor point that are compared at once: bounds memory, whatever the batch
_FLOOR = 1e-9  # smallest overlap that is distinguished, so that its logarithm is finite


@dataclass(frozen=True, eq=False)
class Assignment:
    """The positives of each box; P is the most that a box may have.

    Attributes:
        anchor: ``[M, P]`` int64, index into the A anchor points; only meaningful where ``positive``.
        positive: ``[M, P]`` bool.
        score: ``[M, P]`` float32, target score of the box's class: 0 where not positive, and at each box's best anchor
            point the overlap that the box has reached.
    """

    anchor: Tensor
    positive: Tensor
    score: Tensor


class Assigner(Protocol):
    """Chooses the positives of all boxes of all images; see :meth:`TaskAlignedAssigner.__call__`."""

    def __call__(
        self,
        *,
        class_logits: Tensor,
        predicted: Tensor,
        points: Tensor,
        strides: Tensor,
        image: Tensor,
        xyxy: Tensor,
        class_id: Tensor,
        known: Tensor,
    ) -> Assignment: ...


class TaskAlignedAssigner:
    """Gives each box the anchor points whose class probability and overlap with it are jointly best.

    The alignment of an anchor point with a box is ``probability^alpha * iou^beta``. Candidates are the anchor points
    in the box, where a box narrower or lower than the finest stride is widened to it about its centre: so every box
    whose centre lies on the grid has at least one candidate, however small it is. An anchor point that is a
    candidate of several boxes goes to the one it overlaps best (then to the first of them).

    Args:
        top: P, the most positives of one box.
        alpha: exponent of the class probability.
        beta: exponent of the overlap.
    """

    def __init__(self, *, top: int = 10, alpha: float = 0.5, beta: float = 6.0) -> None:
        self.top = top
        self.alpha = alpha
        self.beta = beta

    @torch.no_grad()
    def __call__(
        self,
        *,
        class_logits: Tensor,
        predicted: Tensor,
        points: Tensor,
        strides: Tensor,
        image: Tensor,
        xyxy: Tensor,
        class_id: Tensor,
        known: Tensor,
    ) -> Assignment:
        """Assign all boxes of all images at once; an image is one time step of one window.

        Args:
            class_logits: ``[I, A, K]``.
            predicted: ``[I, A, 4]`` float32, px, the boxes that the anchor points predict now.
            points: ``[A, 2]`` px.
            strides: ``[A]`` px.
            image: ``[M]`` int64, the image of each box.
            xyxy: ``[M, 4]`` px.
            class_id: ``[M]`` int64.
            known: ``[M]`` bool; a box that is not known is given no positive.
        """
        anchors = class_logits.shape[1]
        top = min(self.top, anchors)
        parts = [
            self._candidates(
                class_logits, predicted, points, strides, image[chunk], xyxy[chunk], class_id[chunk], known[chunk], top
            )
            for chunk in chunks(len(image), anchors)
        ]
        anchor, alignment, overlap = (torch.cat(columns) for columns in zip(*parts))
        positive = settle(
            image.unsqueeze(-1) * anchors + anchor, alignment > -torch.inf, overlap, len(class_logits) * anchors
        )
        return Assignment(anchor, positive, _target(alignment, overlap, positive))

    def _candidates(
        self,
        class_logits: Tensor,
        predicted: Tensor,
        points: Tensor,
        strides: Tensor,
        image: Tensor,
        xyxy: Tensor,
        class_id: Tensor,
        known: Tensor,
        top: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Each box's best anchor points, ``[M, P]`` each: index, logarithm of alignment (-inf: none), overlap."""
        inside = centre_inside(points, strides, xyxy) & known.unsqueeze(-1)
        probability = wide(class_logits[image, :, class_id])
        overlap = iou(predicted[image], xyxy.unsqueeze(1))
        # logarithms order alignments that would underflow as powers: 1e-7 to the sixth
        alignment = (
            self.alpha * torch.nn.functional.logsigmoid(probability) + self.beta * overlap.clamp_min(_FLOOR).log()
        )
        best, anchor = alignment.masked_fill(~inside, -torch.inf).topk(top, dim=1)
        return anchor, best, overlap.gather(1, anchor)


def chunks(boxes: int, anchors: int) -> Iterator[slice]:
    """The rows of boxes whose pairs with all anchor points are held in memory at once."""
    rows = max(1, _CHUNK // anchors)
    return (slice(start, start + rows) for start in range(0, boxes, rows))


def centre_inside(points: Tensor, strides: Tensor, xyxy: Tensor) -> Tensor:
    """``[M, A]`` bool: the anchor point lies in the box, widened to the finest stride where it is smaller."""
    centre = (xyxy[:, :2] + xyxy[:, 2:]) / 2
    # a hair more than half a stride, so that rounding cannot leave a box between two anchor points
    reach = torch.maximum((xyxy[:, 2:] - xyxy[:, :2]) / 2, strides.min() * 0.501)
    away = (points.unsqueeze(0) - centre.unsqueeze(1)).abs()
    return (away <= reach.unsqueeze(1)).all(-1)


def settle(slot: Tensor, candidate: Tensor, overlap: Tensor, slots: int) -> Tensor:
    """Leave each anchor point to one box: ``[M, P]`` bool. All shapes are fixed, so a GPU is never waited for."""
    flat = slot.flatten()
    wish = torch.where(candidate, overlap, -1.0).flatten()
    highest = wish.new_full((slots,), -1.0).scatter_reduce_(0, flat, wish, "amax")
    winner = candidate.flatten() & (wish == highest[flat])
    row = torch.arange(len(slot), device=slot.device).repeat_interleave(slot.shape[1])
    row = torch.where(winner, row, len(slot))
    first = row.new_full((slots,), len(slot)).scatter_reduce_(0, flat, row, "amin")
    return (winner & (row == first[flat])).view_as(candidate)


def _target(alignment: Tensor, overlap: Tensor, positive: Tensor) -> Tensor:
    """Alignment scaled so that each box's best anchor point has the box's best overlap (TOOD, section 3.2)."""
    alignment = torch.where(positive, alignment, -torch.inf)
    relative = (alignment - alignment.amax(1, keepdim=True)).exp()
    reached = torch.where(positive, overlap, 0.0).amax(1, keepdim=True)
    return torch.where(positive, relative * reached, 0.0)
