"""Optimizers: any class of ``torch.optim`` by ``_target_``, with weight decay on the weights of convolutions only.

The configuration's node is built in two steps: its values at once, the parameters when training begins. The two classes
here are torch's own with this project's defaults, and ranges that are checked before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Interval
from torch import nn

from spikeyolo.errors import CheckpointError, ConfigError

ParameterGroups = list[dict[str, Any]]
OptimizerFactory = Callable[[ParameterGroups], torch.optim.Optimizer]


def parameter_groups(module: nn.Module) -> ParameterGroups:
    """Weights of two and more dimensions decay as the optimizer says; biases, norms and neuron parameters do not."""
    decayed = [p for p in module.parameters() if p.requires_grad and p.ndim > 1]
    kept = [p for p in module.parameters() if p.requires_grad and p.ndim <= 1]
    return [{"params": decayed}, {"params": kept, "weight_decay": 0.0}]


def build_optimizer(factory: OptimizerFactory, module: nn.Module) -> torch.optim.Optimizer:
    """An optimizer of a module's parameters; each group remembers its own rate as ``initial_lr``.

    Raises:
        ConfigError: the class refuses a value, or groups of parameters.
    """
    try:
        optimizer = factory(parameter_groups(module))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"optimizer: {' '.join(str(error).split())}; expected values that its class takes") from error
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    return optimizer


class OptimizerState:
    """An optimizer's momenta as a component of a checkpoint; the values of the configuration stay those of this run."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer

    def state_dict(self) -> dict[str, Any]:
        return {**self._optimizer.state_dict(), "class": type(self._optimizer).__name__}

    def check(self, state: Mapping[str, Any]) -> None:
        """Refuse the state of another kind of optimizer.

        Raises:
            CheckpointError: names both.
        """
        expected, group = type(self._optimizer).__name__, state["param_groups"][0]
        # Version 0.1 had two, and did not say which.
        found = str(state.get("class", "AdamW" if "betas" in group else "Sgd"))
        if found.lower() != expected.lower():
            raise CheckpointError(
                f"optimizer: found {expected}, where the checkpoint has {found}, whose state it cannot go on with; "
                "expected the same, or model.pretrained=FOLDER/weights.safetensors to start another training from its "
                "weights"
            )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.check(state)
        groups = self._optimizer.param_groups
        # But for the last update's rate, which the schedule sets before the next one.
        own = [{name: value for name, value in group.items() if name not in ("params", "lr")} for group in groups]
        self._optimizer.load_state_dict({name: state[name] for name in ("state", "param_groups")})
        for group, values in zip(self._optimizer.param_groups, own, strict=True):
            group.update(values)


class Sgd(torch.optim.SGD):
    """Stochastic gradient descent with Nesterov momentum."""

    def __init__(
        self,
        params: Any,
        *,
        lr: Annotated[float, Gt(0)] = 0.01,
        momentum: Annotated[float, Interval(ge=0, lt=1)] = 0.937,
        weight_decay: Annotated[float, Ge(0)] = 5e-4,
        nesterov: bool = True,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
            nesterov=nesterov and momentum > 0,
            foreach=True,
        )


class AdamW(torch.optim.AdamW):
    """Adam with decoupled weight decay (arXiv 1711.05101)."""

    def __init__(
        self,
        params: Any,
        *,
        lr: Annotated[float, Gt(0)] = 1e-3,
        beta1: Annotated[float, Interval(ge=0, lt=1)] = 0.9,
        beta2: Annotated[float, Interval(ge=0, lt=1)] = 0.999,
        eps: Annotated[float, Gt(0)] = 1e-8,
        weight_decay: Annotated[float, Ge(0)] = 0.01,
    ) -> None:
        super().__init__(params, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, fused=True)
