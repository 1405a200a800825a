"""A range test finds the rate at which a network learns, and says where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_training import World
from torch import nn

from spikeyolo.engine.trainer import Trainer
from spikeyolo.engine.update.optimizer import Sgd
from spikeyolo.engine.update.range_test import range_test
from spikeyolo.engine.update.schedule_free import schedule_free_adamw
from spikeyolo.engine.update.step import TrainStep
from spikeyolo.errors import TrainingError
from spikeyolo.training.rates import find_rate


def quadratic(curvature: float, *, lr: float = 0.01, wrong: bool = False, accumulated: int = 1) -> TrainStep:
    """Gradient descent on a parabola, which converges for rates below 2 / curvature; a wrong one goes uphill."""
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, 1.0)

    def loss(predictions: torch.Tensor, targets: Any) -> Any:
        height = curvature * predictions.square().sum() / 2
        total = height - 2 * height if wrong else height
        return SimpleNamespace(
            total=(total - total.detach()) + height.detach(), num_positives=torch.tensor(1), named=dict
        )

    return TrainStep(
        module,
        run=module,
        loss=loss,
        optimizer=torch.optim.SGD([{"params": [module.weight], "initial_lr": lr}], lr=lr),
        average=None,
        precision="float32",
        clip_gradient=None,
        accumulate_batches=accumulated,
    )


def batches(*values: float) -> Iterator[Any]:
    for value in cycle(values or (1.0,)):
        yield SimpleNamespace(frames=torch.tensor([value]), targets=None, follows=())


@pytest.mark.parametrize("curvature", [5.0, 50.0, 500.0])
def test_the_rates_found_follow_the_curvature_of_the_loss(curvature: float) -> None:
    found = range_test(quadratic(curvature), batches(), base_lr=0.01)
    assert found.fastest < found.least
    assert 0.005 / curvature < found.fastest < 2.0 / curvature
    assert list(found.rates) == sorted(found.rates)
    assert len(found.rates) == len(found.losses)


def test_the_optimizers_own_rate_is_of_no_account() -> None:
    first, second = (range_test(quadratic(50.0, lr=lr), batches(), base_lr=lr) for lr in (0.01, 3.0))
    assert first.rates == pytest.approx(second.rates)
    assert first.losses == pytest.approx(second.losses)
    assert first.fastest == pytest.approx(second.fastest)


def test_the_rates_are_those_of_updates_of_several_batches_where_a_training_has_such() -> None:
    found = range_test(quadratic(20.0, accumulated=2), batches(1.0, 2.0), base_lr=0.01)
    alone = range_test(quadratic(50.0), batches(), base_lr=0.01)  # 2.5 times as steep: the mean of 1 and 4
    assert found.rates == pytest.approx(alone.rates)
    assert found.losses == pytest.approx(alone.losses, rel=1e-4)
    assert (found.fastest, found.least) == pytest.approx((alone.fastest, alone.least))
    short = range_test(quadratic(20.0, accumulated=2), islice(batches(1.0, 2.0), 59), base_lr=0.01)
    assert len(short.rates) == 30


def test_a_loss_that_falls_at_no_rate_is_said() -> None:
    with pytest.raises(TrainingError, match=r"trainer.range_test: the loss fell at no learning rate between 1e-06"):
        range_test(quadratic(50.0, wrong=True), batches(), base_lr=0.01)


@pytest.mark.parametrize(
    ("optimizer", "cyclic"), [(partial(schedule_free_adamw, lr=0.01), False), (partial(Sgd, lr=0.01), True)]
)
def test_a_cycle_is_advised_where_it_goes_with_the_optimizer(
    optimizer: Any, cyclic: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        find_rate(Trainer(device="cpu"), World().task(tmp_path, optimizer=optimizer))
    assert "try optimizer.lr=" in caplog.messages[-1]
    assert ("scheduler=cyclic scheduler.max_lr=" in caplog.messages[-1]) is cyclic
