"""Which detection is paired with which true box: COCO's matching at any overlaps, over columns of any length.

Detections of an image and class choose in the order of their scores; each takes the true box that it overlaps most, of
those that are left and overlap enough (https://github.com/cocodataset/cocoapi, ``evaluateImg``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]


def paired(
    truth: tuple[Ids, Ids, npt.NDArray[np.float64]],
    found: tuple[Ids, Ids, npt.NDArray[np.float64]],
    score: npt.NDArray[np.float64],
    *,
    ious: Sequence[float],
    max_detections: int,
) -> tuple[Ids, npt.NDArray[np.bool_]]:
    """Pair the boxes.

    Args:
        truth, found: image ``[M]``, class ``[M]`` and box ``[M, 4]`` (left, top, width, height, px) of each.
        score: of the detections.
        ious: overlaps from which boxes make a pair.
        max_detections: of an image and class, best first.

    Returns:
        ``[T, N]`` int64, the row of the detection that is paired with each true box at each overlap, -1 where none is;
        and ``[M]`` bool, which detections are looked at.
    """
    classes = max(int(truth[1].max(initial=0)), int(found[1].max(initial=0))) + 1
    keys = truth[0] * classes + truth[1], found[0] * classes + found[1]
    true_order, found_order = np.argsort(keys[0], kind="stable"), np.lexsort((-score, keys[1]))
    groups = np.unique(keys[0])
    true_keys, found_keys = keys[0][true_order], keys[1][found_order]
    of_truth = np.searchsorted(true_keys, groups), np.searchsorted(true_keys, groups, "right")
    of_found = np.searchsorted(found_keys, groups), np.searchsorted(found_keys, groups, "right")
    pairs = np.full((len(ious), len(truth[0])), -1)
    for row, iou in zip(pairs, ious, strict=True):
        _match(of_truth, of_found, true_order, found_order, truth[2], found[2], iou, max_detections, row)
    looked_at = np.empty(len(found_keys), np.bool_)
    looked_at[found_order] = np.arange(len(found_keys)) - np.searchsorted(found_keys, found_keys) < max_detections
    return pairs, looked_at


@numba.njit(cache=True, nogil=True)
def _match(
    of_truth: Any, of_found: Any, true_order: Any, found_order: Any, true_xywh: Any, found_xywh: Any,
    least: Any, most: Any, pairs: Any,
) -> None:  # fmt: skip
    """Fill ``pairs``; ``of_truth`` and ``of_found`` hold where each image and class begins and ends in the orders."""
    (true_low, true_high), (found_low, found_high) = of_truth, of_found
    for group in range(len(true_low)):
        for i in range(found_low[group], min(found_high[group], found_low[group] + most)):
            a = found_xywh[found_order[i]]
            best, taken = least, -1
            for j in range(true_low[group], true_high[group]):
                row = true_order[j]
                if pairs[row] >= 0:
                    continue
                b = true_xywh[row]
                width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
                height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
                if width <= 0 or height <= 0:
                    continue
                inside = width * height
                overlap = inside / (a[2] * a[3] + b[2] * b[3] - inside)
                if overlap >= best:
                    best, taken = overlap, row
            if taken >= 0:
                pairs[taken] = found_order[i]
