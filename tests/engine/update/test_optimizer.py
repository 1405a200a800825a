"""Optimizers: any of torch's, with this project's groups, each at its own rate."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from spikeyolo import schema
from spikeyolo.engine.update.optimizer import AdamW, Sgd, build_optimizer, parameter_groups
from spikeyolo.engine.update.step import TrainStep
from spikeyolo.errors import ConfigError


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "NAdam", "RAdam", "Adamax", "Adagrad", "Rprop"])
def test_any_class_of_torch_is_an_optimizer_with_decay_on_convolutions_only(name: str) -> None:
    values: dict[str, Any] = {"_target_": f"torch.optim.{name}", "lr": 0.02}
    if name != "Rprop":
        values["weight_decay"] = 0.3
    node = OmegaConf.create({"optimizer": values})
    schema.check(node, groups=("optimizer",))
    optimizer = build_optimizer(schema.build(node.optimizer, _partial_=True), network())
    assert type(optimizer) is getattr(torch.optim, name)
    shapes = [[tuple(p.shape) for p in group["params"]] for group in optimizer.param_groups]
    assert shapes == [[(3, 2, 3, 3)], [(3,), (3,), (3,)]]
    assert [group["lr"] for group in optimizer.param_groups] == [0.02, 0.02]
    if name != "Rprop":
        assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.0]


@pytest.mark.parametrize("factory", [partial(Sgd, momentum=0.0), AdamW], ids=["Sgd", "AdamW"])
def test_weight_decay_pulls_at_convolutions_and_leaves_the_rest(factory: Any) -> None:
    torch.manual_seed(0)
    module = network()
    before = {name: value.clone() for name, value in module.named_parameters()}
    optimizer = build_optimizer(partial(factory, lr=0.1, weight_decay=0.5), module)
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, value in module.named_parameters():
        if value.ndim > 1:
            torch.testing.assert_close(value, before[name] * (1 - 0.1 * 0.5))
        else:
            assert torch.equal(value, before[name])


def test_a_schedule_is_a_factor_of_each_groups_own_rate() -> None:
    module = network()

    def factory(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.SGD([groups[0], {**groups[1], "lr": 0.5}], lr=0.1)

    optimizer = build_optimizer(factory, module)
    step = TrainStep(
        module, run=module, loss=len, optimizer=optimizer, average=None, precision="float32", clip_gradient=None
    )
    for factor in (0.5, 2.0):
        assert step.set_factor(factor) == pytest.approx(0.1 * factor)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1 * factor, 0.5 * factor])


def test_values_that_the_class_refuses_are_one_sentence() -> None:
    with pytest.raises(ConfigError, match=r"^optimizer: Invalid learning rate: -1"):
        build_optimizer(partial(torch.optim.RMSprop, lr=-1.0), network())
    with pytest.raises(ConfigError, match=r"^optimizer: LBFGS doesn't support"):
        build_optimizer(torch.optim.LBFGS, network())


def test_groups_share_all_parameters_out() -> None:
    module = network()
    module[0].bias.requires_grad_(False)  # type: ignore[union-attr]
    grouped = [p for group in parameter_groups(module) for p in group["params"]]
    assert sorted(map(id, grouped)) == sorted(id(p) for p in module.parameters() if p.requires_grad)
