"""Which cells answer for which box: task-aligned assignment (TOOD, arXiv 2108.07755), per window and time step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from spikeyolo.loss.overlap import iou

_CHUNK = 1 << 21  # pairs of box and cell that are looked at together: bounds memory, whatever the batch
_FLOOR = 1e-9  # smallest overlap told apart, so that its logarithm is finite


@dataclass(frozen=True, eq=False)
class Assignment:
    """Cells that answer for each box; P is the most cells a box may have.

    Attributes:
        cell: ``[M, P]`` int64, index into the A cells; only meaningful where ``positive``.
        positive: ``[M, P]`` bool.
        score: ``[M, P]`` float32, what the class probability shall be: 0 where not positive, and at each box's best
            cell the overlap that the box has reached.
    """

    cell: Tensor
    positive: Tensor
    score: Tensor


class TaskAlignedAssigner:
    """Gives each box the cells whose class probability and overlap with it are jointly best.

    The alignment of a cell with a box is ``probability^alpha * iou^beta``. Candidates are the cells whose centre lies
    in the box, where a box narrower or lower than the finest stride is widened to it about its centre: so every box
    whose centre lies on the grid has at least one candidate, however small it is. A cell wanted by several boxes goes
    to the one it overlaps best (then to the first of them).

    Args:
        top: P, the most cells one box is given.
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
            predicted: ``[I, A, 4]`` float32, px, the boxes the cells give now.
            points: ``[A, 2]`` px.
            strides: ``[A]`` px.
            image: ``[M]`` int64, the image of each box.
            xyxy: ``[M, 4]`` px.
            class_id: ``[M]`` int64.
            known: ``[M]`` bool; a box that is not known is given no cell.
        """
        cells = class_logits.shape[1]
        top = min(self.top, cells)
        rows = max(1, _CHUNK // cells)
        parts = [
            self._candidates(
                class_logits, predicted, points, strides, image[part], xyxy[part], class_id[part], known[part], top
            )
            for part in (slice(start, start + rows) for start in range(0, len(image), rows))
        ]
        cell, alignment, overlap = (torch.cat(columns) for columns in zip(*parts))
        positive = _settle(
            image.unsqueeze(-1) * cells + cell, alignment > -torch.inf, overlap, len(class_logits) * cells
        )
        return Assignment(cell, positive, _target(alignment, overlap, positive))

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
        """The best cells of each box, ``[M, P]`` each: index, logarithm of alignment (-inf: no candidate), overlap."""
        inside = _centre_inside(points, strides, xyxy) & known.unsqueeze(-1)
        probability = class_logits[image, :, class_id].float()
        overlap = iou(predicted[image], xyxy.unsqueeze(1))
        # logarithms order alignments that would underflow as powers: 1e-7 to the sixth
        alignment = (
            self.alpha * torch.nn.functional.logsigmoid(probability) + self.beta * overlap.clamp_min(_FLOOR).log()
        )
        best, cell = alignment.masked_fill(~inside, -torch.inf).topk(top, dim=1)
        return cell, best, overlap.gather(1, cell)


def _centre_inside(points: Tensor, strides: Tensor, xyxy: Tensor) -> Tensor:
    """``[M, A]`` bool: the cell's centre lies in the box, widened to the finest stride where it is smaller."""
    centre = (xyxy[:, :2] + xyxy[:, 2:]) / 2
    # a hair more than half a stride, so that rounding cannot leave a box between two cells
    reach = torch.maximum((xyxy[:, 2:] - xyxy[:, :2]) / 2, strides.min() * 0.501)
    away = (points.unsqueeze(0) - centre.unsqueeze(1)).abs()
    return (away <= reach.unsqueeze(1)).all(-1)


def _settle(place: Tensor, candidate: Tensor, overlap: Tensor, places: int) -> Tensor:
    """Leave each place to one box: ``[M, P]`` bool. All shapes are fixed, so a GPU is never waited for."""
    flat = place.flatten()
    wish = torch.where(candidate, overlap, -1.0).flatten()
    highest = wish.new_full((places,), -1.0).scatter_reduce_(0, flat, wish, "amax")
    winner = candidate.flatten() & (wish == highest[flat])
    row = torch.arange(len(place), device=place.device).repeat_interleave(place.shape[1])
    row = torch.where(winner, row, len(place))
    first = row.new_full((places,), len(place)).scatter_reduce_(0, flat, row, "amin")
    return (winner & (row == first[flat])).view_as(candidate)


def _target(alignment: Tensor, overlap: Tensor, positive: Tensor) -> Tensor:
    """Alignment scaled so that each box's best cell has the box's best overlap (TOOD, section 3.2)."""
    alignment = torch.where(positive, alignment, -torch.inf)
    relative = (alignment - alignment.amax(1, keepdim=True)).exp()
    reached = torch.where(positive, overlap, 0.0).amax(1, keepdim=True)
    return torch.where(positive, relative * reached, 0.0)
