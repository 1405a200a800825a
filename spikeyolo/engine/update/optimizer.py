"""Optimizers: any class of ``torch.optim`` by ``_target_``, with weight decay on the weights of convolutions only.

The configuration's node is built in two steps: its values at once, the parameters when training begins. The two classes
here are torch's own with this project's defaults, and ranges that are checked before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Interval
from torch import nn

from spikeyolo.engine.update.parts import check_parts
from spikeyolo.errors import CheckpointError, ConfigError

ParameterGroups = list[dict[str, Any]]
OptimizerFactory = Callable[[ParameterGroups], torch.optim.Optimizer]

# Entries of a group that an optimizer counts itself (schedule-free ones), where the others are configuration.
COUNTED = ("k", "weight_sum", "lr_max", "scheduled_lr", "train_mode")


def parameter_groups(module: nn.Module, lr_factors: Mapping[str, float] | None = None) -> ParameterGroups:
    """Weights of two and more dimensions decay as the optimizer says; biases, norms and neuron parameters do not.

    Args:
        module: parameters that ask for no gradient are left out.
        lr_factors: part of the module → factor of the learning rate; each such part gets two groups of its own, after
            the two of the rest.

    Raises:
        ConfigError: the module has no part of the name.
    """
    factors = dict(lr_factors or {})
    check_parts(module, factors, "trainer.lr_factors")
    named: dict[str, list[nn.Parameter]] = {"": [], **{name: [] for name in factors}}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            part = name.partition(".")[0]
            named[part if part in factors else ""].append(parameter)
    groups: ParameterGroups = []
    for part, parameters in named.items():
        own = {"lr_factor": factors[part]} if part else {}
        groups.append({"params": [p for p in parameters if p.ndim > 1], **own})
        groups.append({"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0, **own})
    return [group for group in groups if group["params"]]


def build_optimizer(
    factory: OptimizerFactory, module: nn.Module, lr_factors: Mapping[str, float] | None = None
) -> torch.optim.Optimizer:
    """An optimizer of a module's parameters; each group remembers its own rate as ``initial_lr``.

    Raises:
        ConfigError: the class refuses a value, or groups of parameters; there is nothing to train.
    """
    groups = parameter_groups(module, lr_factors)
    if not groups:
        raise ConfigError("trainer.freeze: leaves nothing to train; expected a part less")
    try:
        optimizer = factory(groups)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"optimizer: {' '.join(str(error).split())}; expected values that its class takes") from error
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"] * group.get("lr_factor", 1.0))
    return optimizer


class OptimizerState:
    """An optimizer's momenta as a component of a checkpoint; the values of the configuration stay those of this run.

    Parameters are known by name, so that a run may go on with other parts frozen or at rates of their own; what has no
    momentum in the checkpoint begins without one.

    Args:
        optimizer: of parameters of ``module``.
        module: names them.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, module: nn.Module) -> None:
        self._optimizer = optimizer
        name_of = {id(parameter): name for name, parameter in module.named_parameters()}
        self._names = [[name_of[id(p)] for p in group["params"]] for group in optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        return {**self._optimizer.state_dict(), "class": type(self._optimizer).__name__, "names": self._names}

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
        sizes = [[len(group["params"]) for group in groups] for groups in (state["param_groups"], self._groups)]
        if "names" not in state and sizes[0] != sizes[1]:
            raise CheckpointError(
                f"trainer.freeze, trainer.lr_factors: groups of {sizes[1]} parameters, where the checkpoint, which "
                f"does not name its own, has {sizes[0]}; expected the values of its run"
            )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.check(state)
        # But for the last update's rate, which the schedule sets before the next one, and what an optimizer counts.
        own = [
            {name: value for name, value in group.items() if name not in ("params", "lr", *COUNTED)}
            for group in self._groups
        ]
        self._optimizer.load_state_dict(self._regrouped(state))
        for group, values in zip(self._groups, own, strict=True):
            group.update(values)

    @property
    def _groups(self) -> ParameterGroups:
        return self._optimizer.param_groups

    def _regrouped(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """The state as if it had been saved with this run's groups."""
        names = state.get("names", self._names)
        if names == self._names:
            return {name: state[name] for name in ("state", "param_groups")}
        index_of = {name: index for index, name in enumerate(name for group in names for name in group)}
        group_of = {name: number for number, group in enumerate(names) for name in group}
        kept: dict[int, Any] = {}
        groups: ParameterGroups = []
        at = 0
        for own, named in zip(self._groups, self._names, strict=True):
            old = next((group_of[name] for name in named if name in group_of), 0)
            groups.append(
                {**own, **{key: value for key, value in state["param_groups"][old].items() if key in COUNTED}}
            )
            groups[-1]["params"] = list(range(at, at + len(named)))
            for number, name in enumerate(named, start=at):
                if name in index_of and index_of[name] in state["state"]:
                    kept[number] = state["state"][index_of[name]]
            at += len(named)
        return {"state": kept, "param_groups": groups}


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
