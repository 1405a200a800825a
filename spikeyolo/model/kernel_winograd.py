"""Minimal filtering F(4×4, 3×3) (Winograd; Lavin and Gray, CVPR 2016, arXiv 1509.09308): the ways in and out on a CPU.

A 3×3 convolution works on tiles of 4×4 outputs. Each tile's 6×6 inputs are transformed, multiplied by transformed
weights (36 matrix products over channels instead of 9·16), and transformed back. All loops run along channels, which
lie next to one another, so they become vector instructions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

TILE = 4  # outputs a side
WINDOW = TILE + 2  # inputs a side

# G of the paper: 3×3 weights w become G w Gᵀ.
WEIGHTS_IN = np.array(
    [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
     [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]]
)  # fmt: skip


@njit(nogil=True, cache=True)
def _enter_tile(maps: NDArray[Any], out: NDArray[Any], half: NDArray[Any], n: int, y: int, x: int, tile: int) -> None:
    """``Bᵀ d B`` of the window at ``maps[n, y:, x:]``, into ``out[:, tile]``."""
    channels = maps.shape[3]
    for j in range(x, x + 6):
        k = j - x
        for c in range(channels):
            half[0, k, c] = 4 * maps[n, y, j, c] - 5 * maps[n, y + 2, j, c] + maps[n, y + 4, j, c]
        for c in range(channels):
            even, odd = maps[n, y + 4, j, c] - 4 * maps[n, y + 2, j, c], maps[n, y + 3, j, c] - 4 * maps[n, y + 1, j, c]
            half[1, k, c] = even + odd
        for c in range(channels):
            even, odd = maps[n, y + 4, j, c] - 4 * maps[n, y + 2, j, c], maps[n, y + 3, j, c] - 4 * maps[n, y + 1, j, c]
            half[2, k, c] = even - odd
        for c in range(channels):
            even, odd = maps[n, y + 4, j, c] - maps[n, y + 2, j, c], 2 * (maps[n, y + 3, j, c] - maps[n, y + 1, j, c])
            half[3, k, c] = even + odd
        for c in range(channels):
            even, odd = maps[n, y + 4, j, c] - maps[n, y + 2, j, c], 2 * (maps[n, y + 3, j, c] - maps[n, y + 1, j, c])
            half[4, k, c] = even - odd
        for c in range(channels):
            half[5, k, c] = 4 * maps[n, y + 1, j, c] - 5 * maps[n, y + 3, j, c] + maps[n, y + 5, j, c]
    for i in range(6):
        for c in range(channels):
            out[6 * i, tile, c] = 4 * half[i, 0, c] - 5 * half[i, 2, c] + half[i, 4, c]
        for c in range(channels):
            even, odd = half[i, 4, c] - 4 * half[i, 2, c], half[i, 3, c] - 4 * half[i, 1, c]
            out[6 * i + 1, tile, c] = even + odd
        for c in range(channels):
            even, odd = half[i, 4, c] - 4 * half[i, 2, c], half[i, 3, c] - 4 * half[i, 1, c]
            out[6 * i + 2, tile, c] = even - odd
        for c in range(channels):
            even, odd = half[i, 4, c] - half[i, 2, c], 2 * (half[i, 3, c] - half[i, 1, c])
            out[6 * i + 3, tile, c] = even + odd
        for c in range(channels):
            even, odd = half[i, 4, c] - half[i, 2, c], 2 * (half[i, 3, c] - half[i, 1, c])
            out[6 * i + 4, tile, c] = even - odd
        for c in range(channels):
            out[6 * i + 5, tile, c] = 4 * half[i, 1, c] - 5 * half[i, 3, c] + half[i, 5, c]


@njit(nogil=True, cache=True)
def _leave_tile(
    products: NDArray[Any], bias: NDArray[Any], out: NDArray[Any], half: NDArray[Any], n: int, y: int, x: int, tile: int
) -> None:
    """``Aᵀ m A + bias`` of ``products[:, tile]``, into ``out[n, y:, x:]`` as far as it reaches."""
    height, width, channels = out.shape[1:]
    for j in range(6):
        for c in range(channels):
            half[0, j, c] = (
                products[j, tile, c]
                + (products[6 + j, tile, c] + products[12 + j, tile, c])
                + (products[18 + j, tile, c] + products[24 + j, tile, c])
            )
        for c in range(channels):
            near, far = (
                products[6 + j, tile, c] - products[12 + j, tile, c],
                products[18 + j, tile, c] - products[24 + j, tile, c],
            )
            half[1, j, c] = near + 2 * far
        for c in range(channels):
            near, far = (
                products[6 + j, tile, c] + products[12 + j, tile, c],
                products[18 + j, tile, c] + products[24 + j, tile, c],
            )
            half[2, j, c] = near + 4 * far
        for c in range(channels):
            near, far = (
                products[6 + j, tile, c] - products[12 + j, tile, c],
                products[18 + j, tile, c] - products[24 + j, tile, c],
            )
            half[3, j, c] = near + 8 * far + products[30 + j, tile, c]
    for i in range(min(4, height - y)):
        for c in range(channels):
            near, far = half[i, 1, c] + half[i, 2, c], half[i, 3, c] + half[i, 4, c]
            out[n, y + i, x, c] = half[i, 0, c] + near + far + bias[c]
        if x + 1 < width:
            for c in range(channels):
                near, far = half[i, 1, c] - half[i, 2, c], half[i, 3, c] - half[i, 4, c]
                out[n, y + i, x + 1, c] = near + 2 * far + bias[c]
        if x + 2 < width:
            for c in range(channels):
                near, far = half[i, 1, c] + half[i, 2, c], half[i, 3, c] + half[i, 4, c]
                out[n, y + i, x + 2, c] = near + 4 * far + bias[c]
        if x + 3 < width:
            for c in range(channels):
                near, far = half[i, 1, c] - half[i, 2, c], half[i, 3, c] - half[i, 4, c]
                out[n, y + i, x + 3, c] = near + 8 * far + half[i, 5, c] + bias[c]


@njit(nogil=True, cache=True)
def _enter_row(maps: NDArray[Any], out: NDArray[Any], rows: int, columns: int, row: int) -> None:
    half = np.empty((6, 6, maps.shape[3]), maps.dtype)
    for column in range(columns):
        _enter_tile(maps, out, half, row // rows, 4 * (row % rows), 4 * column, row * columns + column)


@njit(nogil=True, cache=True)
def _leave_row(
    products: NDArray[Any], bias: NDArray[Any], out: NDArray[Any], rows: int, columns: int, row: int
) -> None:
    half = np.empty((4, 6, out.shape[3]), out.dtype)
    for column in range(columns):
        _leave_tile(products, bias, out, half, row // rows, 4 * (row % rows), 4 * column, row * columns + column)


# Written out for one thread and for several: numba's cache would take two compilations of one function for the same.
@njit(nogil=True, cache=True)
def enter(maps, out, rows, columns):  # type: ignore[no-untyped-def]
    """Transform all windows of padded maps ``[N, 4·rows + 2, 4·columns + 2, C]`` into ``out`` ``[36, tiles, C]``."""
    for row in range(maps.shape[0] * rows):
        _enter_row(maps, out, rows, columns, row)


@njit(nogil=True, cache=True, parallel=True)
def enter_threads(maps, out, rows, columns):  # type: ignore[no-untyped-def]
    """:func:`enter` on several threads."""
    for row in prange(maps.shape[0] * rows):
        _enter_row(maps, out, rows, columns, row)


@njit(nogil=True, cache=True)
def leave(products, bias, out, rows, columns):  # type: ignore[no-untyped-def]
    """Transform products ``[36, tiles, C]`` back into maps ``[N, H, W, C]``, cut at their borders."""
    for row in range(out.shape[0] * rows):
        _leave_row(products, bias, out, rows, columns, row)


@njit(nogil=True, cache=True, parallel=True)
def leave_threads(products, bias, out, rows, columns):  # type: ignore[no-untyped-def]
    """:func:`leave` on several threads."""
    for row in prange(out.shape[0] * rows):
        _leave_row(products, bias, out, rows, columns, row)
