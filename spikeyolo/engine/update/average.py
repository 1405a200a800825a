"""A running average of the weights, which is what is validated, saved and shipped (Polyak averaging)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, runtime_checkable

import torch
from annotated_types import Interval
from torch import Tensor, nn


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


@dataclass(frozen=True, eq=False)
class _Pairs:
    """The tensors of an average, and in the same order those of the module that it follows."""

    averages: list[Tensor]
    weights: list[Tensor]
    copies: list[Tensor]
    buffers: list[Tensor]

    @classmethod
    def of(cls, average: nn.Module, module: nn.Module) -> _Pairs:
        target, source = average.state_dict(), module.state_dict()
        weights = [name for name, _ in average.named_parameters(remove_duplicate=False)]
        others = [name for name in target if name not in set(weights)]
        return cls(*([tensors[name] for name in names] for names in (weights, others) for tensors in (target, source)))


class WeightAverage:
    """Exponential average of a module's parameters, with its buffers as they are.

    Statistics of norms are running averages already: averaged once more they lag still further behind the weights.

    The decay grows with the number of updates, ``min(decay, (1 + n) / (10 + n))``, so that the start is forgotten.

    Args:
        decay: 0 copies the module each time.
    """

    def __init__(self, *, decay: Annotated[float, Interval(ge=0, lt=1)] = 0.998) -> None:
        self.decay = decay
        self.updates = 0
        self._pairs: _Pairs | None = None

    def start(self, module: nn.Module) -> nn.Module:
        self.updates, self._pairs = 0, None
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        return self.module

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        # Found once: a training changes its tensors in place, as its optimizer asks of it too.
        pairs = self._pairs = self._pairs or _Pairs.of(self.module, module)
        torch._foreach_lerp_(pairs.averages, pairs.weights, 1.0 - decay)
        if pairs.copies:
            torch._foreach_copy_(pairs.copies, pairs.buffers)

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.updates = int(state["updates"])
