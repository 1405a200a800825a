"""Float16 with a scaled loss: small gradients live, overflow costs one update and half the scale, resuming is exact."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_training import World
from torch import Tensor, nn

from spikeyolo import schema
from spikeyolo.engine.checkpoints import checkpoint
from spikeyolo.engine.task import Stopped
from spikeyolo.engine.update.average import WeightAverage
from spikeyolo.engine.update.optimizer import AdamW, Sgd, build_optimizer
from spikeyolo.engine.update.step import TrainStep
from spikeyolo.errors import TrainingError
from spikeyolo.loss import DetectionLoss
from spikeyolo.model import Detector
from spikeyolo.model.neuron import Ilif
from spikeyolo.windows.batch import Batch, Targets

TINY, HUGE = 1e-9, 1e3


def step_of(module: nn.Module, factor: float, optimizer: Any = Sgd, **changes: Any) -> TrainStep:
    """One whose loss is the mean of the predictions times ``factor``."""

    def loss(predictions: Tensor, targets: Any) -> Any:
        total = factor * predictions.float().mean()
        return SimpleNamespace(total=total, num_positives=torch.tensor(1), named=dict)

    values = {"average": None, "precision": "float16", "clip_gradient": None} | changes
    built = build_optimizer(partial(optimizer, lr=0.1, weight_decay=0.0), module)
    return TrainStep(module, run=module, loss=loss, optimizer=built, **values)


def update(step: TrainStep) -> bool:
    step.gradients(SimpleNamespace(frames=torch.ones(1, 3), targets=None, follows=()))  # type: ignore[arg-type]
    step.clip()
    return step.update()


@pytest.fixture
def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))


def test_gradients_below_float16s_least_value_arrive_and_are_those_of_float32(module: nn.Module) -> None:
    norms = {}
    for precision in ("float32", "float16"):
        step = step_of(module, TINY, precision=precision)
        step.gradients(SimpleNamespace(frames=torch.ones(1, 3), targets=None, follows=()))  # type: ignore[arg-type]
        norms[precision] = float(step.clip())  # type: ignore[arg-type]
    assert 0 < norms["float32"] < 2.0**-24  # float16 has nothing between this and 0
    assert norms["float16"] == pytest.approx(norms["float32"], rel=0.01)


@pytest.mark.parametrize("optimizer", [Sgd, AdamW])  # AdamW is fused, and looks for overflow itself
def test_an_update_whose_gradients_overflow_changes_nothing_but_the_scale(module: nn.Module, optimizer: Any) -> None:
    average = WeightAverage(decay=0.5)
    average.start(module)
    step = step_of(module, HUGE, optimizer, average=average)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    scale = step.state_dict()["scaler"]["scale"]
    assert update(step) is False
    assert step.state_dict()["scaler"]["scale"] == scale / 2
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert average.updates == 0
    assert any(update(step) for _ in range(20))  # until the scale is small enough
    assert not torch.equal(module[1].weight, before["1.weight"])  # type: ignore[index]
    assert all(bool(torch.isfinite(value).all()) for value in module.state_dict().values())


def test_gradients_that_are_not_finite_at_any_scale_are_told_in_the_end(module: nn.Module) -> None:
    step = step_of(module, math.inf)
    norms = []
    for _ in range(20):
        step.gradients(SimpleNamespace(frames=torch.ones(1, 3), targets=None, follows=()))  # type: ignore[arg-type]
        norms.append(step.clip())
        step.update() if norms[-1] is None else step.drop()
    assert norms[0] is None
    assert norms[-1] is not None
    assert not torch.isfinite(norms[-1])


@pytest.mark.parametrize("waiting", [0, 1])
def test_scale_and_waiting_gradients_come_back_as_they_were(module: nn.Module, waiting: int) -> None:
    batches = [SimpleNamespace(frames=torch.randn(1, 3), targets=None, follows=()) for _ in range(4)]

    def go_on(step: TrainStep, some: Any) -> Tensor:
        for each in some:
            step.gradients(each)
            if step.is_due(last=False):
                step.clip()
                step.update()
        return module[0].weight.detach().clone()  # type: ignore[index, union-attr, operator]

    first = step_of(module, HUGE, accumulate_batches=2)
    for _ in range(9):
        first.gradients(batches[0])  # type: ignore[arg-type]
        first.gradients(batches[1])  # type: ignore[arg-type]
        first.clip()
        first.update()
    go_on(first, batches[:waiting])
    saved, weights = first.state_dict(), {name: value.clone() for name, value in module.state_dict().items()}
    assert saved["pending"] == waiting
    assert 1 < saved["scaler"]["scale"] < 65536
    expected = go_on(first, batches[waiting:])
    module.load_state_dict(weights)
    second = step_of(module, HUGE, accumulate_batches=2)
    second.load_state_dict(saved)
    assert torch.equal(go_on(second, batches[waiting:]), expected)


def test_waiting_gradients_mean_the_same_where_a_run_goes_on_in_another_precision(module: nn.Module) -> None:
    norms = {}
    for precision in ("float32", "float16"):
        first = step_of(module, 1e-3, accumulate_batches=2)
        first.gradients(SimpleNamespace(frames=torch.ones(1, 3), targets=None, follows=()))  # type: ignore[arg-type]
        second = step_of(module, 1e-3, accumulate_batches=2, precision=precision)
        second.load_state_dict(first.state_dict())
        second.gradients(SimpleNamespace(frames=torch.ones(1, 3), targets=None, follows=()))  # type: ignore[arg-type]
        norms[precision] = float(second.clip())  # type: ignore[arg-type]
    assert norms["float16"] == pytest.approx(norms["float32"], rel=0.01)


class Loud(World):
    """A training whose gradients overflow at the first scales."""

    def loss(self, predictions: Tensor, targets: Any) -> Any:
        terms = super().loss(predictions, targets)
        terms.total = HUGE * terms.total
        return terms


def test_overflow_is_counted_apart_and_takes_no_run_back(tmp_path: Path) -> None:
    world = Loud(train=20)
    world.fit(tmp_path, max_epochs=1, precision="float16")
    state = checkpoint.read_state(tmp_path / "checkpoints" / "last")["position"]
    assert state["overflowed"] > 3  # more than the losses in a row that end a run
    assert state["skipped"] == 0
    assert state["lr_share"] == 1.0
    assert state["step"] == 20 - state["overflowed"]
    assert set(world.dtypes) == {torch.float16}
    assert state["history"][0]["train/overflowed"] == state["overflowed"]
    assert math.isfinite(state["history"][0]["train/gradient"])


def test_losses_that_are_not_finite_take_a_run_back_in_float16_too(tmp_path: Path) -> None:
    world = World(train=4, bad_steps=[6, 7, 8])
    figures = world.fit(tmp_path, max_epochs=3, precision="float16")
    assert (figures["epochs"], world.steps) == (3, 8 + 8)
    assert checkpoint.read_state(tmp_path / "checkpoints" / "last")["position"]["lr_share"] == 0.5


def test_a_run_that_is_taken_back_has_seen_what_overflowed(tmp_path: Path) -> None:
    found = []
    # Saved every six seconds, each a batch long: what overflows in the seventh is in no checkpoint.
    for bad_steps in ((), (8, 9, 10)):
        folder = tmp_path / str(len(bad_steps))
        Loud(train=24, bad_steps=bad_steps).fit(folder, max_epochs=1, precision="float16", save_minutes=0.1)
        found.append(checkpoint.read_state(folder / "checkpoints" / "last")["position"]["overflowed"])
    assert found[0] >= 8
    assert found[1] == found[0] + 1  # the seventh is counted, and made again


def test_gradients_that_were_looked_at_do_not_keep_a_loaded_step_from_looking(module: nn.Module) -> None:
    step = step_of(module, 1.0)
    saved = step.state_dict()
    batch: Any = SimpleNamespace(frames=torch.ones(1, 3), targets=None, follows=())
    step.gradients(batch)
    step.clip()
    step.load_state_dict(saved)
    assert any(update(step) for _ in range(20))


def test_losses_that_are_not_finite_still_end_a_run_in_float16(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="loss term 'dfl' is not finite"):
        World(train=20, bad_steps=range(5, 40)).fit(tmp_path, max_epochs=1, precision="float16")


def test_a_run_that_is_stopped_and_gone_on_with_in_float16_is_the_run_that_never_stopped(tmp_path: Path) -> None:
    run: dict[str, Any] = {"max_epochs": 2, "precision": "float16", "average": WeightAverage(decay=0.9)}
    Loud(train=12).fit(tmp_path / "whole", **run)
    with pytest.raises(Stopped) as stop:
        Loud(train=12, stop_at=7).fit(tmp_path / "first", **run)
    Loud(train=12).fit(tmp_path / "second", resume=str(stop.value.checkpoint), **run)
    left = []
    for name in ("whole", "second"):
        last = tmp_path / name / "checkpoints" / "last"
        training = checkpoint.load_training(last, nn.Linear(3, 1))
        left.append((training["module"]["weight"].tolist(), training["step"]["scaler"]))
    assert left[0] == left[1]
    assert left[0][1]["scale"] < 65536


def test_a_detector_learns_in_float16_what_it_learns_in_float32() -> None:
    frames = torch.poisson(torch.full((2, 2, 2, 64, 64), 0.2), generator=torch.Generator().manual_seed(0))
    targets = Targets(
        batch_index=torch.tensor([0, 1, 0, 1]),
        time_step=torch.tensor([0, 0, 1, 1]),
        xyxy=torch.tensor([[8.0, 8.0, 40.0, 40.0]] * 4),
        class_id=torch.zeros(4, dtype=torch.int64),
        track_id=torch.full((4,), -1),
        recording=torch.zeros(4, dtype=torch.int64),
        supervised=torch.ones(2, 2, dtype=torch.bool),
    )
    losses: dict[str, list[float]] = {}
    for precision in ("float32", "float16"):
        torch.manual_seed(0)
        detector = Detector(num_classes=1, depth=0.33, width=0.0625, neuron=Ilif)
        step = TrainStep(
            detector.train(),
            run=detector,
            loss=DetectionLoss(),
            optimizer=build_optimizer(partial(AdamW, lr=5e-3), detector),
            average=None,
            precision=precision,  # type: ignore[arg-type]
            clip_gradient=10.0,
        )
        losses[precision] = []
        for _ in range(12):
            loss, _ = step.gradients(Batch(frames.to(torch.uint8), targets, windows=()))
            step.clip()
            step.update()
            losses[precision].append(float(loss))
    assert losses["float16"][0] == pytest.approx(losses["float32"][0], rel=0.05)
    for values in losses.values():
        assert values[-1] < 0.8 * values[0]


def test_the_configuration_knows_float16_and_no_other_precision() -> None:
    from omegaconf import OmegaConf

    from spikeyolo.errors import ConfigError

    target = "spikeyolo.engine.trainer.Trainer"
    schema.check(OmegaConf.create({"trainer": {"_target_": target, "precision": "float16"}}))
    with pytest.raises(ConfigError, match=r"trainer\.precision: found 'half'; expected .*'float16'"):
        schema.check(OmegaConf.create({"trainer": {"_target_": target, "precision": "half"}}))
