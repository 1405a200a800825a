"""One update: what it averages, clips and changes."""

from __future__ import annotations

import copy
import math
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikeyolo.engine.update.average import WeightAverage
from spikeyolo.engine.update.optimizer import AdamW, Sgd, build_optimizer
from spikeyolo.engine.update.step import TrainStep


def loss(predictions: Tensor, targets: Any) -> Any:
    total = predictions.square().mean()
    return SimpleNamespace(total=total, num_positives=torch.tensor(1), named=lambda: {"box": total.detach()})


def step_of(module: nn.Module, **changes: Any) -> TrainStep:
    values = {"average": None, "precision": "float32", "clip_gradient": None} | changes
    optimizer = build_optimizer(partial(Sgd, lr=0.1, momentum=0.0, weight_decay=0.0), module)
    return TrainStep(module, run=module, loss=loss, optimizer=optimizer, **values)


def batch(frames: Tensor) -> Any:
    return SimpleNamespace(frames=frames, targets=None, follows=())


@pytest.fixture
def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_accumulated_batches_change_the_weights_as_one_batch_of_all_of_them(module: nn.Module, count: int) -> None:
    frames = torch.randn(6, 3)
    whole = step_of(module)
    start = {name: value.clone() for name, value in module.state_dict().items()}
    whole.gradients(batch(frames))
    whole.clip()
    whole.update()
    expected = {name: value.clone() for name, value in module.state_dict().items()}
    module.load_state_dict(start)
    parts = step_of(module, accumulate_batches=count)
    for index, part in enumerate(frames.chunk(count)):
        parts.gradients(batch(part))
        assert parts.is_due(last=False) == (index + 1 == count)
    parts.clip()
    parts.update()
    for name, value in module.state_dict().items():
        torch.testing.assert_close(value, expected[name])
    assert not torch.equal(module.weight, start["weight"])  # type: ignore[arg-type]


def test_gradients_that_wait_for_a_part_that_was_frozen_since_count_no_more(module: nn.Module) -> None:
    before = step_of(module, accumulate_batches=2)
    before.gradients(batch(torch.ones(1, 3)))
    waiting = before.state_dict()
    module.zero_grad()
    module.bias.requires_grad_(False)  # type: ignore[union-attr]
    after = step_of(module, accumulate_batches=2)
    after.load_state_dict(waiting)
    assert module.weight.grad is not None
    assert module.bias.grad is None  # it would be part of the norm in each update, and nobody would take it away


def test_an_epochs_last_batches_are_not_kept_for_the_next_one(module: nn.Module) -> None:
    step = step_of(module, accumulate_batches=4)
    step.gradients(batch(torch.ones(1, 3)))
    assert step.is_due(last=True)
    assert not step.is_due(last=False)


@pytest.mark.parametrize("limit", [0.01, None])
def test_the_norm_of_all_gradients_is_bounded_and_the_one_before_is_told(
    module: nn.Module, limit: float | None
) -> None:
    step = step_of(module, clip_gradient=limit)
    step.gradients(batch(10 * torch.ones(1, 3)))

    def norm() -> float:
        return float(torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None]).norm())

    before = norm()
    assert before > 1
    assert float(step.clip()) == pytest.approx(before)
    assert norm() == pytest.approx(before if limit is None else limit, rel=1e-3)


def test_the_average_follows_the_weights_and_reads_them_never_before_an_update(module: nn.Module) -> None:
    average = WeightAverage(decay=0.9)
    weights = average.start(module)
    step = step_of(module, average=average)
    expected = module.weight.detach().clone()  # type: ignore[operator]
    for number in range(1, 4):
        step.gradients(batch(torch.ones(1, 3)))
        step.update()
        decay = min(0.9, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * module.weight.detach()  # type: ignore[operator]
        torch.testing.assert_close(weights.weight, expected)
    assert not torch.equal(weights.weight, module.weight)  # type: ignore[arg-type]
    assert average.state_dict() == {"updates": 3}


@pytest.mark.parametrize(("precision", "expected"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_the_network_runs_in_the_precision_that_was_chosen(
    module: nn.Module, precision: str, expected: torch.dtype
) -> None:
    seen: list[torch.dtype] = []
    module.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    step_of(module, precision=precision).gradients(batch(torch.ones(1, 3)))
    assert seen == [expected]


def test_the_average_follows_weights_that_are_changed_in_place_and_copies_statistics_and_counts() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average = WeightAverage(decay=0.5)
    weights = average.start(module)
    expected = {name: value.clone() for name, value in module.state_dict().items()}
    loaded = {name: torch.full_like(value, 3) for name, value in module.state_dict().items()}
    for number, change in enumerate(("update", "load", "load average", "silence", "count")):
        with torch.no_grad():
            if change == "load":  # as a run does that goes back
                module.load_state_dict(loaded)
            elif change == "load average":
                weights.load_state_dict(loaded)
                expected = {name: value.clone() for name, value in loaded.items()}
            elif change == "silence":  # as pruning does
                module[0].weight.mul_(torch.tensor([[0.0], [1.0]]))  # type: ignore[operator]
            else:
                module(torch.randn(4, 3))
                module[0].weight.add_(1.0)  # type: ignore[operator]
        average.update(module)
        decay = min(0.5, (2 + number) / (11 + number))
        for name, value in module.state_dict().items():
            is_weight = name in dict(module.named_parameters())
            expected[name] = decay * expected[name] + (1 - decay) * value if is_weight else value.clone()
            torch.testing.assert_close(weights.state_dict()[name], expected[name])
    assert expected["1.num_batches_tracked"] == 4


@pytest.mark.parametrize("device_decides", [False, True])
def test_an_update_of_which_one_batch_was_not_finite_changes_neither_weights_nor_momenta(
    module: nn.Module, device_decides: bool
) -> None:
    optimizer = build_optimizer(partial(AdamW, lr=0.1), module)
    step = TrainStep(
        module, run=module, loss=loss, optimizer=optimizer, average=None, precision="float32", clip_gradient=1.0,
        accumulate_batches=2,
    )  # fmt: skip
    step._device_decides = device_decides
    changed = []
    for good, number in ((True, 1.0), (False, math.nan), (True, 1.0)):
        before = copy.deepcopy((module.state_dict(), optimizer.state_dict()["state"]))
        for told, value in ((good, number), (True, 1.0)):
            step.gradients(batch(torch.full((1, 3), value)))
            step.doubt(torch.tensor(told))
        step.clip()
        assert step.update() == (good or device_decides)  # the host does not know yet
        changed.append(repr((module.state_dict(), optimizer.state_dict()["state"])) != repr(before))
    assert changed == [True, False, True]
    assert step.undone() == (1 if device_decides else 0)
    assert step.undone() == 0
