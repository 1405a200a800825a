"""Schedule-free AdamW (arXiv 2405.15682): an average of the weights, kept by the optimizer, stands for a schedule."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Interval
from torch import nn

from spikeyolo.optional import optional


def schedule_free_adamw(
    params: Any,
    *,
    lr: Annotated[float, Gt(0)] = 2.5e-3,
    beta1: Annotated[float, Interval(gt=0, lt=1)] = 0.9,
    beta2: Annotated[float, Interval(ge=0, lt=1)] = 0.999,
    eps: Annotated[float, Gt(0)] = 1e-8,
    weight_decay: Annotated[float, Ge(0)] = 0.01,
) -> torch.optim.Optimizer:
    """The published implementation, ready to train.

    Raises:
        ConfigError: the package ``schedulefree`` is not installed.
    """
    kind = optional("schedulefree").AdamWScheduleFree
    optimizer: Any = kind(params, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay)
    optimizer.train()
    return optimizer  # type: ignore[no-any-return]


def is_schedule_free(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the optimizer keeps the weights to be validated apart from those it trains at."""
    return "train_mode" in optimizer.defaults


class ScheduleFreeAverage:
    """The weights that a schedule-free optimizer means to be used, x in the paper, in place of ``trainer.average``.

    Norms' statistics are those of the weights it trains at, y = β₁ x + (1 − β₁) z, which are near.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer

    def start(self, module: nn.Module) -> nn.Module:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        averaged = dict(self.module.named_parameters())
        self._pairs = {parameter: averaged[name] for name, parameter in module.named_parameters()}
        return self.module

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        for group in self._optimizer.param_groups:
            moved = [p for p in group["params"] if "z" in self._optimizer.state[p]]
            if moved:
                x: list[torch.Tensor] = [self._pairs[p] for p in moved]
                torch._foreach_copy_(x, moved)
                torch._foreach_lerp_(x, [self._optimizer.state[p]["z"] for p in moved], 1.0 - 1.0 / group["betas"][0])
        for own, buffer in zip(self.module.buffers(), module.buffers(), strict=True):
            own.copy_(buffer)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The weights are the checkpoint's, the rest is the optimizer's."""
