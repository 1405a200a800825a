"""Weights of few bits: symmetric integers times one step for each output channel (Jacob et al., CVPR 2018).

What is quantised is the weight that a spike meets at inference: synapse and norms folded into one convolution. Scaling
an output channel scales its step and leaves its integers as they are, so that norms behind a convolution may be folded
before or after; norms inside a RepConv or SepRepConv are folded before. Membranes, biases and steps stay floating.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

BIAS_BYTES = STEP_BYTES = 4  # float32, one of each for an output channel


class _Rounded(torch.autograd.Function):
    """Weights on the grid, with the gradient of the weights themselves (straight-through, arXiv 1308.3432)."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bits: int) -> Tensor:
        return on_grid(weight, bits)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


def rounded(weight: Tensor, bits: int | None) -> Tensor:
    """``[O, ...]`` weights on the grid of ``bits``, differentiable; None leaves them as they are."""
    if bits is None:
        return weight
    result: Tensor = _Rounded.apply(weight, bits)
    return result


def on_grid(weight: Tensor, bits: int) -> Tensor:
    """Each output channel's weights as multiples of its step; its largest lies at the end of the grid."""
    step = steps(weight, bits)
    return torch.round(weight / step) * step


def steps(weight: Tensor, bits: int) -> Tensor:
    """The step of each output channel, ``[O, 1, 1, 1]``: the largest absolute weight is 127 (7) of them at 8 (4) bits.

    The range is symmetric, without -128 (-8), so that a channel and its negative have the same grid.
    """
    largest = weight.detach().abs().flatten(1).amax(dim=1)
    step = torch.where(largest > 0, largest / (2 ** (bits - 1) - 1), torch.ones_like(largest))
    return step.view(-1, *[1] * (weight.dim() - 1))


def stored_bytes(weights: int, outputs: int, bits: int | None, *, bias: bool) -> int:
    """What a convolution takes in storage: weights at their bits, packed, a step and a bias for each output channel.

    Args:
        weights: how many.
        outputs: channels.
        bits: None for float32, without steps.
        bias: whether it has one.
    """
    biases = BIAS_BYTES * outputs if bias else 0
    return biases + (4 * weights if bits is None else -(-weights * bits // 8) + STEP_BYTES * outputs)
