"""The whole-sequence I-LIF pass as a torch operator: numba on a CPU, Triton on CUDA, a torch loop elsewhere.

Only one byte an element is kept for the backward pass: the spike count, and 128 more where the surrogate gradient is 1.
With the detached reset the recurrence is linear in the membrane, so the gradient is
``gv[t] = inside[t] · g[t] + decay · gv[t + 1]`` and ``gx = gain · gv``.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.autograd.graph import increment_version

from spikeyolo.errors import ConfigError

Gradient = Callable[[Tensor, Tensor, Tensor, float, float], Tensor]


def _dense(tensor: Tensor) -> Tensor:
    """The tensor itself where its time steps are whole blocks of memory (contiguous or channels-last), else a copy."""
    if tensor.dim() == 5 and not tensor.is_contiguous() and _steps_follow(tensor):
        folded = tensor.flatten(0, 1)
        return tensor if folded.is_contiguous(memory_format=torch.channels_last) else tensor.contiguous()
    return tensor.contiguous()


def _steps_follow(tensor: Tensor) -> bool:
    """Whether time steps lie one behind the other; the stride of a dimension of size 1 may be anything."""
    steps, batch = tensor.shape[:2]
    return steps == 1 or batch == 1 or tensor.stride(0) == tensor.stride(1) * batch


def _rows(tensor: Tensor) -> Tensor:
    """A dense tensor's memory as ``[T, N]``."""
    steps = tensor.shape[0]
    size = tensor.numel() // steps if steps else 0
    return tensor.as_strided((steps, size), (size, 1))


def membrane_dtype(dtype: torch.dtype) -> torch.dtype:
    """float64 stays; everything else integrates in float32, under autocast too."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def check_state(values: Tensor, current: Tensor) -> None:
    """Refuse a state that does not belong to one step of currents ``[...]``: kernels would read beyond it.

    Raises:
        ConfigError: its shape or its device is another.
    """
    if values.shape != current.shape:
        raise ConfigError(
            f"the state carried along is {list(values.shape)}, expected {list(current.shape)}: "
            "it fits the batch, frame size and network that it came from"
        )
    if values.device != current.device:
        raise ConfigError(
            f"the state carried along is on {values.device}, expected it where the maps are: {current.device}"
        )


def _same_layout(tensor: Tensor, like: Tensor) -> Tensor:
    if all(a == b for a, b, size in zip(tensor.stride(), like.stride(), like.shape, strict=True) if size > 1):
        return tensor
    return torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)


def _triton_runs(tensor: Tensor) -> bool:
    return tensor.is_cuda and importlib.util.find_spec("triton") is not None


def run_forward(
    currents: Tensor, residual: Tensor, levels: int, decay: float, margin: float, record: bool, keep: bool,
    gain: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Integer leaky integrate-and-fire neurons over all time steps.

    Args:
        currents: ``[T, ...]`` any floating dtype.
        residual: ``[...]`` membrane minus spikes of the step before in :func:`membrane_dtype`, or empty to start at 0.
        levels: D, the most spikes of one step.
        decay: share of the residual that is left after a step.
        margin: how far beyond 0 and D the surrogate gradient is 1.
        record: keep what a backward pass needs.
        keep: return the membrane left behind.
        gain: what currents are multiplied by as they reach the membrane.

    Returns:
        spikes like ``currents``; bytes like ``currents`` or empty, spike count plus 128 inside the surrogate window;
        residual like one step of ``currents`` or empty.

    Raises:
        ConfigError: ``residual`` has another shape than one step of ``currents``, or lies on another device.
    """
    currents = _dense(currents)
    spikes = torch.empty_like(currents)
    return _run_into(spikes, currents, residual, levels, decay, margin, record, keep, gain)


def _run_into(
    spikes: Tensor, currents: Tensor, residual: Tensor, levels: int, decay: float, margin: float, record: bool,
    keep: bool, gain: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """:func:`run_forward` on dense currents; ``spikes`` may be the currents themselves."""
    dtype = membrane_dtype(currents.dtype)
    kept = torch.empty_like(currents, dtype=torch.uint8) if record else _nothing(currents, torch.uint8)
    rest = torch.empty_like(currents[0], dtype=dtype) if keep else _nothing(currents, dtype)
    if residual.numel():
        check_state(residual, currents[0])
        residual = _same_layout(residual.to(dtype), rest if keep else currents[0])
    if currents.numel() == 0:
        return spikes, kept, rest
    if _triton_runs(currents):
        from spikeyolo.model.neuron import cuda

        cuda.forward(currents, residual, spikes, kept, rest, levels=levels, decay=decay, margin=margin, gain=gain)
    elif currents.is_cpu:
        from spikeyolo.model.neuron import cpu

        working = currents.to(dtype)
        written = spikes if spikes.dtype == dtype else torch.empty_like(working)
        flat_rest = rest.as_strided((rest.numel(),), (1,))
        flat_residual = residual.as_strided((residual.numel(),), (1,))
        flat_kept = _rows(kept) if record else kept.view(len(currents), 0)
        cpu.forward(
            _rows(working), flat_residual, _rows(written), flat_kept, flat_rest,
            levels=levels, decay=decay, margin=margin, gain=gain,
        )  # fmt: skip
        if written is not spikes:
            spikes.copy_(written)
    else:
        _loop_forward(currents, residual, spikes, kept, rest, levels=levels, decay=decay, margin=margin, gain=gain)
    return spikes, kept, rest


def _nothing(like: Tensor, dtype: torch.dtype) -> Tensor:
    return like.new_empty(0, dtype=dtype)


def _loop_forward(
    currents: Tensor, residual: Tensor, spikes: Tensor, kept: Tensor, rest: Tensor,
    *, levels: int, decay: float, margin: float, gain: float,
) -> None:  # fmt: skip
    left = residual if residual.numel() else None
    for step, current in enumerate(currents):
        current = gain * current.to(membrane_dtype(currents.dtype))
        membrane = current if left is None else decay * left + current
        fired = membrane.clamp(0, levels).round()
        if kept.numel():
            inside = (membrane >= -margin) & (membrane <= levels + margin)
            kept[step] = fired.to(torch.uint8) + 128 * inside
        left = membrane - fired
        spikes[step] = fired  # last: the membrane may be this memory
    if rest.numel() and left is not None:
        rest.copy_(left)


ilif = torch.library.custom_op("spikeyolo::ilif", run_forward, mutates_args=())


@ilif.register_fake
def _(
    currents: Tensor, residual: Tensor, levels: int, decay: float, margin: float, record: bool, keep: bool,
    gain: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    currents = _dense(currents)
    dtype = membrane_dtype(currents.dtype)
    return (
        torch.empty_like(currents),
        torch.empty_like(currents, dtype=torch.uint8) if record else _nothing(currents, torch.uint8),
        torch.empty_like(currents[0], dtype=dtype) if keep else _nothing(currents, dtype),
    )


def run_backward(grad_spikes: Tensor, grad_rest: Tensor, kept: Tensor, decay: float, gain: float = 1.0) -> Tensor:
    """The gradient of the currents; ``grad_rest`` is empty where nothing used the residual."""
    dtype = membrane_dtype(grad_spikes.dtype)
    grad_spikes = _same_layout(grad_spikes, kept)
    if grad_rest.numel():
        grad_rest = _same_layout(grad_rest.to(dtype), kept[0])
    if grad_spikes.numel() == 0:
        return torch.empty_like(kept, dtype=grad_spikes.dtype)
    if _triton_runs(kept):
        from spikeyolo.model.neuron import cuda

        grad_currents = torch.empty_like(kept, dtype=grad_spikes.dtype)
        cuda.backward(grad_spikes, grad_rest, kept, grad_currents, decay=decay, gain=gain)
        return grad_currents
    working = grad_spikes.to(dtype)
    grad_currents = torch.empty_like(kept, dtype=dtype)
    if kept.is_cpu:
        from spikeyolo.model.neuron import cpu

        cpu.backward(
            _rows(working), grad_rest.as_strided((grad_rest.numel(),), (1,)), _rows(kept), _rows(grad_currents),
            decay=decay, gain=gain,
        )  # fmt: skip
    else:
        _loop_backward(working, grad_rest, kept, grad_currents, decay=decay, gain=gain)
    return grad_currents.to(grad_spikes.dtype)


def _loop_backward(
    grad_spikes: Tensor, grad_rest: Tensor, kept: Tensor, grad_currents: Tensor, *, decay: float, gain: float
) -> None:
    later: Tensor | None = None
    for step in range(len(grad_spikes) - 1, -1, -1):
        here = torch.where(kept[step] >= 128, gain * grad_spikes[step], 0)
        if later is not None:
            here = here + decay * later
        elif grad_rest.numel():
            here = here + gain * grad_rest
        grad_currents[step] = here
        later = here


ilif_backward = torch.library.custom_op("spikeyolo::ilif_backward", run_backward, mutates_args=())


@ilif_backward.register_fake
def _(grad_spikes: Tensor, grad_rest: Tensor, kept: Tensor, decay: float, gain: float = 1.0) -> Tensor:
    return torch.empty_like(kept, dtype=grad_spikes.dtype)


def spike_counts(spikes: Tensor) -> Tensor | None:
    """The bytes that the pass which gave these spikes keeps for its backward pass, None where it keeps none.

    What needs the spikes later may hold on to these, and take ``bytes & 127``, instead of to the spikes themselves.
    """
    node = spikes.grad_fn
    if node is None or node.name() != "_PassBackward":
        return None
    (kept,) = node.saved_tensors  # type: ignore[attr-defined]
    return kept  # type: ignore[no-any-return]


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    _, residual, _, decay, _, _, keep, gain = inputs
    _, kept, _ = output
    ctx.save_for_backward(kept)
    ctx.decay, ctx.gain, ctx.keep = decay, gain, keep
    ctx.resumed, ctx.residual_dtype = residual.numel() > 0, residual.dtype
    ctx.mark_non_differentiable(kept)
    ctx.set_materialize_grads(False)


def _backward(
    ctx: Any, grad_spikes: Tensor | None, _: Tensor | None, grad_rest: Tensor | None, run: Gradient = ilif_backward
) -> tuple[Tensor | None, Tensor | None, None, None, None, None, None, None]:
    (kept,) = ctx.saved_tensors
    none = (None, None, None, None, None, None)
    if grad_spikes is None and grad_rest is None:
        return None, None, *none
    if grad_spikes is None and grad_rest is not None:
        grad_spikes = torch.zeros_like(kept, dtype=grad_rest.dtype)
    assert grad_spikes is not None
    if grad_rest is None or not ctx.keep:
        grad_rest = _nothing(grad_spikes, membrane_dtype(grad_spikes.dtype))
    grad_currents = run(grad_spikes, grad_rest, kept, ctx.decay, ctx.gain)
    carried = ctx.decay / ctx.gain * grad_currents[0].to(ctx.residual_dtype) if ctx.resumed else None
    return grad_currents, carried, *none


ilif.register_autograd(_backward, setup_context=_setup_context)


class _Pass(torch.autograd.Function):
    """The same pass without the dispatcher, which would load torch's compiler and costs more than a small layer."""

    @staticmethod
    def forward(ctx: Any, overwrite: bool, *inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
        currents = inputs[0]
        output = _run_into(_same_memory(currents), *inputs) if overwrite else run_forward(*inputs)
        if overwrite:
            increment_version(currents)  # so that torch objects if anything else had kept them
        _setup_context(ctx, inputs, output)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_spikes: Tensor | None, _: None, grad_rest: Tensor | None) -> Any:
        return None, *_backward(ctx, grad_spikes, None, grad_rest, run_backward)


def _same_memory(tensor: Tensor) -> Tensor:
    """Another tensor on the same memory, not known to autograd as a view: spikes are nobody's input but ours."""
    other = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return other.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.shape, tensor.stride())


def ilif_pass(
    currents: Tensor, residual: Tensor, levels: int, decay: float, margin: float, record: bool, keep: bool,
    overwrite: bool = False, gain: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """:func:`run_forward` with its gradient: the registered operator where torch traces, a plain call elsewhere.

    Args:
        overwrite: dense currents that are not a leaf may be given back as the spikes: they are nobody else's.
    """
    inputs = (currents, residual, levels, decay, margin, record, keep, gain)
    if torch.compiler.is_compiling() or type(currents) not in (Tensor, nn.Parameter):
        return ilif(*inputs)  # type: ignore[no-any-return]
    overwrite = overwrite and _dense(currents) is currents
    if overwrite and not record:
        return _run_into(currents, *inputs)
    return _Pass.apply(overwrite and currents.grad_fn is not None, *inputs)  # type: ignore[no-any-return]
