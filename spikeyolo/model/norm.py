"""Batch norm with the published constants, and two norms in a row as one.

Two norms in a row are one pass over the maps, because the second's statistics follow from the first's: with mean μ and
variance v of the maps, the first leaves mean β₁ and variance γ₁² · v / (v + ε₁).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Norm(nn.BatchNorm2d):
    """Batch norm (ε 1e-3, momentum 0.03) on ``[N, C, H, W]``; in training with the statistics of the batch."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-3, momentum=0.03)

    def forward(self, maps: Tensor, before: Norm | None = None) -> Tensor:
        """The norm of ``maps``, or of what the norm ``before`` makes of them."""
        if before is None:
            if self.training and maps.numel() == maps.shape[1]:  # one value a channel: torch refuses it
                return _affine(maps, *self.scale_and_shift(maps))
            return super().forward(maps)
        if not (self.training and before.training):
            return super().forward(before(maps))
        mean, variance = before.statistics(maps)
        spread = before.weight.square() * variance / (variance + before.eps)  # what the norm before leaves
        self.track(before.bias, spread, maps.numel() // maps.shape[1])
        scale = self.weight * before.weight * torch.rsqrt((spread + self.eps) * (variance + before.eps))
        shift = self.bias - mean * scale + 0 * before.bias  # β₁ has no influence, but a gradient for the optimizer
        return _affine(maps, scale, shift)

    def scale_and_shift(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """``[C]`` each, so that the norm of ``maps`` is ``maps · scale + shift``; in training, statistics are tracked.

        What follows a norm linearly takes them into its weights: the normalised map is never written.
        """
        mean, variance = self.statistics(maps) if self.training else (self.running_mean, self.running_var)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return scale, self.bias - mean * scale

    def statistics(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and biased variance of each channel of the batch, ``[C]``; the running ones move towards them."""
        mean, variance = _Moments.apply(maps)
        self.track(mean, variance, maps.numel() // maps.shape[1])
        return mean, variance

    @torch.no_grad()
    def track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics towards a batch's mean and biased variance over ``count`` values."""
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        unbiased = variance * (count / max(count - 1, 1))
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        self.num_batches_tracked.add_(1)


def _affine(maps: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """``maps · scale + shift`` by channel, in the maps' own precision."""
    return torch.addcmul(shift.view(-1, 1, 1), maps, scale.view(-1, 1, 1)).to(maps.dtype)


class _Moments(torch.autograd.Function):
    """Mean and biased variance of each channel in float32 (float64 for float64), of which only the maps are kept.

    ``torch.var_mean`` takes 25 times as long on channels-last maps, and would keep bfloat16 maps in float32.
    """

    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> tuple[Tensor, Tensor]:
        wide = torch.float64 if maps.dtype == torch.float64 else torch.float32
        mean = maps.mean((0, 2, 3), dtype=wide)
        variance = (maps - mean.view(-1, 1, 1)).square_().mean((0, 2, 3))
        ctx.save_for_backward(maps, mean)
        return mean, variance

    @staticmethod
    def backward(ctx: Any, grad_mean: Tensor, grad_variance: Tensor) -> Tensor:
        maps, mean = ctx.saved_tensors
        count = maps.numel() // maps.shape[1]
        slope = grad_variance * (2 / count)
        return _affine(maps, slope, grad_mean / count - slope * mean)
