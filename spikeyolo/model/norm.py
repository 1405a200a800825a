"""Batch norm with the published constants, fused for training on a CPU.

Two norms in a row are one pass over the maps, because the second's statistics follow from the first's: with mean μ and
variance v of the maps, the first leaves mean β₁ and variance γ₁²·v/(v + ε).
"""

from __future__ import annotations

from typing import Any

import numpy as np
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
    from spikeyolo.model import kernel_norm

    return kernel_norm.fits(maps)


def _array(tensor: Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
    return tensor.detach().numpy().astype(np.float64)


class _Moments(torch.autograd.Function):
    """Mean and biased variance of each channel."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> tuple[Tensor, Tensor]:
        from spikeyolo.model import kernel_norm

        mean, variance = kernel_norm.moments(maps)
        ctx.save_for_backward(maps)
        ctx.mean = mean
        return torch.from_numpy(mean).to(maps.dtype), torch.from_numpy(variance).to(maps.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_mean: Tensor, grad_variance: Tensor) -> Tensor:
        from spikeyolo.model import kernel_norm

        (maps,) = ctx.saved_tensors
        count = maps.numel() // maps.shape[1]
        slope = 2 * _array(grad_variance) / count
        return kernel_norm.affine(maps, slope, _array(grad_mean) / count - slope * ctx.mean)


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
        from spikeyolo.model import kernel_norm

        mean, variance = kernel_norm.moments(maps)
        count = maps.numel() // maps.shape[1]
        gamma, beta = _array(weight), _array(bias)
        first = np.ones_like(gamma)
        if before is None or weight_before is None or bias_before is None:
            q = (variance + norm.eps) ** -0.5
            norm.update(torch.from_numpy(mean), torch.from_numpy(variance), count)
        else:
            first = _array(weight_before)
            q = (first * first * variance + norm.eps * (variance + before.eps)) ** -0.5
            before.update(torch.from_numpy(mean), torch.from_numpy(variance), count)
            inner = first * first * variance / (variance + before.eps)
            norm.update(bias_before, torch.from_numpy(inner), count)
        scale = gamma * first * q
        ctx.save_for_backward(maps)
        ctx.chain = before is not None
        ctx.mean, ctx.variance, ctx.q, ctx.gamma, ctx.first, ctx.eps = mean, variance, q, gamma, first, norm.eps
        return kernel_norm.affine(maps, scale, beta - mean * scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        from spikeyolo.model import kernel_norm

        (maps,) = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        total, product = kernel_norm.products(maps, grad, ctx.mean)
        count = maps.numel() // maps.shape[1]
        q, gamma, first = ctx.q, ctx.gamma, ctx.first
        scale = gamma * first * q
        # dq/dv: the factor of v inside q is 1 for one norm, γ₁² + ε₂ for two
        inside = first * first + ctx.eps if ctx.chain else 1.0
        grad_variance = -0.5 * gamma * first * product * q**3 * inside
        slope = 2 * grad_variance / count
        grad_maps = kernel_norm.affine_pair(maps, grad, scale, slope, -slope * ctx.mean - scale * total / count)
        grad_first = grad_bias_before = None
        if ctx.chain:
            value = gamma * product * (q - first * first * ctx.variance * q**3)
            grad_first = torch.from_numpy(value).to(maps.dtype)
            grad_bias_before = torch.zeros_like(grad_first)
        return (
            grad_maps,
            torch.from_numpy(product * first * q).to(maps.dtype),
            torch.from_numpy(total).to(maps.dtype),
            grad_first,
            grad_bias_before,
            None,
            None,
        )
