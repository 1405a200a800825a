"""Reductions and affine maps over channels-last feature maps on a CPU, for normalisation.

A map ``[N, H, W, C]`` is one matrix of rows and channels. Several rows are taken as one where C is small, so that the
inner loops are long enough for vector instructions. Rows are cut into blocks of a fixed size and their sums joined in
order in float64, so the result does not depend on the number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit, prange
from numpy.typing import NDArray

from spikeyolo.model.kernel_numba import threads_for

BLOCK = 16384  # values a task works on
LANES = 128  # inner loops are made about this long


@njit(nogil=True, cache=True, error_model="numpy")
def _moments_block(rows: NDArray[Any], origin: NDArray[Any], total: NDArray[Any], square: NDArray[Any]) -> None:
    for i in range(total.size):
        total[i] = 0
        square[i] = 0
    for row in range(rows.shape[0]):
        values = rows[row]
        for i in range(values.size):
            centred = values[i] - origin[i]
            total[i] += centred
            square[i] += centred * centred


@njit(nogil=True, cache=True, error_model="numpy")
def _moments(rows, origin, total, square, per_block):  # type: ignore[no-untyped-def]
    for block in range(total.shape[0]):
        part = rows[block * per_block : (block + 1) * per_block]
        _moments_block(part, origin, total[block], square[block])


@njit(nogil=True, cache=True, parallel=True, error_model="numpy")
def _moments_threads(rows, origin, total, square, per_block):  # type: ignore[no-untyped-def]
    for block in prange(total.shape[0]):
        part = rows[block * per_block : (block + 1) * per_block]
        _moments_block(part, origin, total[block], square[block])


@njit(nogil=True, cache=True, error_model="numpy")
def _products_block(
    rows: NDArray[Any], grad: NDArray[Any], origin: NDArray[Any], total: NDArray[Any], product: NDArray[Any]
) -> None:
    for i in range(total.size):
        total[i] = 0
        product[i] = 0
    for row in range(rows.shape[0]):
        values, grads = rows[row], grad[row]
        for i in range(values.size):
            total[i] += grads[i]
            product[i] += grads[i] * (values[i] - origin[i])


@njit(nogil=True, cache=True, error_model="numpy")
def _products(rows, grad, origin, total, product, per_block):  # type: ignore[no-untyped-def]
    for block in range(total.shape[0]):
        first, last = block * per_block, (block + 1) * per_block
        _products_block(rows[first:last], grad[first:last], origin, total[block], product[block])


@njit(nogil=True, cache=True, parallel=True, error_model="numpy")
def _products_threads(rows, grad, origin, total, product, per_block):  # type: ignore[no-untyped-def]
    for block in prange(total.shape[0]):
        first, last = block * per_block, (block + 1) * per_block
        _products_block(rows[first:last], grad[first:last], origin, total[block], product[block])


@njit(nogil=True, cache=True, error_model="numpy")
def _affine_block(rows: NDArray[Any], scale: NDArray[Any], shift: NDArray[Any], out: NDArray[Any]) -> None:
    for row in range(rows.shape[0]):
        values, written = rows[row], out[row]
        for i in range(values.size):
            written[i] = values[i] * scale[i] + shift[i]


@njit(nogil=True, cache=True, error_model="numpy")
def _affine(rows, scale, shift, out, per_block):  # type: ignore[no-untyped-def]
    for first in range(0, rows.shape[0], per_block):
        _affine_block(rows[first : first + per_block], scale, shift, out[first : first + per_block])


@njit(nogil=True, cache=True, parallel=True, error_model="numpy")
def _affine_threads(rows, scale, shift, out, per_block):  # type: ignore[no-untyped-def]
    for block in prange((rows.shape[0] + per_block - 1) // per_block):
        first = block * per_block
        _affine_block(rows[first : first + per_block], scale, shift, out[first : first + per_block])


@njit(nogil=True, cache=True, error_model="numpy")
def _affine_pair_block(
    rows: NDArray[Any], grad: NDArray[Any], of_grad: NDArray[Any], of_row: NDArray[Any], shift: NDArray[Any],
    out: NDArray[Any],
) -> None:  # fmt: skip
    for row in range(rows.shape[0]):
        values, grads, written = rows[row], grad[row], out[row]
        for i in range(values.size):
            written[i] = grads[i] * of_grad[i] + values[i] * of_row[i] + shift[i]


@njit(nogil=True, cache=True, error_model="numpy")
def _affine_pair(rows, grad, of_grad, of_row, shift, out, per_block):  # type: ignore[no-untyped-def]
    for first in range(0, rows.shape[0], per_block):
        last = first + per_block
        _affine_pair_block(rows[first:last], grad[first:last], of_grad, of_row, shift, out[first:last])


@njit(nogil=True, cache=True, parallel=True, error_model="numpy")
def _affine_pair_threads(rows, grad, of_grad, of_row, shift, out, per_block):  # type: ignore[no-untyped-def]
    for block in prange((rows.shape[0] + per_block - 1) // per_block):
        first = block * per_block
        last = first + per_block
        _affine_pair_block(rows[first:last], grad[first:last], of_grad, of_row, shift, out[first:last])


def fits(maps: torch.Tensor) -> bool:
    """Whether these kernels can take the maps: float32 or float64 on a CPU, dense in channels-last order."""
    return (
        maps.is_cpu
        and maps.dtype in (torch.float32, torch.float64)
        and maps.is_contiguous(memory_format=torch.channels_last)
    )


class Rows:
    """Channels-last maps ``[N, C, H, W]`` as a matrix whose rows repeat the channels ``repeats`` times."""

    def __init__(self, maps: torch.Tensor) -> None:
        self.channels = maps.shape[1]
        self.count = maps.numel() // self.channels
        self.repeats = 1
        while self.repeats * self.channels < LANES and self.count % (2 * self.repeats) == 0:
            self.repeats *= 2
        self.lanes = self.repeats * self.channels
        self.per_block = max(BLOCK // self.lanes, 1)
        self.blocks = -(-self.count // self.repeats // self.per_block)
        self.dtype = np.float32 if maps.dtype == torch.float32 else np.float64
        self.parallel = threads_for(maps.numel()) > 1

    def matrix(self, maps: torch.Tensor) -> NDArray[Any]:
        """The maps' memory, ``[rows, lanes]``."""
        return maps.as_strided((self.count // self.repeats, self.lanes), (self.lanes, 1)).numpy()

    def lane(self, values: NDArray[Any]) -> NDArray[Any]:
        """One value a channel, repeated to one a lane."""
        return np.tile(values.astype(self.dtype), self.repeats)

    def joined(self, parts: NDArray[Any]) -> NDArray[np.float64]:
        """Block sums ``[blocks, lanes]`` as one float64 sum a channel."""
        lanes = parts.sum(axis=0, dtype=np.float64)
        return lanes.reshape(self.repeats, self.channels).sum(axis=0)  # type: ignore[no-any-return]


def moments(maps: torch.Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and biased variance of each channel, ``[C]`` float64."""
    rows = Rows(maps)
    matrix = rows.matrix(maps.detach())
    # the first value of each channel as origin: no cancellation where the mean is large
    origin = matrix[0, : rows.channels].astype(np.float64)
    total = np.empty((rows.blocks, rows.lanes), rows.dtype)
    square = np.empty_like(total)
    (_moments_threads if rows.parallel else _moments)(matrix, rows.lane(origin), total, square, rows.per_block)
    offset = rows.joined(total) / rows.count
    variance = rows.joined(square) / rows.count - offset * offset
    return origin + offset, np.maximum(variance, 0)


def products(
    maps: torch.Tensor, grad: torch.Tensor, origin: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Σ grad and Σ grad · (maps − origin) of each channel, ``[C]`` float64."""
    rows = Rows(maps)
    total = np.empty((rows.blocks, rows.lanes), rows.dtype)
    product = np.empty_like(total)
    run = _products_threads if rows.parallel else _products
    run(rows.matrix(maps), rows.matrix(grad), rows.lane(origin), total, product, rows.per_block)
    return rows.joined(total), rows.joined(product)


def affine(maps: torch.Tensor, scale: NDArray[Any], shift: NDArray[Any]) -> torch.Tensor:
    """``maps · scale + shift``, one scale and shift a channel."""
    rows = Rows(maps)
    out = torch.empty_like(maps)
    run = _affine_threads if rows.parallel else _affine
    run(rows.matrix(maps), rows.lane(scale), rows.lane(shift), rows.matrix(out), rows.per_block)
    return out


def affine_pair(
    maps: torch.Tensor, grad: torch.Tensor, of_grad: NDArray[Any], of_maps: NDArray[Any], shift: NDArray[Any]
) -> torch.Tensor:
    """``grad · of_grad + maps · of_maps + shift``, one value a channel each."""
    rows = Rows(maps)
    out = torch.empty_like(maps)
    (_affine_pair_threads if rows.parallel else _affine_pair)(
        rows.matrix(maps), rows.matrix(grad), rows.lane(of_grad), rows.lane(of_maps), rows.lane(shift),
        rows.matrix(out), rows.per_block,
    )  # fmt: skip
    return out
