"""Optimizers: any of torch's, with this project's groups, each at its own rate."""

from __future__ import annotations

import io
import sys
from functools import partial
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from spikeyolo import schema
from spikeyolo.engine.update.muon import Muon
from spikeyolo.engine.update.optimizer import AdamW, OptimizerState, Sgd, build_optimizer, parameter_groups
from spikeyolo.engine.update.parts import freeze, train_mode
from spikeyolo.engine.update.schedule_free import ScheduleFreeAverage, schedule_free_adamw
from spikeyolo.engine.update.step import TrainStep
from spikeyolo.errors import CheckpointError, ConfigError


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


class Parts(nn.Module):
    """A network of the three parts, small."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, groups=4))
        self.neck = nn.Conv2d(4, 3, 1)
        self.head = nn.Conv2d(3, 2, 1)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.head(self.neck(self.backbone(maps)))  # type: ignore[no-any-return]


def parts(seed: int = 0) -> Parts:
    torch.manual_seed(seed)
    return Parts()


def learn(module: nn.Module, optimizer: torch.optim.Optimizer, *, steps: int, seed: int = 1) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        maps = torch.randn(2, 2, 6, 6, generator=generator)
        optimizer.zero_grad(set_to_none=True)
        (module(maps) - maps.mean()).square().mean().backward()
        optimizer.step()


def test_each_part_learns_at_a_rate_of_its_own_under_one_schedule() -> None:
    module = parts()
    optimizer = build_optimizer(partial(Sgd, lr=0.1), module, {"backbone": 0.1, "head": 2.0})
    rates = {id(p): group["initial_lr"] for group in optimizer.param_groups for p in group["params"]}
    assert len(rates) == len(list(module.parameters()))
    for name, parameter in module.named_parameters():
        factor = {"backbone": 0.1, "neck": 1.0, "head": 2.0}[name.partition(".")[0]]
        assert rates[id(parameter)] == pytest.approx(0.1 * factor)
    step = TrainStep(
        module, run=module, loss=len, optimizer=optimizer, average=None, precision="float32", clip_gradient=None
    )
    assert step.set_factor(0.5) == pytest.approx(0.05)  # what is shown is the rate of the optimizer
    assert {group["lr"] for group in optimizer.param_groups} == {0.05, 0.1 * 0.1 * 0.5, 0.1}


def test_frozen_parts_do_not_change_their_norms_neither_and_the_rest_learns() -> None:
    module = parts()
    freeze(module, ["backbone"])
    train_mode(module)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    learn(module, build_optimizer(partial(AdamW, lr=0.1), module), steps=3)
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith("backbone"), name
    assert all(p.grad is None for p in module.backbone.parameters())


def test_a_part_that_the_network_has_not_and_a_network_frozen_whole_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^trainer.freeze: found 'tail', .* one of backbone, neck, head$"):
        freeze(parts(), ["tail"])
    with pytest.raises(ConfigError, match=r"^trainer.lr_factors: found 'tail'"):
        build_optimizer(Sgd, parts(), {"tail": 0.1})
    frozen = parts()
    freeze(frozen, ["backbone", "neck", "head"])
    with pytest.raises(ConfigError, match=r"^trainer.freeze: leaves nothing to train"):
        build_optimizer(Sgd, frozen)


FACTORIES: dict[str, Any] = {
    "sgd": partial(Sgd, lr=0.05),
    "adam": partial(torch.optim.Adam, lr=0.01),
    "muon": partial(Muon, lr=0.01),
    "schedule_free": partial(schedule_free_adamw, lr=0.01),
}


@pytest.mark.parametrize("name", FACTORIES)
def test_a_saved_optimizer_goes_on_as_if_it_had_not_stopped(name: str) -> None:
    factory = FACTORIES[name]
    whole = parts()
    optimizer = build_optimizer(factory, whole)
    learn(whole, optimizer, steps=3)
    saved, weights = (
        OptimizerState(optimizer, whole).state_dict(),
        {k: v.clone() for k, v in whole.state_dict().items()},
    )
    saved = torch.load(_stored(saved), weights_only=True)
    learn(whole, optimizer, steps=2, seed=2)
    again = parts(seed=5)
    again.load_state_dict(weights)
    second = build_optimizer(factory, again)
    OptimizerState(second, again).load_state_dict(saved)
    learn(again, second, steps=2, seed=2)
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", FACTORIES)
def test_a_run_may_go_on_with_other_parts_frozen_and_other_rates(name: str) -> None:
    first = parts()
    freeze(first, ["backbone"])
    optimizer = build_optimizer(FACTORIES[name], first)
    learn(first, optimizer, steps=2)
    saved = OptimizerState(optimizer, first).state_dict()
    second = parts()
    thawed = build_optimizer(FACTORIES[name], second, {"head": 0.5})
    OptimizerState(thawed, second).load_state_dict(saved)
    momenta = {id(p): thawed.state.get(p) for p in second.parameters()}
    for parameter in second.backbone.parameters():
        assert not momenta[id(parameter)]  # begins without any
    old = dict(first.named_parameters())
    for key, parameter in second.named_parameters():
        if not key.startswith("backbone"):
            for entry, value in optimizer.state[old[key]].items():
                assert torch.equal(torch.as_tensor(momenta[id(parameter)][entry]), torch.as_tensor(value)), (key, entry)
    learn(second, thawed, steps=1)


def test_a_checkpoint_that_does_not_name_its_parameters_goes_on_with_the_same_groups_only() -> None:
    module = parts()
    optimizer = build_optimizer(partial(Sgd, lr=0.1), module)
    learn(module, optimizer, steps=1)
    old = {key: value for key, value in OptimizerState(optimizer, module).state_dict().items() if key != "names"}
    OptimizerState(build_optimizer(Sgd, module), module).load_state_dict(old)
    other = OptimizerState(build_optimizer(Sgd, module, {"head": 0.5}), module)
    with pytest.raises(CheckpointError, match=r"^trainer.freeze, trainer.lr_factors: groups of"):
        other.load_state_dict(old)


def _stored(state: dict[str, Any]) -> Any:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return buffer


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_muon_is_torchs_on_dense_convolutions_and_adamw_on_the_rest(layout: torch.memory_format) -> None:
    module = parts().to(memory_format=layout)  # type: ignore[call-overload]
    start = {name: value.clone() for name, value in module.named_parameters()}
    optimizer = build_optimizer(partial(Muon, lr=0.01, weight_decay=0.1), module)
    for _ in range(2):
        for index, parameter in enumerate(module.parameters()):
            parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index))
            parameter.grad = parameter.grad.to(memory_format=layout) if parameter.ndim == 4 else parameter.grad
        optimizer.step()
    for index, (name, parameter) in enumerate(module.named_parameters()):
        alone = nn.Parameter(start[name].clone().contiguous())
        gradient = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index))
        values = {"lr": 0.01, "weight_decay": 0.1 if parameter.ndim > 1 else 0.0}
        if name in ("backbone.0.weight", "neck.weight", "head.weight"):
            alone = nn.Parameter(alone.detach().flatten(1))
            oracle: torch.optim.Optimizer = torch.optim.Muon([alone], adjust_lr_fn="match_rms_adamw", **values)
        else:  # a depthwise convolution, biases, norms
            oracle = torch.optim.AdamW([alone], **values)
        for _ in range(2):
            alone.grad = gradient.reshape(alone.shape)
            oracle.step()
        # Newton and Schulz's iteration is in bfloat16, whose sums depend on the order of columns.
        torch.testing.assert_close(
            parameter, alone.reshape(parameter.shape), rtol=0, atol=5e-4 if alone.ndim == 2 else 1e-6
        )


def test_schedule_free_weights_are_the_optimizers_own_average() -> None:
    module = parts()
    optimizer = build_optimizer(partial(schedule_free_adamw, lr=0.05), module)
    average = ScheduleFreeAverage(optimizer)
    held = average.start(module)
    for seed in range(3):
        learn(module, optimizer, steps=1, seed=seed)
        average.update(module)
    trained_at = [p.detach().clone() for p in module.parameters()]
    optimizer.eval()  # type: ignore[attr-defined]
    for x, own, y in zip(module.parameters(), held.parameters(), trained_at, strict=True):
        torch.testing.assert_close(own, x)
        assert not torch.equal(own, y)
    for own, buffer in zip(held.buffers(), module.buffers(), strict=True):
        assert torch.equal(own, buffer)


def test_a_missing_extra_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "schedulefree", None)
    with pytest.raises(ConfigError, match=r"pip install 'spikeyolo\[schedulefree\]'"):
        build_optimizer(schedule_free_adamw, parts())
