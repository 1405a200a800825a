"""How many events boxes hold: each event is looked at once, however many boxes there are."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from spikeyolo.events.packing import COLUMN_SHIFT, COORDINATE, MAX_SIDE, ROW_SHIFT, Packed

Int64 = npt.NDArray[np.int64]


def count_inside(packed: Packed, xyxy: npt.NDArray[np.float32]) -> Int64:
    """Events with ``left <= x < right`` and ``top <= y < bottom`` of each box, ``[M]``.

    The boxes' sides cut the sensor into cells, in which the events are counted. The sums of all cells left of and above
    each corner (an integral image) then give a box by its four corners.

    Args:
        packed: the events.
        xyxy: the boxes, at least one, ``[M, 4]`` px.
    """
    columns, of_x = _cells(xyxy[:, 0::2])
    rows, of_y = _cells(xyxy[:, 1::2])
    sums = np.zeros((rows.max() + 2, columns.max() + 2), np.int64)
    _count(packed, of_x, of_y, sums)
    sums = sums.cumsum(0).cumsum(1)
    (left, right), (top, bottom) = columns.T, rows.T
    inside: Int64 = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return inside


def _cells(sides: npt.NDArray[np.float32]) -> tuple[Int64, Int64]:
    """Along one axis: how many cells lie before each side of each box, ``[M, 2]``; each pixel's cell, from 1 on."""
    edges, index = np.unique(sides, return_inverse=True)
    return index.reshape(sides.shape) + 1, np.searchsorted(edges, np.arange(MAX_SIDE), side="right") + 1


@numba.njit(nogil=True, cache=True)
def _count(packed: Packed, of_x: Int64, of_y: Int64, out: Any) -> None:
    for word in packed:
        row = of_y[(word >> np.uint64(ROW_SHIFT)) & np.uint64(COORDINATE)]
        out[row, of_x[(word >> np.uint64(COLUMN_SHIFT)) & np.uint64(COORDINATE)]] += 1
