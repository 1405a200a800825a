"""A running average of the weights, which is what is validated, saved and shipped (Polyak averaging)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Annotated, Any, Protocol, runtime_checkable

import torch
from annotated_types import Interval
from torch import nn


@runtime_checkable
class Average(Protocol):
    """What ``trainer.average`` builds."""

    def start(self, module: nn.Module) -> nn.Module:
        """Begin with a module's weights; returns the module that holds the average from now on."""

    def update(self, module: nn.Module) -> None:
        """Take in the weights of ``module`` after an update."""

    def state_dict(self) -> dict[str, Any]:
        """All but the averaged weights themselves, which a checkpoint keeps as its weights."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class WeightAverage:
    """Exponential average of a module's parameters and buffers.

    The decay grows with the number of updates, ``min(decay, (1 + n) / (10 + n))``, so that the start is forgotten.

    Args:
        decay: 0 copies the module each time.
    """

    def __init__(self, *, decay: Annotated[float, Interval(ge=0, lt=1)] = 0.998) -> None:
        self.decay = decay
        self.updates = 0

    def start(self, module: nn.Module) -> nn.Module:
        self.updates = 0
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        return self.module

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        target, source = self.module.state_dict(), module.state_dict()
        floating = [name for name, value in target.items() if value.is_floating_point()]
        torch._foreach_lerp_([target[n] for n in floating], [source[n] for n in floating], 1.0 - decay)
        for name in target.keys() - set(floating):
            target[name].copy_(source[name])

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.updates = int(state["updates"])
