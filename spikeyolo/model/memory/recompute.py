"""Gradient checkpointing: what a block computed is forgotten, and computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from spikeyolo.model.norm import Norm


def recomputed(run: Callable[[Tensor], Tensor], maps: Tensor, owner: nn.Module) -> Tensor:
    """``run(maps)``, of which only ``maps`` is kept for the backward pass.

    Norms move their running statistics the first time only, so that they end as they do without checkpointing.

    Args:
        run: computes with the parameters of ``owner``, and draws no random numbers.
        maps: of any shape.
        owner: the module that computes, norms included.
    """
    norms = [module for module in owner.modules() if isinstance(module, Norm)]
    if torch.compiler.is_compiling():  # traced once; the compiler chooses what the backward pass computes again
        result: Tensor = checkpoint(run, maps, use_reentrant=False, preserve_rng_state=False)
        return result
    result = checkpoint(
        run,
        maps,
        use_reentrant=False,
        preserve_rng_state=False,
        context_fn=lambda: (nullcontext(), _statistics_kept(norms)),
    )
    return result


@contextmanager
def _statistics_kept(norms: list[Norm]) -> Iterator[None]:
    """Norms normalise as they do, by the same operators (which save the same tensors), but keep their statistics."""
    before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)
