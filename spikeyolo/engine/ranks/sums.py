"""Sums and rows of all processes, through which gradients pass, and how gradients themselves are summed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed
from torch._C._distributed_c10d import GradBucket
from torch.futures import Future


class Sum(torch.autograd.Function):
    """The sum over processes of a tensor that has one shape in all."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        joint = value.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(joint)
        return joint

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return Sum.apply(gradient)  # type: ignore[no-any-return]


class Rows(torch.autograd.Function):
    """The rows of all processes, in their order; there may be another number of them in each."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, rank: int, world: int) -> Tensor:
        counts = torch.zeros(world, dtype=torch.int64)
        counts[rank] = len(value)
        distributed.all_reduce(counts)
        sizes = counts.tolist()
        longest = max(sizes)
        own = value.new_zeros((longest, *value.shape[1:]))
        own[: len(value)] = value
        plain = own.to(torch.uint8) if own.dtype == torch.bool else own
        each = plain.new_empty((world * longest, *value.shape[1:]))
        if longest:
            distributed.all_gather_single(each, plain)
        ctx.begin, ctx.size = sum(sizes[:rank]), len(value)
        parts = [each[at * longest : at * longest + size] for at, size in enumerate(sizes)]
        return torch.cat(parts).to(value.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        joint = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(joint)
        return joint[ctx.begin : ctx.begin + ctx.size], None, None


def summed(bucket: GradBucket) -> Future[Tensor]:
    """DDP's mean would be wrong: each process's gradient is its share of the whole batch's."""
    work = distributed.all_reduce(bucket.buffer(), async_op=True)
    return work.get_future().then(lambda done: done.value()[0])


def summed_in_order(bucket: GradBucket) -> Future[Tensor]:
    """The sum in the order of processes, whatever lies beside a gradient in its bucket: DDP sorts its buckets anew
    after the first step, and a training that goes on shall have the digits of one that never stopped."""
    own = bucket.buffer()
    each = own.new_empty(distributed.get_world_size() * len(own))
    work = distributed.all_gather_single(each, own, async_op=True)

    def total(_: Any) -> Tensor:
        first, *others = each.view(-1, len(own)).unbind()
        joint = first.clone()
        for part in others:
            joint += part
        return joint

    assert work is not None
    return work.get_future().then(total)
