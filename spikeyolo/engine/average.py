"""A running average of the weights, which is what is validated, saved and shipped (Polyak averaging)."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential average of a module's parameters and buffers.

    The decay grows with the number of updates, ``min(decay, (1 + n) / (10 + n))``, so that the start is forgotten.

    Args:
        module: what is trained; the average starts as its copy.
        decay: 0 copies the module each time.
    """

    def __init__(self, module: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.module = copy.deepcopy(module).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the average towards ``module``."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        target, source = _tensors(self.module), _tensors(module)
        floating = [name for name, value in target.items() if value.is_floating_point()]
        torch._foreach_lerp_([target[n] for n in floating], [source[n] for n in floating], 1.0 - decay)
        for name in target.keys() - set(floating):
            target[name].copy_(source[name])


def _tensors(module: nn.Module) -> Mapping[str, Tensor]:
    return module.state_dict()
