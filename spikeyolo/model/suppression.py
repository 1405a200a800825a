"""Suppression of duplicates: of detections that overlap, the best stays (arXiv 1506.02640's NMS)."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt


@numba.njit(nogil=True, cache=True, error_model="numpy")
def suppress(xyxy: Any, groups: Any, iou: float, most: int) -> npt.NDArray[np.int64]:
    """Rows that stay, best first: each overlaps no better one of its group by more than ``iou``.

    It ends when enough are found: the time is that of the rows that stay times all.

    Args:
        xyxy: ``[M, 4]`` float32 or float64, best first.
        groups: ``[M]`` int64.
        iou: intersection over union.
        most: at most so many rows.
    """
    rows = len(xyxy)
    areas = np.empty(rows, xyxy.dtype)
    for row in range(rows):
        areas[row] = (xyxy[row, 2] - xyxy[row, 0]) * (xyxy[row, 3] - xyxy[row, 1])
    kept = np.empty(min(rows, most), np.int64)
    count = 0
    for row in range(rows):
        if count == most:
            break
        left, top, right, bottom = xyxy[row, 0], xyxy[row, 1], xyxy[row, 2], xyxy[row, 3]
        free = True
        for place in range(count):
            other = kept[place]
            if groups[other] != groups[row]:
                continue
            width = min(right, xyxy[other, 2]) - max(left, xyxy[other, 0])
            height = min(bottom, xyxy[other, 3]) - max(top, xyxy[other, 1])
            if width <= 0 or height <= 0:
                continue
            shared = width * height
            if shared / (areas[row] + areas[other] - shared) > iou:
                free = False
                break
        if free:
            kept[count] = row
            count += 1
    return kept[:count]
