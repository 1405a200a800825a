"""Where the labels of boxes stand in a picture: beside their box, inside the picture, and not over one another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]


def label_corners(
    boxes: npt.NDArray[np.floating],
    sizes: npt.NDArray[np.floating],
    *,
    width: float,
    height: float,
    below: Sequence[bool] | npt.NDArray[np.bool_] | None = None,
) -> Float64:
    """Find a corner for each label, one after the other: the first spot free of earlier labels, or the least covered.

    Args:
        boxes: ``[N, 4]`` xyxy, in px of the picture; the first is served first.
        sizes: ``[N, 2]`` width and height of each label, px.
        width: of the picture, px.
        height: of the picture, px.
        below: ``[N]``, which labels would rather stand below their box than above it; None: none of them.

    Returns:
        ``[N, 2]`` left and top of each label; a label that fits into the picture lies inside it.
    """
    corners = np.zeros((len(boxes), 2))
    taken = np.empty((0, 4))
    for index, (box, size) in enumerate(zip(np.asarray(boxes, float), np.asarray(sizes, float), strict=True)):
        spots = label_spots(box, size, below=below is not None and bool(below[index]))
        limit = np.maximum(np.array([width, height]) - size, 0.0)
        spots = np.clip(spots, 0.0, limit)
        covered = covered_area(spots, size, taken)
        corners[index] = spots[int(covered.argmin())]  # the first of equals
        taken = np.vstack((taken, np.concatenate((corners[index], corners[index] + size))))
    return corners


def label_spots(box: npt.NDArray[np.floating], size: Float64, *, below: bool = False) -> Float64:
    """Candidate corners ``[S, 2]``, the best first: the box's outer edge, its inner edge, beside it, further away."""
    left, top, right, bottom = box
    w, h = size
    outside = [(left, top - h), (right - w, top - h), (left, bottom), (right - w, bottom)]
    if below:
        outside = outside[2:] + outside[:2]
    inside = [(left, top), (left, bottom - h), (right - w, top), (right - w, bottom - h)]
    beside = [(right, top), (left - w, top), (right, bottom - h), (left - w, bottom - h)]
    away = [(x, y) for step in (1, 2, 3) for y in (top - h - step * h, bottom + step * h) for x in (left, right - w)]
    return np.array(outside + inside + beside + away)


def covered_area(spots: Float64, size: Float64, taken: Float64) -> Float64:
    """Area of each spot ``[S]`` that labels ``[L, 4]`` hold already."""
    low = np.maximum(spots[:, None], taken[None, :, :2])
    high = np.minimum(spots[:, None] + size, taken[None, :, 2:])
    area: Float64 = np.clip(high - low, 0, None).prod(-1).sum(-1)
    return area
