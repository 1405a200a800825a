"""Reductions and affine maps over channels-last feature maps on a CPU, for normalisation.

A map ``[N, H, W, C]`` is one matrix of rows and channels. Several rows are taken as one where C is small, so that the
inner loops are long enough for vector instructions. Rows are cut into blocks of a fixed size and their sums joined in
order in float64, so the result does not depend on the number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray


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
def affine(rows, scale, shift, out, per_block):  # type: ignore[no-untyped-def]
    for first in range(0, rows.shape[0], per_block):
        _affine_block(rows[first : first + per_block], scale, shift, out[first : first + per_block])


@njit(nogil=True, cache=True, parallel=True, error_model="numpy")
def affine_threads(rows, scale, shift, out, per_block):  # type: ignore[no-untyped-def]
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


@njit(nogil=True, cache=True, error_model="numpy")
def _joined(parts: NDArray[Any], channels: int, out: NDArray[np.float64]) -> None:
    """Block sums ``[blocks, lanes]`` as one float64 sum a channel, in order."""
    for channel in range(channels):
        out[channel] = 0.0
    for block in range(parts.shape[0]):
        for lane in range(parts.shape[1]):
            out[lane % channels] += np.float64(parts[block, lane])


@njit(nogil=True, cache=True, error_model="numpy")
def _lanes(values: NDArray[np.float64], out: NDArray[Any]) -> None:
    """One value a channel, repeated to one a lane."""
    for lane in range(out.size):
        out[lane] = values[lane % values.size]


@njit(nogil=True, cache=True, error_model="numpy")
def _origin(rows: NDArray[Any], channels: int) -> NDArray[Any]:
    """The first value of each channel, a lane each: no cancellation where a mean is large."""
    origin = np.empty(rows.shape[1], rows.dtype)
    for lane in range(origin.size):
        origin[lane] = rows[0, lane % channels]
    return origin


@njit(nogil=True, cache=True, error_model="numpy")
def _statistics(total, square, origin, count, stats):  # type: ignore[no-untyped-def]
    """Sums about the origin → mean and biased variance, ``stats[0]`` and ``stats[1]``."""
    channels = stats.shape[1]
    _joined(total, channels, stats[0])
    _joined(square, channels, stats[1])
    for c in range(channels):
        offset = stats[0, c] / count
        stats[1, c] = max(stats[1, c] / count - offset * offset, 0.0)
        stats[0, c] = np.float64(origin[c]) + offset


@njit(nogil=True, cache=True, error_model="numpy")
def _tracked(mean, variance, running_mean, running_variance, momentum, count):  # type: ignore[no-untyped-def]
    """Move running statistics towards a batch's."""
    unbiased = count / max(count - 1, 1)
    for c in range(mean.size):
        running_mean[c] += momentum * (mean[c] - running_mean[c])
        running_variance[c] += momentum * (variance[c] * unbiased - running_variance[c])


@njit(nogil=True, cache=True, error_model="numpy")
def _scaled(stats, weight, bias, before, eps, scale, shift):  # type: ignore[no-untyped-def]
    """Scale and shift of one norm (``before`` is empty) or two from mean and variance; ``stats[2]`` becomes q."""
    channels = stats.shape[1]
    for c in range(channels):
        first = np.float64(1.0)
        inside = stats[1, c] + eps[0]
        if before.size:
            first = np.float64(before[0, c])
            inside = first * first * stats[1, c] + eps[0] * (stats[1, c] + eps[1])
        stats[2, c] = inside**-0.5
        factor = weight[c] * first * stats[2, c]
        for lane in range(c, scale.size, channels):
            scale[lane] = factor
            shift[lane] = bias[c] - stats[0, c] * factor


@njit(nogil=True, cache=True, error_model="numpy")
def _forward_running(stats, before, running, running_before, momentum, eps, count):  # type: ignore[no-untyped-def]
    """Running statistics of one norm or two; the second sees mean β₁ and variance γ₁² · v / (v + ε₁)."""
    if before.size:
        _tracked(stats[0], stats[1], running_before[0], running_before[1], momentum[1], count)
        inner = np.empty(stats.shape[1])
        for c in range(inner.size):
            first = np.float64(before[0, c])
            inner[c] = first * first * stats[1, c] / (stats[1, c] + eps[1])
        _tracked(before[1], inner, running[0], running[1], momentum[0], count)
    else:
        _tracked(stats[0], stats[1], running[0], running[1], momentum[0], count)


@njit(nogil=True, cache=True, error_model="numpy")
def _slopes(total, product, stats, weight, before, eps, count, grads, of_grad, of_row, shift):  # type: ignore[no-untyped-def]
    """Sums over the output's gradient → gradients of the parameters, and the map's as an affine pair.

    With ``y = (x − μ) · γ · f · q`` (f is γ₁ or 1) and P = Σ g · (x − μ): ``dL/dv = −½ · γ · f · P · q³ · dq``, where
    dq, the factor of v inside q, is 1 for one norm and γ₁² + ε₂ for two.
    """
    channels = stats.shape[1]
    _joined(total, channels, grads[1])
    _joined(product, channels, grads[0])
    for c in range(channels):
        mean, variance, q = stats[0, c], stats[1, c], stats[2, c]
        summed, moment, gamma = grads[1, c], grads[0, c], np.float64(weight[c])
        first = np.float64(before[0, c]) if before.size else 1.0
        inside = first * first + eps[0] if before.size else 1.0
        scale = gamma * first * q
        slope = -gamma * first * moment * q**3 * inside / count
        grads[0, c] = moment * first * q
        grads[2, c] = gamma * moment * (q - first * first * variance * q**3)
        for lane in range(c, of_grad.size, channels):
            of_grad[lane] = scale
            of_row[lane] = slope
            shift[lane] = -slope * mean - scale * summed / count


@njit(nogil=True, cache=True, error_model="numpy")
def measure(rows, per_block, count, stats):  # type: ignore[no-untyped-def]
    blocks = (rows.shape[0] + per_block - 1) // per_block
    total = np.empty((blocks, rows.shape[1]), rows.dtype)
    square = np.empty((blocks, rows.shape[1]), rows.dtype)
    origin = _origin(rows, stats.shape[1])
    _moments(rows, origin, total, square, per_block)
    _statistics(total, square, origin, count, stats)


@njit(nogil=True, cache=True, error_model="numpy")
def measure_threads(rows, per_block, count, stats):  # type: ignore[no-untyped-def]
    blocks = (rows.shape[0] + per_block - 1) // per_block
    total = np.empty((blocks, rows.shape[1]), rows.dtype)
    square = np.empty((blocks, rows.shape[1]), rows.dtype)
    origin = _origin(rows, stats.shape[1])
    _moments_threads(rows, origin, total, square, per_block)
    _statistics(total, square, origin, count, stats)


@njit(nogil=True, cache=True, error_model="numpy")
def normalise(rows, out, weight, bias, before, running, running_before, momentum, eps, per_block, count, stats):  # type: ignore[no-untyped-def]
    scale, shift = np.empty(rows.shape[1], rows.dtype), np.empty(rows.shape[1], rows.dtype)
    measure(rows, per_block, count, stats)
    _scaled(stats, weight, bias, before, eps, scale, shift)
    _forward_running(stats, before, running, running_before, momentum, eps, count)
    affine(rows, scale, shift, out, per_block)


@njit(nogil=True, cache=True, error_model="numpy")
def normalise_threads(rows, out, weight, bias, before, running, running_before, momentum, eps, per_block, count, stats):  # type: ignore[no-untyped-def]
    scale, shift = np.empty(rows.shape[1], rows.dtype), np.empty(rows.shape[1], rows.dtype)
    measure_threads(rows, per_block, count, stats)
    _scaled(stats, weight, bias, before, eps, scale, shift)
    _forward_running(stats, before, running, running_before, momentum, eps, count)
    affine_threads(rows, scale, shift, out, per_block)


@njit(nogil=True, cache=True, error_model="numpy")
def differentiate(rows, grad, out, weight, before, eps, per_block, count, stats, grads):  # type: ignore[no-untyped-def]
    blocks, lanes = (rows.shape[0] + per_block - 1) // per_block, rows.shape[1]
    total, product = np.empty((blocks, lanes), rows.dtype), np.empty((blocks, lanes), rows.dtype)
    origin, of_grad = np.empty(lanes, rows.dtype), np.empty(lanes, rows.dtype)
    of_row, shift = np.empty(lanes, rows.dtype), np.empty(lanes, rows.dtype)
    _lanes(stats[0], origin)
    _products(rows, grad, origin, total, product, per_block)
    _slopes(total, product, stats, weight, before, eps, count, grads, of_grad, of_row, shift)
    _affine_pair(rows, grad, of_grad, of_row, shift, out, per_block)


@njit(nogil=True, cache=True, error_model="numpy")
def differentiate_threads(rows, grad, out, weight, before, eps, per_block, count, stats, grads):  # type: ignore[no-untyped-def]
    blocks, lanes = (rows.shape[0] + per_block - 1) // per_block, rows.shape[1]
    total, product = np.empty((blocks, lanes), rows.dtype), np.empty((blocks, lanes), rows.dtype)
    origin, of_grad = np.empty(lanes, rows.dtype), np.empty(lanes, rows.dtype)
    of_row, shift = np.empty(lanes, rows.dtype), np.empty(lanes, rows.dtype)
    _lanes(stats[0], origin)
    _products_threads(rows, grad, origin, total, product, per_block)
    _slopes(total, product, stats, weight, before, eps, count, grads, of_grad, of_row, shift)
    _affine_pair_threads(rows, grad, of_grad, of_row, shift, out, per_block)
