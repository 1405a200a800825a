"""The whole-sequence I-LIF pass as a torch operator: numba on a CPU, Triton on CUDA, a torch loop elsewhere.

Only one boolean an element is kept for the backward pass. With the detached reset the recurrence is linear in the
membrane, so the gradient is ``gv[t] = window[t] · g[t] + decay · gv[t + 1]`` and ``gx = gv``.
"""

from __future__ import annotations

import importlib.util

import torch
from torch import Tensor


def _dense(tensor: Tensor) -> Tensor:
    """The tensor itself where its time steps are whole blocks of memory (contiguous or channels-last), else a copy."""
    if tensor.dim() == 5 and not tensor.is_contiguous() and tensor.stride(0) == tensor.stride(1) * tensor.shape[1]:
        folded = tensor.flatten(0, 1)
        return tensor if folded.is_contiguous(memory_format=torch.channels_last) else tensor.contiguous()
    return tensor.contiguous()


def _rows(tensor: Tensor) -> Tensor:
    """A dense tensor's memory as ``[T, N]``."""
    steps = tensor.shape[0]
    size = tensor.numel() // steps if steps else 0
    return tensor.as_strided((steps, size), (size, 1))


def membrane_dtype(dtype: torch.dtype) -> torch.dtype:
    """float64 stays; everything else integrates in float32, under autocast too."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _same_layout(tensor: Tensor, like: Tensor) -> Tensor:
    if tensor.stride() == like.stride():
        return tensor
    return torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)


def _triton_runs(tensor: Tensor) -> bool:
    return tensor.is_cuda and importlib.util.find_spec("triton") is not None


@torch.library.custom_op("spikeyolo::ilif", mutates_args=())
def ilif(
    currents: Tensor, residual: Tensor, levels: int, decay: float, margin: float, record: bool, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Integer leaky integrate-and-fire neurons over all time steps.

    Args:
        currents: ``[T, ...]`` any floating dtype.
        residual: ``[...]`` membrane minus spikes of the step before in :func:`membrane_dtype`, or empty to start at 0.
        levels: D, the most spikes of one step.
        decay: share of the residual that is left after a step.
        margin: how far beyond 0 and D the surrogate gradient is 1.
        record: keep the surrogate window for a backward pass.
        keep: return the membrane left behind.

    Returns:
        spikes like ``currents``; window, bool like ``currents`` or empty; residual like one step of them or empty.
    """
    currents = _dense(currents)
    working = currents.to(membrane_dtype(currents.dtype))
    spikes = torch.empty_like(currents)
    window = torch.empty_like(currents, dtype=torch.bool) if record else _nothing(currents, torch.bool)
    rest = torch.empty_like(working[0]) if keep else _nothing(currents, working.dtype)
    if residual.numel():
        residual = _same_layout(residual, working[0])
    if currents.numel() == 0:
        return spikes, window, rest
    if _triton_runs(currents):
        from spikeyolo.model import kernel_triton

        kernel_triton.forward(currents, residual, spikes, window, rest, levels=levels, decay=decay, margin=margin)
    elif currents.is_cpu:
        from spikeyolo.model import kernel_numba

        written = spikes if spikes.dtype == working.dtype else torch.empty_like(working)
        flat_rest = rest.as_strided((rest.numel(),), (1,))
        flat_residual = residual.as_strided((residual.numel(),), (1,))
        flat_window = _rows(window) if record else window.view(len(currents), 0)
        kernel_numba.forward(
            _rows(working), flat_residual, _rows(written), flat_window, flat_rest,
            levels=levels, decay=decay, margin=margin,
        )  # fmt: skip
        if written is not spikes:
            spikes.copy_(written)
    else:
        _loop_forward(working, residual, spikes, window, rest, levels=levels, decay=decay, margin=margin)
    return spikes, window, rest


def _nothing(like: Tensor, dtype: torch.dtype) -> Tensor:
    return like.new_empty(0, dtype=dtype)


def _loop_forward(
    currents: Tensor, residual: Tensor, spikes: Tensor, window: Tensor, rest: Tensor,
    *, levels: int, decay: float, margin: float,
) -> None:  # fmt: skip
    left = residual if residual.numel() else None
    for step, current in enumerate(currents):
        membrane = current if left is None else decay * left + current
        fired = membrane.clamp(0, levels).round()
        spikes[step] = fired
        if window.numel():
            window[step] = (membrane >= -margin) & (membrane <= levels + margin)
        left = membrane - fired
    if rest.numel() and left is not None:
        rest.copy_(left)


@ilif.register_fake
def _(
    currents: Tensor, residual: Tensor, levels: int, decay: float, margin: float, record: bool, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    currents = _dense(currents)
    dtype = membrane_dtype(currents.dtype)
    return (
        torch.empty_like(currents),
        torch.empty_like(currents, dtype=torch.bool) if record else _nothing(currents, torch.bool),
        torch.empty_like(currents[0], dtype=dtype) if keep else _nothing(currents, dtype),
    )


@torch.library.custom_op("spikeyolo::ilif_backward", mutates_args=())
def ilif_backward(grad_spikes: Tensor, grad_rest: Tensor, window: Tensor, decay: float) -> Tensor:
    """The gradient of the currents; ``grad_rest`` is empty where nothing used the residual."""
    dtype = membrane_dtype(grad_spikes.dtype)
    grad_spikes = _same_layout(grad_spikes, window)
    if grad_rest.numel():
        grad_rest = _same_layout(grad_rest.to(dtype), window[0])
    if grad_spikes.numel() == 0:
        return torch.empty_like(window, dtype=grad_spikes.dtype)
    if _triton_runs(window):
        from spikeyolo.model import kernel_triton

        grad_currents = torch.empty_like(window, dtype=grad_spikes.dtype)
        kernel_triton.backward(grad_spikes, grad_rest, window, grad_currents, decay=decay)
        return grad_currents
    working = grad_spikes.to(dtype)
    grad_currents = torch.empty_like(window, dtype=dtype)
    if window.is_cpu:
        from spikeyolo.model import kernel_numba

        kernel_numba.backward(
            _rows(working), grad_rest.as_strided((grad_rest.numel(),), (1,)), _rows(window), _rows(grad_currents),
            decay=decay,
        )  # fmt: skip
    else:
        _loop_backward(working, grad_rest, window, grad_currents, decay=decay)
    return grad_currents.to(grad_spikes.dtype)


def _loop_backward(
    grad_spikes: Tensor, grad_rest: Tensor, window: Tensor, grad_currents: Tensor, *, decay: float
) -> None:
    later: Tensor | None = None
    for step in range(len(grad_spikes) - 1, -1, -1):
        here = torch.where(window[step], grad_spikes[step], 0)
        if later is not None:
            here = here + decay * later
        elif grad_rest.numel():
            here = here + grad_rest
        grad_currents[step] = here
        later = here


@ilif_backward.register_fake
def _(grad_spikes: Tensor, grad_rest: Tensor, window: Tensor, decay: float) -> Tensor:
    return torch.empty_like(window, dtype=grad_spikes.dtype)


def _setup_context(
    ctx: torch.autograd.function.FunctionCtx,
    inputs: tuple[Tensor, Tensor, int, float, float, bool, bool],
    output: tuple[Tensor, Tensor, Tensor],
) -> None:
    _, residual, _, decay, _, _, keep = inputs
    _, window, _ = output
    ctx.save_for_backward(window)
    ctx.decay, ctx.keep, ctx.resumed, ctx.residual_dtype = decay, keep, residual.numel() > 0, residual.dtype  # type: ignore[attr-defined]
    ctx.mark_non_differentiable(window)
    ctx.set_materialize_grads(False)


def _backward(
    ctx: torch.autograd.function.FunctionCtx, grad_spikes: Tensor | None, _: Tensor | None, grad_rest: Tensor | None
) -> tuple[Tensor | None, Tensor | None, None, None, None, None, None]:
    (window,) = ctx.saved_tensors  # type: ignore[attr-defined]
    none = (None, None, None, None, None)
    if grad_spikes is None and grad_rest is None:
        return None, None, *none
    if grad_spikes is None and grad_rest is not None:
        grad_spikes = torch.zeros_like(window, dtype=grad_rest.dtype)
    assert grad_spikes is not None
    if grad_rest is None or not ctx.keep:  # type: ignore[attr-defined]
        grad_rest = _nothing(grad_spikes, membrane_dtype(grad_spikes.dtype))
    grad_currents = ilif_backward(grad_spikes, grad_rest, window, ctx.decay)  # type: ignore[attr-defined]
    carried = ctx.decay * grad_currents[0].to(ctx.residual_dtype) if ctx.resumed else None  # type: ignore[attr-defined]
    return grad_currents, carried, *none


ilif.register_autograd(_backward, setup_context=_setup_context)
