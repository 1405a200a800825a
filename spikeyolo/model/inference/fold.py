"""The folded network for inference: every norm and every RepConv taken into convolutions, borders included."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from spikeyolo.errors import ConfigError
from spikeyolo.model.blocks import RepConv, SepRepConv, SpikingConv
from spikeyolo.model.neuron import Ilif
from spikeyolo.model.norm import Norm
from spikeyolo.model.predictions import Predictions
from spikeyolo.model.pruning import remove_silent
from spikeyolo.model.quantisation import rounded

Synapses = Literal["separable", "single"]


@dataclass(frozen=True)
class FoldReport:
    """What folding did, on the frames it was checked with.

    Attributes:
        parameters_before, parameters_after: learnt values.
        macs_before, macs_after: multiply-accumulates of one forward pass.
        max_difference: the largest absolute difference of any logit.
        max_logit: the largest absolute logit, to compare with.
    """

    parameters_before: int
    parameters_after: int
    macs_before: int
    macs_after: int
    max_difference: float
    max_logit: float

    def __str__(self) -> str:
        return (
            f"parameters {self.parameters_before:,} → {self.parameters_after:,}, "
            f"MACs {self.macs_before:,} → {self.macs_after:,}, "
            f"max difference {self.max_difference:.2e} at logits up to {self.max_logit:.3g}"
        )


def _affine(norm: Norm) -> tuple[Tensor, Tensor]:
    """Scale and shift of a norm in eval mode."""
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def _convolution(weight: Tensor, bias: Tensor | None, like: nn.Conv2d | None = None, groups: int = 1) -> nn.Conv2d:
    """A convolution with these weights; stride and padding like another's, or such that the size is kept."""
    side = weight.shape[-1]
    stride, padding = (like.stride, like.padding) if like is not None else ((1, 1), (side // 2, side // 2))
    convolution = nn.Conv2d(
        weight.shape[1] * groups, weight.shape[0], side, stride, padding, groups=groups, bias=bias is not None,  # type: ignore[arg-type]
        device=weight.device, dtype=weight.dtype,
    )  # fmt: skip
    with torch.no_grad():
        convolution.weight.copy_(weight)
        if bias is not None and convolution.bias is not None:
            convolution.bias.copy_(bias)
    return convolution


def _rep_parts(rep: RepConv) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights of the three convolutions and the constant behind the last one, ``leave_norm`` taken in."""
    scale, shift = _affine(rep.enter_norm)
    out_scale, out_shift = _affine(rep.leave_norm)
    depthwise = rep.depthwise.weight * scale.view(-1, 1, 1, 1)
    leave = rep.leave.weight * out_scale.view(-1, 1, 1, 1)
    constant = shift * rep.depthwise.weight.sum(dim=(1, 2, 3))
    return rep.enter.weight, depthwise, leave, leave.flatten(1) @ constant + out_shift


def _separable_parts(synapse: SepRepConv) -> tuple[Tensor, Tensor, Tensor]:
    """Weights of the two convolutions and the constant behind the last one."""
    scale, shift = _affine(synapse.norm)
    constant = (synapse.project.weight.flatten(1) @ shift) * synapse.depthwise.weight.sum(dim=(1, 2, 3))
    return synapse.project.weight * scale.view(1, -1, 1, 1), synapse.depthwise.weight, constant


def folded_kernel(unit: SpikingConv) -> nn.Conv2d:
    """Synapse and norm of a unit as one convolution, exact in eval mode; its weights at the unit's bits."""
    synapse = unit.synapse
    like: nn.Conv2d | None = None
    groups = 1
    bias: Tensor | None
    if isinstance(synapse, RepConv):
        scale, shift = _affine(synapse.enter_norm)
        out_scale, out_shift = _affine(synapse.leave_norm)
        constant = synapse.leave.weight.flatten(1) @ (shift * synapse.depthwise.weight.sum(dim=(1, 2, 3)))
        weight, bias = synapse.kernel(scale) * out_scale.view(-1, 1, 1, 1), constant * out_scale + out_shift
    elif isinstance(synapse, SepRepConv):
        weight, bias = synapse.kernel(_affine(synapse.norm)[0]), _separable_parts(synapse)[2]
    elif isinstance(synapse, nn.Conv2d):
        value = 1.0 if unit.norm is not None else unit.spike_value
        weight, bias, like, groups = synapse.weight * value, synapse.bias, synapse, synapse.groups
    else:
        raise ConfigError(f"{type(synapse).__name__} is no synapse that can be folded into one convolution")
    if unit.norm is not None:
        scale, shift = _affine(unit.norm)
        weight = weight * scale.view(-1, 1, 1, 1)
        bias = shift if bias is None else bias * scale + shift
    weight = rounded(weight, unit.weight_bits)
    return _convolution(weight.detach(), None if bias is None else bias.detach(), like, groups)


def separable_kernels(unit: SpikingConv) -> nn.Module:
    """Synapse and norm of a unit without norms, RepConv left as its own few convolutions (fewer multiplications)."""
    synapse = unit.synapse
    if not isinstance(synapse, RepConv | SepRepConv):
        return folded_kernel(unit)
    scale, shift = _affine(unit.norm) if unit.norm is not None else (None, None)
    if isinstance(synapse, RepConv):
        enter, depthwise, leave, bias = _rep_parts(synapse)
        if scale is not None and shift is not None:
            leave, bias = leave * scale.view(-1, 1, 1, 1), bias * scale + shift
        return nn.Sequential(
            _convolution(enter.detach(), None),
            _convolution(depthwise.detach(), None, groups=len(depthwise)),
            _convolution(leave.detach(), bias.detach()),
        )
    project, depthwise, bias = _separable_parts(synapse)
    if scale is not None and shift is not None:
        depthwise, bias = depthwise * scale.view(-1, 1, 1, 1), bias * scale + shift
    return nn.Sequential(
        _convolution(project.detach(), None),
        _convolution(depthwise.detach(), bias.detach(), groups=len(depthwise)),
    )


def fold(detector: nn.Module, *, synapses: Synapses = "separable", dtype: torch.dtype | None = None) -> nn.Module:
    """A copy for inference without norms, and without the channels that pruning has silenced.

    Args:
        detector: in any mode; it is left as it is.
        synapses: ``single`` makes each synapse one convolution, so that only spikes enter convolutions (as hardware
            needs it); ``separable`` leaves 1×1 and depthwise convolutions apart, which multiplies less and is faster
            here, but for units in binary form, whose sub-steps take one convolution, and for those with weights of few
            bits, which are the one convolution's.
        dtype: of weights and maps, as they are by default. Spike counts are exact in bfloat16 up to D = 256, so only
            weights and currents are rounded; membranes integrate in float32 and logits come out in ``dtype``.
    """
    folded = copy.deepcopy(detector).eval().requires_grad_(False)
    remove_silent(folded)
    for unit in [module for module in folded.modules() if isinstance(module, SpikingConv)]:
        single = synapses == "single" or unit.needs_single_synapse or unit.weight_bits is not None
        unit.synapse = folded_kernel(unit) if single else separable_kernels(unit)
        unit.norm = unit.weight_bits = None  # what is on the grid need not go there again
        unit.spike_value = 1.0
        if unit.alone and isinstance(unit.neuron, Ilif):
            unit.neuron.overwrites = "always"
    return (folded if dtype is None else folded.to(dtype)).to(memory_format=torch.channels_last)


def is_folded(network: nn.Module) -> bool:
    """Whether there is no norm to take into a convolution: what :func:`fold` gave, or another runtime's network."""
    return not any(isinstance(module, Norm) for module in network.modules())


def macs(module: nn.Module, frames: Tensor) -> int:
    """Multiply-accumulates of all convolutions in one forward pass."""
    from torch.utils.flop_counter import FlopCounterMode  # loads Triton, which nothing else here needs

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(frames)
    return int(counter.get_total_flops()) // 2


def compare(detector: nn.Module, folded: nn.Module, frames: Tensor) -> FoldReport:
    """Run both on the same frames in eval mode and count."""
    was_training = detector.training
    detector.eval()
    try:
        with torch.no_grad():
            before: Predictions = detector(frames)
            after: Predictions = folded(frames)
        counts = macs(detector, frames), macs(folded, frames)
    finally:
        detector.train(was_training)
    pairs = ((before.box_logits, after.box_logits), (before.class_logits, after.class_logits))
    return FoldReport(
        sum(p.numel() for p in detector.parameters()),
        sum(p.numel() for p in folded.parameters()),
        *counts,
        max(float((a - b).abs().max()) for a, b in pairs),
        max(float(a.abs().max()) for a, _ in pairs),
    )
