"""The norm kernels on torch tensors: geometry of channels-last maps, and which kernels run on how many threads."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikeyolo.model import kernel_norm
from spikeyolo.model.neuron.cpu import threads_for

if TYPE_CHECKING:
    from spikeyolo.model.norm import Norm

BLOCK = 16384  # values a task works on
LANES = 128  # inner loops are made about this long


class Geometry(NamedTuple):
    """Channels-last maps as a matrix ``[rows, lanes]`` whose rows repeat the channels; ``values`` of them a channel."""

    rows: int
    lanes: int
    per_block: int
    values: int


@lru_cache(maxsize=1024)
def geometry(channels: int, count: int) -> Geometry:
    """The matrix for maps of so many channels and values a channel."""
    repeats = 1
    while repeats * channels < LANES and count % (2 * repeats) == 0:
        repeats *= 2
    lanes = repeats * channels
    return Geometry(count // repeats, lanes, max(BLOCK // lanes, 1), count)


def fits(maps: Tensor) -> bool:
    """Whether the kernels can take the maps: float32 or float64 on a CPU, dense in channels-last order."""
    return (
        maps.is_cpu
        and maps.dtype in (torch.float32, torch.float64)
        and maps.is_contiguous(memory_format=torch.channels_last)
    )


def _of(maps: Tensor) -> Geometry:
    return geometry(maps.shape[1], maps.numel() // maps.shape[1])


def _matrix(maps: Tensor, form: Geometry) -> NDArray[Any]:
    return maps.detach().as_strided((form.rows, form.lanes), (form.lanes, 1)).numpy()


def _before(before: Norm | None, like: NDArray[Any]) -> NDArray[Any]:
    """Weight and bias of the norm before, ``[2, C]``, or ``[0, C]``."""
    if before is None:
        return np.empty((0, like.size), like.dtype)
    return np.stack((before.weight.detach().numpy(), before.bias.detach().numpy()))


def _running(norm: Norm) -> tuple[NDArray[Any], NDArray[Any]]:
    """The statistics to be moved; copies that nobody reads where the norm does not track."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    if not norm.track_running_stats:
        return norm.running_mean.numpy().copy(), norm.running_var.numpy().copy()
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    return norm.running_mean.numpy(), norm.running_var.numpy()


def normalise(maps: Tensor, norm: Norm, before: Norm | None) -> tuple[Tensor, NDArray[np.float64]]:
    """The norm of maps (or of what ``before`` makes of them) with their own statistics; running ones are moved.

    Returns:
        the normed maps, and what the backward pass needs: mean, variance and q of each channel, ``[3, C]``.
    """
    form = _of(maps)
    out = torch.empty_like(maps)
    stats = np.empty((3, maps.shape[1]))
    weight = norm.weight.detach().numpy()
    running = _running(norm)
    parallel = threads_for(maps.numel()) > 1
    (kernel_norm.normalise_threads if parallel else kernel_norm.normalise)(
        _matrix(maps, form),
        _matrix(out, form),
        weight,
        norm.bias.detach().numpy(),
        _before(before, weight),
        running,
        running if before is None else _running(before),
        np.array([norm.momentum, norm.momentum if before is None else before.momentum]),
        np.array([norm.eps, norm.eps if before is None else before.eps]),
        form.per_block,
        form.values,
        stats,
    )
    return out, stats


def differentiate(
    maps: Tensor, grad: Tensor, stats: NDArray[np.float64], norm: Norm, before: Norm | None
) -> tuple[Tensor, Tensor]:
    """Gradient of the maps, and of weight, bias and the weight before, ``[3, C]``."""
    form = _of(maps)
    grad = grad.contiguous(memory_format=torch.channels_last)
    out = torch.empty_like(maps)
    grads = np.empty((3, maps.shape[1]))
    weight = norm.weight.detach().numpy()
    parallel = threads_for(maps.numel()) > 1
    (kernel_norm.differentiate_threads if parallel else kernel_norm.differentiate)(
        _matrix(maps, form),
        _matrix(grad, form),
        _matrix(out, form),
        weight,
        _before(before, weight),
        np.array([norm.eps, norm.eps if before is None else before.eps]),
        form.per_block,
        form.values,
        stats,
        grads,
    )
    return out, torch.from_numpy(grads).to(maps.dtype)


def moments(maps: Tensor) -> NDArray[np.float64]:
    """Mean and biased variance of each channel, ``[2, C]``."""
    form = _of(maps)
    stats = np.empty((2, maps.shape[1]))
    parallel = threads_for(maps.numel()) > 1
    run = kernel_norm.measure_threads if parallel else kernel_norm.measure
    run(_matrix(maps, form), form.per_block, form.values, stats)
    return stats


def moments_gradient(maps: Tensor, mean: NDArray[np.float64], grad_mean: Tensor, grad_variance: Tensor) -> Tensor:
    """Gradient of the maps from those of mean and variance, ``[C]`` each."""
    form = _of(maps)
    out = torch.empty_like(maps)
    slope = 2 * grad_variance.numpy().astype(np.float64) / form.values
    shift = grad_mean.numpy().astype(np.float64) / form.values - slope * mean
    repeats = form.lanes // maps.shape[1]
    matrix, written = _matrix(maps, form), _matrix(out, form)
    scale, shift = np.tile(slope.astype(matrix.dtype), repeats), np.tile(shift.astype(matrix.dtype), repeats)
    parallel = threads_for(maps.numel()) > 1
    run = kernel_norm.affine_threads if parallel else kernel_norm.affine
    run(matrix, scale, shift, written, form.per_block)
    return out
