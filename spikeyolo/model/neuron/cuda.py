"""The integer leaky integrate-and-fire recurrence on CUDA: one Triton program a block of elements, over all time steps.

The membrane stays in registers in float32 (float64 for float64 currents), whatever the currents' own precision.
Multiplication and addition are not fused, so the spikes are those of the CPU kernel.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

BLOCK = 1024


@triton.jit  # type: ignore[untyped-decorator]
def _forward(  # type: ignore[no-untyped-def]
    currents,
    residual,
    spikes,
    kept,
    rest,
    steps,
    size,
    levels: tl.constexpr,
    decay: tl.constexpr,
    margin: tl.constexpr,
    gain: tl.constexpr,
    rounding: tl.constexpr,
    double: tl.constexpr,
    resume: tl.constexpr,
    record: tl.constexpr,
    keep: tl.constexpr,
    block: tl.constexpr,
):
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = at < size
    dtype: tl.constexpr = tl.float64 if double else tl.float32
    left = tl.zeros((block,), dtype)
    if resume:
        left = tl.load(residual + at, mask=inside, other=0.0)
    for _ in range(steps):
        current = tl.load(currents + at, mask=inside, other=0.0).to(dtype)
        membrane = left * decay + current * gain
        clamped = tl.where(membrane < 0.0, 0.0, tl.where(membrane > levels, levels, membrane)).to(dtype)
        spike = (clamped + rounding) - rounding  # half to even
        tl.store(spikes + at, spike.to(spikes.dtype.element_ty), mask=inside)
        if record:
            passes = (membrane >= -margin) & (membrane <= levels + margin)
            byte = spike.to(tl.int32) + tl.where(passes, 128, 0)
            tl.store(kept + at, byte.to(tl.uint8), mask=inside)
            kept += size
        left = membrane - spike
        currents += size
        spikes += size
    if keep:
        tl.store(rest + at, left, mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _backward(  # type: ignore[no-untyped-def]
    grad_spikes,
    grad_rest,
    kept,
    grad_currents,
    steps,
    size,
    decay: tl.constexpr,
    gain: tl.constexpr,
    double: tl.constexpr,
    resume: tl.constexpr,
    block: tl.constexpr,
):
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = at < size
    dtype: tl.constexpr = tl.float64 if double else tl.float32
    later = tl.zeros((block,), dtype)
    if resume:
        later = tl.load(grad_rest + at, mask=inside, other=0.0) * gain
    for back in range(steps):
        here = (steps - 1 - back).to(tl.int64) * size + at
        grad = tl.load(grad_spikes + here, mask=inside, other=0.0).to(dtype)
        byte = tl.load(kept + here, mask=inside, other=0)
        grad = tl.where(byte >= 128, grad * gain, 0.0).to(dtype) + later
        tl.store(grad_currents + here, grad.to(grad_currents.dtype.element_ty), mask=inside)
        later = grad * decay


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
    """Write spikes, what the backward pass needs, and the membrane left behind; memory is time-major and dense.

    Args:
        currents: ``[T, ...]`` any floating dtype.
        residual: ``[...]`` float32 (float64 for float64 currents), or empty for a fresh start.
        spikes: ``[T, ...]`` of the currents' dtype.
        kept: ``[T, ...]`` uint8, spike count plus 128 inside the surrogate window, or empty without gradient.
        rest: like ``residual``, or empty where it is not needed.
    """
    steps, double = len(currents), currents.dtype == torch.float64
    size = currents.numel() // steps
    with torch.cuda.device_of(currents):  # type: ignore[no-untyped-call]  # Triton launches on the current device
        _forward[(triton.cdiv(size, BLOCK),)](
            currents,
            residual,
            spikes,
            kept,
            rest,
            steps,
            size,
            levels=float(levels),
            decay=decay,
            margin=margin,
            gain=gain,
            rounding=1.5 * 2.0 ** (52 if double else 23),
            double=double,
            resume=residual.numel() > 0,
            record=kept.numel() > 0,
            keep=rest.numel() > 0,
            block=BLOCK,
            enable_fp_fusion=False,
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
    steps = len(grad_spikes)
    size = grad_spikes.numel() // steps
    with torch.cuda.device_of(grad_spikes):  # type: ignore[no-untyped-call]
        _backward[(triton.cdiv(size, BLOCK),)](
            grad_spikes,
            grad_rest,
            kept,
            grad_currents,
            steps,
            size,
            decay=decay,
            gain=gain,
            double=grad_spikes.dtype == torch.float64,
            resume=grad_rest.numel() > 0,
            block=BLOCK,
            enable_fp_fusion=False,
        )
