"""Adaptive training sample selection (arXiv 1912.02424): positives by geometry alone, from a threshold for each box."""

from __future__ import annotations

import torch
from torch import Tensor

from spikeyolo.loss.assign import Assignment, centre_inside, chunks, settle
from spikeyolo.loss.overlap import iou


class AtssAssigner:
    """Takes each level's anchor points nearest to a box, of them those that overlap it more than is usual.

    An anchor point stands for the square of ``scale`` strides around it. Of each level's ``top`` nearest, a candidate
    is positive where its overlap reaches the candidates' mean plus standard deviation and it lies in the box (widened
    as in :class:`TaskAlignedAssigner`). An anchor point that is a positive of several boxes goes to the one its square
    overlaps best. Every positive's target score is 1.

    Where none is positive so, the candidate in the box that overlaps it best is, of equals the nearest. The paper has
    no such rule and, with five levels, little need of one: a box smaller than all squares overlaps those of a level
    alike, and where there are two levels, or few anchor points, mean plus deviation is then more than the best.

    Args:
        top: candidates of a level; 9 in the paper.
        scale: side of an anchor point's square, in strides; 8 in the paper.
    """

    def __init__(self, *, top: int = 9, scale: float = 8.0) -> None:
        self.top = top
        self.scale = scale

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
        """Assign all boxes of all images at once; arguments as of :class:`TaskAlignedAssigner`."""
        anchors = class_logits.shape[1]
        reach = (self.scale / 2 * strides).unsqueeze(-1)
        squares = torch.cat((points - reach, points + reach), -1)  # [A, 4]
        levels = [(strides == stride).nonzero().squeeze(1) for stride in torch.unique(strides)]
        parts = [
            self._candidates(squares, points, strides, levels, xyxy[rows], known[rows])
            for rows in chunks(len(image), anchors)
        ]
        anchor, positive, overlap = (torch.cat(columns) for columns in zip(*parts))
        positive = settle(image.unsqueeze(-1) * anchors + anchor, positive, overlap, len(class_logits) * anchors)
        return Assignment(anchor, positive, positive.to(predicted.dtype))

    def _candidates(
        self, squares: Tensor, points: Tensor, strides: Tensor, levels: list[Tensor], xyxy: Tensor, known: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Each box's candidates, ``[M, P]`` each: index, whether positive, overlap."""
        centre = (xyxy[:, :2] + xyxy[:, 2:]) / 2
        nearest = []
        for level in levels:
            distance = (points[level].unsqueeze(0) - centre.unsqueeze(1)).square().sum(-1)
            nearest.append(level[distance.topk(min(self.top, len(level)), dim=1, largest=False).indices])
        anchor = torch.cat(nearest, 1)
        overlap = iou(squares[anchor], xyxy.unsqueeze(1))
        threshold = overlap.mean(1, keepdim=True) + overlap.std(1, keepdim=True)
        inside = centre_inside(points, strides, xyxy).gather(1, anchor) & known.unsqueeze(1)
        positive = (overlap >= threshold) & inside
        return anchor, torch.where(positive.any(1, keepdim=True), positive, _first_best(overlap, inside)), overlap


def _first_best(overlap: Tensor, inside: Tensor) -> Tensor:
    """``[M, P]`` bool: of each box the first of its best candidates inside; a level's are in the order of distance."""
    worth = torch.where(inside, overlap, -1.0)
    best = inside & (worth == worth.amax(1, keepdim=True))
    return best & (best.cumsum(1) == 1)
