"""Optimizers: torch's own, with weight decay on the weights of convolutions only."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

import torch
from annotated_types import Ge, Gt, Interval
from torch import nn


class OptimizerFactory(Protocol):
    lr: float

    def build(self, module: nn.Module) -> torch.optim.Optimizer: ...


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weights of two and more dimensions decay; biases, norms and neuron parameters do not."""
    decayed = [p for p in module.parameters() if p.requires_grad and p.ndim > 1]
    kept = [p for p in module.parameters() if p.requires_grad and p.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]


class Sgd:
    """Stochastic gradient descent with Nesterov momentum."""

    def __init__(
        self,
        *,
        lr: Annotated[float, Gt(0)] = 0.01,
        momentum: Annotated[float, Interval(ge=0, lt=1)] = 0.937,
        weight_decay: Annotated[float, Ge(0)] = 5e-4,
        nesterov: bool = True,
    ) -> None:
        self.lr = lr
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.nesterov = nesterov

    def build(self, module: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            parameter_groups(module, self.weight_decay),
            lr=self.lr,
            momentum=self.momentum,
            nesterov=self.nesterov and self.momentum > 0,
            foreach=True,
        )


class AdamW:
    """Adam with decoupled weight decay (arXiv 1711.05101)."""

    def __init__(
        self,
        *,
        lr: Annotated[float, Gt(0)] = 1e-3,
        beta1: Annotated[float, Interval(ge=0, lt=1)] = 0.9,
        beta2: Annotated[float, Interval(ge=0, lt=1)] = 0.999,
        eps: Annotated[float, Gt(0)] = 1e-8,
        weight_decay: Annotated[float, Ge(0)] = 0.01,
    ) -> None:
        self.lr = lr
        self.betas = (beta1, beta2)
        self.eps = eps
        self.weight_decay = weight_decay

    def build(self, module: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            parameter_groups(module, self.weight_decay), lr=self.lr, betas=self.betas, eps=self.eps, fused=True
        )
