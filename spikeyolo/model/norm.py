"""Batch norm with the published constants, fused for training on a CPU.

Two norms in a row are one pass over the maps, because the second's statistics follow from the first's: with mean μ and
variance v of the maps, the first leaves mean β₁ and variance γ₁²·v/(v + ε).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class Norm(nn.BatchNorm2d):
    """Batch norm (ε 1e-3, momentum 0.03) on ``[N, C, H, W]``; in training with the statistics of the batch."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-3, momentum=0.03)

    def forward(self, maps: Tensor, before: Norm | None = None) -> Tensor:
        """The norm of ``maps``, or of what the norm ``before`` makes of them."""
        if self.training and _fused(maps):
            normed: Tensor = _Normalised.apply(
                maps, self.weight, self.bias, *((before.weight, before.bias) if before else (None, None)), self, before
            )
            return normed
        return super().forward(maps if before is None else before(maps))

    def scale_and_shift(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """``[C]`` each, so that the norm of ``maps`` is ``maps · scale + shift``; updates running statistics.

        What follows a norm linearly takes them into its weights: the normalised map is never written.
        """
        if self.training:
            if _fused(maps):
                mean, variance = _Moments.apply(maps)
            else:
                wide = maps if maps.dtype == torch.float64 else maps.float()
                variance, mean = torch.var_mean(wide, dim=(0, 2, 3), correction=0)
            self.update(mean.detach(), variance.detach(), maps.numel() // maps.shape[1])
        else:
            assert self.running_mean is not None
            assert self.running_var is not None
            mean, variance = self.running_mean, self.running_var
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return scale, self.bias - mean * scale

    def update(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics towards a batch's mean and biased variance over ``count`` values."""
        if not self.track_running_stats:
            return
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        with torch.no_grad():
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            unbiased = variance * (count / max(count - 1, 1))
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)


def _fused(maps: Tensor) -> bool:
    """Whether the CPU kernels take the maps; the compiler gets torch's own operators."""
    if torch.compiler.is_compiling() or not maps.is_cpu or maps.numel() == 0:
        return False
    from spikeyolo.model import normalise

    return normalise.fits(maps)


class _Moments(torch.autograd.Function):
    """Mean and biased variance of each channel."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> tuple[Tensor, Tensor]:
        from spikeyolo.model import normalise

        stats = normalise.moments(maps)
        ctx.save_for_backward(maps)
        ctx.mean = stats[0]
        mean, variance = torch.from_numpy(stats).to(maps.dtype)
        return mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_mean: Tensor, grad_variance: Tensor) -> Tensor:
        from spikeyolo.model import normalise

        (maps,) = ctx.saved_tensors
        return normalise.moments_gradient(maps, ctx.mean, grad_mean, grad_variance)


class _Normalised(torch.autograd.Function):
    """One norm or two in a row, with statistics of the batch: ``(x − μ) · scale + β`` in one pass after the moments.

    For one norm ``scale = γ · q`` with ``q = (v + ε)^-½``; for two, ``scale = γ₂ · γ₁ · q`` with
    ``q = (γ₁² · v + ε₂ · (v + ε₁))^-½``, and β₁ has no influence.
    """

    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, weight_before: Tensor | None, bias_before: Tensor | None,
        norm: Norm, before: Norm | None,
    ) -> Tensor:  # fmt: skip
        from spikeyolo.model import normalise

        ctx.save_for_backward(maps, weight, weight_before)  # weights too: torch then sees if one was changed
        ctx.norm, ctx.before = norm, before
        normed, ctx.stats = normalise.normalise(maps, norm, before)
        return normed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        from spikeyolo.model import normalise

        maps, *_ = ctx.saved_tensors
        grad_maps, (weight, bias, first) = normalise.differentiate(maps, grad, ctx.stats, ctx.norm, ctx.before)
        if ctx.before is None:
            return grad_maps, weight, bias, None, None, None, None
        return grad_maps, weight, bias, first, torch.zeros_like(bias), None, None
