"""The integer leaky integrate-and-fire recurrence on a CPU: one pass over all time steps, parallel over elements.

Every element is independent of the others, so the result does not depend on the number of threads. The operations are
those of the plain torch loop in the same order, so both agree bit for bit.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numba import njit, prange
from numpy.typing import NDArray

BLOCK = 2048  # elements a task works on: membrane, currents and spikes of one time step stay in the first-level cache
WORTH_THREADS = 1 << 16  # below so many values, waking a second thread costs more than it saves


@njit(nogil=True, cache=True, error_model="numpy")
def _forward_block(
    currents: NDArray[Any],
    residual: NDArray[Any],
    spikes: NDArray[Any],
    kept: NDArray[np.uint8],
    rest: NDArray[Any],
    constants: NDArray[Any],
    first: int,
    last: int,
) -> None:
    top, decay, margin, gain, rounding = constants[0], constants[1], constants[2], constants[3], constants[4]
    zero = top - top
    low, high = zero - margin, top + margin
    record = kept.shape[1] > 0
    membrane = np.empty(last - first, currents.dtype)
    for step in range(currents.shape[0]):
        current = currents[step, first:last]
        spike = spikes[step, first:last]
        if step == 0 and residual.size > 0:
            carried = residual[first:last]
            for i in range(membrane.size):
                membrane[i] = decay * carried[i] + gain * current[i]
        elif step == 0:
            for i in range(membrane.size):
                membrane[i] = gain * current[i]
        else:
            for i in range(membrane.size):
                membrane[i] = decay * membrane[i] + gain * current[i]
        if record:
            byte = kept[step, first:last]
            for i in range(membrane.size):
                v = membrane[i]
                clamped = zero if v < zero else (top if v > top else v)
                rounded = (clamped + rounding) - rounding  # half to even
                spike[i] = rounded
                inside = (v >= low) & (v <= high)
                byte[i] = np.int32(rounded) + (128 if inside else 0)
                membrane[i] = v - rounded
        else:
            for i in range(membrane.size):
                v = membrane[i]
                clamped = zero if v < zero else (top if v > top else v)
                rounded = (clamped + rounding) - rounding
                spike[i] = rounded
                membrane[i] = v - rounded
    if rest.size > 0:
        rest[first:last] = membrane


@njit(nogil=True, cache=True, error_model="numpy")
def _backward_block(
    grad_spikes: NDArray[Any],
    grad_rest: NDArray[Any],
    kept: NDArray[np.uint8],
    grad_currents: NDArray[Any],
    decay: Any,
    gain: Any,
    first: int,
    last: int,
) -> None:
    steps = grad_spikes.shape[0]
    zero = decay - decay
    for back in range(steps):
        step = steps - 1 - back
        byte = kept[step, first:last]
        grad = grad_spikes[step, first:last]
        out = grad_currents[step, first:last]
        if back > 0:
            later = grad_currents[step + 1, first:last]
            for i in range(out.size):
                out[i] = (gain * grad[i] if byte[i] >= 128 else zero) + decay * later[i]
        elif grad_rest.size > 0:
            later = grad_rest[first:last]
            for i in range(out.size):
                out[i] = (gain * grad[i] if byte[i] >= 128 else zero) + gain * later[i]
        else:
            for i in range(out.size):
                out[i] = gain * grad[i] if byte[i] >= 128 else zero


@njit(nogil=True, cache=True)
def _forward(currents, residual, spikes, kept, rest, constants):  # type: ignore[no-untyped-def]
    for first in range(0, currents.shape[1], BLOCK):
        last = min(first + BLOCK, currents.shape[1])
        _forward_block(currents, residual, spikes, kept, rest, constants, first, last)


@njit(nogil=True, cache=True, parallel=True)
def _forward_threads(currents, residual, spikes, kept, rest, constants):  # type: ignore[no-untyped-def]
    for block in prange((currents.shape[1] + BLOCK - 1) // BLOCK):
        first = block * BLOCK
        last = min(first + BLOCK, currents.shape[1])
        _forward_block(currents, residual, spikes, kept, rest, constants, first, last)


@njit(nogil=True, cache=True)
def _backward(grad_spikes, grad_rest, kept, grad_currents, decay, gain):  # type: ignore[no-untyped-def]
    for first in range(0, grad_spikes.shape[1], BLOCK):
        last = min(first + BLOCK, grad_spikes.shape[1])
        _backward_block(grad_spikes, grad_rest, kept, grad_currents, decay, gain, first, last)


@njit(nogil=True, cache=True, parallel=True)
def _backward_threads(grad_spikes, grad_rest, kept, grad_currents, decay, gain):  # type: ignore[no-untyped-def]
    for block in prange((grad_spikes.shape[1] + BLOCK - 1) // BLOCK):
        first = block * BLOCK
        last = min(first + BLOCK, grad_spikes.shape[1])
        _backward_block(grad_spikes, grad_rest, kept, grad_currents, decay, gain, first, last)


def _available() -> int:
    return int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


def threads_for(values: int) -> int:
    """How many threads to use, and tell numba; torch's own setting is respected at every call."""
    threads = 1 if values < WORTH_THREADS else min(torch.get_num_threads(), _available())
    if threads > 1:
        numba.set_num_threads(threads)
    return threads


def forward(
    currents: torch.Tensor,
    residual: torch.Tensor,
    spikes: torch.Tensor,
    kept: torch.Tensor,
    rest: torch.Tensor,
    *,
    levels: int,
    decay: float,
    margin: float,
    gain: float,
) -> None:
    """Write spikes, what the backward pass needs, and the membrane left behind.

    Args:
        currents: ``[T, N]`` float32 or float64, contiguous.
        residual: ``[N]`` of the same dtype, or empty for a fresh start.
        spikes: ``[T, N]`` of the same dtype.
        kept: ``[T, N]`` uint8, spike count plus 128 inside the surrogate window, or ``[T, 0]`` without gradient.
        rest: ``[N]`` of the same dtype, or empty where it is not needed.
    """
    dtype = np.float32 if currents.dtype == torch.float32 else np.float64
    rounding = 1.5 * 2.0**23 if dtype is np.float32 else 1.5 * 2.0**52
    run = _forward if threads_for(currents.numel()) == 1 else _forward_threads
    run(
        currents.numpy(),
        residual.numpy(),
        spikes.numpy(),
        kept.numpy(),
        rest.numpy(),
        np.array([levels, decay, margin, gain, rounding], dtype),
    )


def backward(
    grad_spikes: torch.Tensor,
    grad_rest: torch.Tensor,
    kept: torch.Tensor,
    grad_currents: torch.Tensor,
    *,
    decay: float,
    gain: float,
) -> None:
    """Write the gradient of the currents; shapes as in :func:`forward`."""
    dtype = np.float32 if grad_spikes.dtype == torch.float32 else np.float64
    run = _backward if threads_for(grad_spikes.numel()) == 1 else _backward_threads
    run(grad_spikes.numpy(), grad_rest.numpy(), kept.numpy(), grad_currents.numpy(), dtype(decay), dtype(gain))
