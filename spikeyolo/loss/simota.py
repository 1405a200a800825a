"""SimOTA (YOLOX, arXiv 2107.08430): each box takes the anchor points that cost it least, as many as overlap it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from spikeyolo.loss.assign import Assignment, centre_inside, chunks, settle
from spikeyolo.loss.overlap import iou
from spikeyolo.loss.precision import wide

_FLOOR = 1e-8  # smallest overlap that is distinguished
_AWAY = 1e5  # cost of an anchor point that is not both in the box and near its centre


class SimOtaAssigner:
    """Gives each box its cheapest anchor points; their number is the sum of its best overlaps, at least one.

    The cost is the binary cross-entropy of all classes plus ``overlap_weight · (−log IoU)``. Candidates are the anchor
    points in the box (widened as in :class:`TaskAlignedAssigner`) or within ``radius`` strides of its centre; those
    that are not both are taken last. An anchor point that several boxes take goes to the one it costs least. A
    positive's target score is the overlap of the box that it predicts.

    Args:
        top: the most positives of a box, and the overlaps that are summed; 10 in the paper's code.
        radius: strides; 2.5 there.
        overlap_weight: 3 in the paper.
    """

    def __init__(self, *, top: int = 10, radius: float = 2.5, overlap_weight: float = 3.0) -> None:
        self.top = top
        self.radius = radius
        self.overlap_weight = overlap_weight

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
        background = functional.softplus(wide(class_logits)).sum(-1)  # [I, A]: cross-entropy of no class at all
        parts = [
            self._candidates(
                class_logits,
                background,
                predicted,
                points,
                strides,
                image[rows],
                xyxy[rows],
                class_id[rows],
                known[rows],
            )
            for rows in chunks(len(image), anchors)
        ]
        anchor, taken, cost, overlap = (torch.cat(columns) for columns in zip(*parts))
        slot = image.unsqueeze(-1) * anchors + anchor
        positive = settle(slot, taken, 1 / (1 + cost), len(class_logits) * anchors)
        return Assignment(anchor, positive, torch.where(positive, overlap, 0.0))

    def _candidates(
        self,
        class_logits: Tensor,
        background: Tensor,
        predicted: Tensor,
        points: Tensor,
        strides: Tensor,
        image: Tensor,
        xyxy: Tensor,
        class_id: Tensor,
        known: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Each box's cheapest anchor points, ``[M, P]`` each: index, whether taken, cost, overlap."""
        centre = (xyxy[:, :2] + xyxy[:, 2:]) / 2
        inside = centre_inside(points, strides, xyxy)
        away = (points.unsqueeze(0) - centre.unsqueeze(1)).abs().amax(-1)
        near = away <= self.radius * strides
        candidate = (inside | near) & known.unsqueeze(1)
        overlap = iou(predicted[image], xyxy.unsqueeze(1)).masked_fill(~candidate, 0.0)
        # of a logit x and its target 1 the cross-entropy is softplus(x) − x
        cost = background[image] - wide(class_logits[image, :, class_id])
        cost = cost - self.overlap_weight * overlap.clamp_min(_FLOOR).log() + _AWAY * ~(inside & near)
        top = min(self.top, len(points))
        count = overlap.topk(top, dim=1).values.sum(1).int().clamp_min(1)
        cheapest, anchor = cost.masked_fill(~candidate, torch.inf).topk(top, dim=1, largest=False)
        rank = torch.arange(top, device=count.device)
        taken = (rank < count.unsqueeze(1)) & cheapest.isfinite()
        return anchor, taken, cheapest.nan_to_num(posinf=_AWAY), overlap.gather(1, anchor)
