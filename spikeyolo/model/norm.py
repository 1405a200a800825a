"""Batch norm with the published constants, and two norms in a row as one.

Two norms in a row are one pass over the maps, because the second's statistics follow from the first's: with mean μ and
variance v of the maps, the first leaves mean β₁ and variance γ₁² · v / (v + ε₁).

Where several processes train together, a batch is what all of them hold: with ``synchronised``, its statistics are
gathered over torch's default process group, and so are the gradients through them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn

try:  # torch.compiler.disable would load the compiler with this file: two seconds of every command's start
    from torch._compile import _disable_dynamo as outside_compiler
except ImportError:  # it is torch's own, which another version may do without
    from torch.compiler import disable as outside_compiler  # type: ignore[no-redef]


class Norm(nn.BatchNorm2d):
    """Batch norm (ε 1e-3, momentum 0.03) on ``[N, C, H, W]``; in training with the statistics of the batch.

    Attributes:
        synchronised: whether the batch is that of all processes of the default process group.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-3, momentum=0.03)
        self.synchronised = False

    def forward(self, maps: Tensor, before: Norm | None = None) -> Tensor:
        """The norm of ``maps``, or of what the norm ``before`` makes of them."""
        if before is None:
            # Torch refuses one value a channel, or none.
            if self.training and (self.synchronised or maps.numel() <= maps.shape[1]):
                return _affine(maps, *self.scale_and_shift(maps))
            return super().forward(maps)
        if not (self.training and before.training):
            return super().forward(before(maps))
        mean, variance, count = before.statistics(maps)
        spread = before.weight.square() * variance / (variance + before.eps)  # what the norm before leaves
        self.track(before.bias, spread, count)
        scale = self.weight * before.weight * torch.rsqrt((spread + self.eps) * (variance + before.eps))
        shift = self.bias - mean * scale + 0 * before.bias  # β₁ has no influence, but a gradient for the optimizer
        return _affine(maps, scale, shift)

    def scale_and_shift(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """``[C]`` each, so that the norm of ``maps`` is ``maps · scale + shift``; in training, statistics are tracked.

        What follows a norm linearly takes them into its weights: the normalised map is never written.
        """
        mean, variance = self.statistics(maps)[:2] if self.training else (self.running_mean, self.running_var)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return scale, self.bias - mean * scale

    def statistics(self, maps: Tensor) -> tuple[Tensor, Tensor, int | Tensor]:
        """Mean and biased variance of each channel of the batch, ``[C]``, and how many values a channel has.

        The running ones move towards them.
        """
        mean, variance, count = moments(maps, synchronised=self.synchronised)
        self.track(mean, variance, count)
        return mean, variance, count

    @torch.no_grad()
    def track(self, mean: Tensor, variance: Tensor, count: int | Tensor) -> None:
        """Move the running statistics towards a batch's mean and biased variance over ``count`` values."""
        if isinstance(count, int):
            if not count:
                return
            unbiased = variance * (count / max(count - 1, 1))
        else:
            unbiased = variance * (count / (count - 1).clamp_min(1))
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        self.num_batches_tracked.add_(1)


def moments(maps: Tensor, *, synchronised: bool = False) -> tuple[Tensor, Tensor, int | Tensor]:
    """Mean and biased variance ``[C]`` of ``[N, C, H, W]``, and how many values a channel has.

    In float32 (float64 for float64), of which only the maps are kept for the backward pass.

    Args:
        synchronised: of the maps of all processes; those of one may be empty.
    """
    mean, variance, count = _Moments.apply(maps, synchronised)
    return mean, variance, count


def taken_off(constant: Tensor, *, bias: Tensor, norm: Norm) -> Tensor:
    """A constant ``[C]`` of the maps that ``norm`` sees next, with the gradient that it has.

    A norm with the batch's statistics takes any constant off, so the gradient is exactly 0. What rounding leaves of
    it, an optimizer that divides gradients by their size (Adam) turns into steps of the full learning rate: the
    constants wander, and the norm's running mean follows too late. The bias that the constant comes from gets zeros:
    where several processes train, each parameter needs a gradient.
    """
    return constant.detach() + 0 * bias.sum() if norm.training else constant


def _affine(maps: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """``maps · scale + shift`` by channel, in the maps' own precision."""
    return torch.addcmul(shift.view(-1, 1, 1), maps, scale.view(-1, 1, 1)).to(maps.dtype)


class _Moments(torch.autograd.Function):
    """``torch.var_mean`` takes 25 times as long on channels-last maps, and would keep bfloat16 maps in float32."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, synchronised: bool) -> tuple[Tensor, Tensor, int | Tensor]:
        wide = torch.float64 if maps.dtype == torch.float64 else torch.float32
        count: int | Tensor = maps.numel() // maps.shape[1]
        if count:
            mean = maps.mean((0, 2, 3), dtype=wide)
            variance = (maps - mean.view(-1, 1, 1)).square_().mean((0, 2, 3))
        else:  # torch's mean of nothing is not a number
            mean, variance = maps.new_zeros((2, maps.shape[1]), dtype=wide)
        if synchronised:
            mean, variance, count = _joined(mean, variance, count)
            ctx.mark_non_differentiable(count)
        ctx.save_for_backward(maps, mean)
        ctx.count, ctx.synchronised = count, synchronised
        return mean, variance, count

    @staticmethod
    def backward(ctx: Any, grad_mean: Tensor, grad_variance: Tensor, _: Any) -> tuple[Tensor, None]:
        maps, mean = ctx.saved_tensors
        if ctx.synchronised:
            grad_mean, grad_variance = _of_all(torch.stack((grad_mean, grad_variance))).sum(0)
        count = ctx.count if ctx.synchronised else max(ctx.count, 1)
        slope = grad_variance * (2 / count)
        return _affine(maps, slope, grad_mean / count - slope * mean), None


@outside_compiler
def _joined(mean: Tensor, variance: Tensor, count: int | Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of the values of all processes together, from those of each (Chan, Golub and LeVeque 1979)."""
    own = torch.cat((mean, variance, mean.new_tensor([count]))).double()
    each = _of_all(own)  # [processes, 2 C + 1]
    counts, channels = each[:, -1:], len(mean)
    total = counts.sum()
    joint = (counts * each[:, :channels]).sum(0) / total
    spread = (counts * (each[:, channels : 2 * channels] + (each[:, :channels] - joint).square())).sum(0) / total
    return joint.to(mean.dtype), spread.to(mean.dtype), total.to(mean.dtype)


def _of_all(own: Tensor) -> Tensor:
    """``[processes, ...]``: gathering is quicker than summing in gloo, and sums have one order."""
    gathered = own.new_empty(distributed.get_world_size() * own.numel())
    distributed.all_gather_single(gathered, own.contiguous().view(-1))
    return gathered.view(-1, *own.shape)
