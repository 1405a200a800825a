"""How much two boxes agree: plain, generalised, distance and complete intersection over union, safe for boxes of no
area."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_TINY = 1e-7  # px or px²; keeps quotients finite where both boxes are points


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union, in 0..1.

    Args:
        first, second: ``[..., 4]`` left, top, right, bottom, px; broadcast against one another.

    Returns:
        ``[...]``; 0 where neither box has an area.
    """
    return _intersection_and_union(first, second)[0]


def generalized_iou(first: Tensor, second: Tensor) -> Tensor:
    """GIoU (arXiv 1902.09630): IoU less the share of the enclosing box that neither covers; in -1..1.

    Shapes as for :func:`iou`.
    """
    value, union = _intersection_and_union(first, second)
    width, height = _enclosing(first, second)
    area = width * height
    return value - (area - union) / area.clamp_min(_TINY)


def distance_iou(first: Tensor, second: Tensor) -> Tensor:
    """DIoU (arXiv 1911.08287): IoU less the squared distance of centres, in diagonals of the enclosing box; at most 1.

    Shapes as for :func:`iou`.
    """
    value, _ = _intersection_and_union(first, second)
    return value - _centre_distance(first, second)


def complete_iou(first: Tensor, second: Tensor) -> Tensor:
    """CIoU (arXiv 1911.08287, 2005.03572): IoU less centre distance and difference of aspect ratio; at most 1.

    The weight of the aspect term is held constant in the gradient, as in the paper. Shapes as for :func:`iou`.
    """
    value, _ = _intersection_and_union(first, second)
    distance = _centre_distance(first, second)
    aspect = (4 / math.pi**2) * (_angle(first) - _angle(second)).square()
    with torch.no_grad():
        weight = aspect / (1 - value + aspect).clamp_min(_TINY)
    return value - distance - weight * aspect


def _intersection_and_union(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    upper_left = torch.maximum(first[..., :2], second[..., :2])
    lower_right = torch.minimum(first[..., 2:], second[..., 2:])
    shared = _product((lower_right - upper_left).clamp_min(0))
    union = _area(first) + _area(second) - shared
    return shared / union.clamp_min(_TINY), union


def _centre_distance(first: Tensor, second: Tensor) -> Tensor:
    """Squared, as a share of the enclosing box's squared diagonal."""
    width, height = _enclosing(first, second)
    diagonal = width.square() + height.square()
    offset = first[..., :2] + first[..., 2:] - second[..., :2] - second[..., 2:]
    return offset.square().sum(-1) / 4 / diagonal.clamp_min(_TINY)


def _area(box: Tensor) -> Tensor:
    return _product((box[..., 2:] - box[..., :2]).clamp_min(0))


def _product(size: Tensor) -> Tensor:
    """Width times height; ``prod`` would make a GPU wait in its backward."""
    return size[..., 0] * size[..., 1]


def _enclosing(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    size = torch.maximum(first[..., 2:], second[..., 2:]) - torch.minimum(first[..., :2], second[..., :2])
    return size[..., 0], size[..., 1]


def _angle(box: Tensor) -> Tensor:
    size = (box[..., 2:] - box[..., :2]).clamp_min(_TINY)
    return torch.atan(size[..., 0] / size[..., 1])
