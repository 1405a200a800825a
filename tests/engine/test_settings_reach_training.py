"""What the configuration says is what is done: each of these fails where a setting is read and not used."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_training import World
from torch import nn

from spikeyolo.engine.checkpoints import checkpoint
from spikeyolo.engine.evaluator import DetectionEvaluator
from spikeyolo.engine.update.average import WeightAverage
from spikeyolo.engine.update.optimizer import Sgd
from spikeyolo.events import Detections
from spikeyolo.windows.batch import Batch, Targets, Window


def raw(folder: Path) -> torch.Tensor:
    """The weights that are trained, of the last checkpoint."""
    training = checkpoint.load_training(folder / "checkpoints" / "last", nn.Linear(3, 1))
    weight: torch.Tensor = training["module"]["weight"]
    return weight


def shipped(folder: Path) -> torch.Tensor:
    return load_file(folder / "checkpoints" / "last" / "weights.safetensors")["weight"]


def test_the_average_is_judged_and_shipped_and_the_weights_are_where_there_is_none(tmp_path: Path) -> None:
    averaged = World(train=6)
    averaged.fit(tmp_path / "averaged", max_epochs=1, average=WeightAverage(decay=0.9))
    assert torch.equal(averaged.judged[0], shipped(tmp_path / "averaged"))
    torch.manual_seed(0)
    start = nn.Linear(3, 1).weight.detach()
    way = (shipped(tmp_path / "averaged") - start) / (raw(tmp_path / "averaged") - start)
    assert ((way > 0.05) & (way < 0.95)).all()  # between where they began and where they are
    plain = World(train=6)
    plain.fit(tmp_path / "plain", max_epochs=1)
    assert torch.equal(plain.judged[0], shipped(tmp_path / "plain"))
    assert torch.equal(shipped(tmp_path / "plain"), raw(tmp_path / "plain"))
    assert torch.equal(raw(tmp_path / "plain"), raw(tmp_path / "averaged"))  # an average changes no update


def test_weight_decay_makes_smaller_weights(tmp_path: Path) -> None:
    norms = []
    for decay in (0.0, 2.0):
        optimizer = partial(Sgd, lr=0.01, momentum=0.0, weight_decay=decay)
        World(train=10).fit(tmp_path / str(decay), max_epochs=1, optimizer=optimizer, clip_gradient=1e-6)
        norms.append(float(raw(tmp_path / str(decay)).norm()))
    assert norms[1] < 0.95 * norms[0]


@pytest.mark.parametrize(("limit", "bound"), [(1e-3, 1.01 * 10 * 0.01 * 1e-3), (None, None)])
def test_clipping_bounds_how_far_the_weights_move(limit: float | None, bound: float | None, tmp_path: Path) -> None:
    torch.manual_seed(0)
    start = nn.Linear(3, 1).weight.detach()
    optimizer = partial(Sgd, lr=0.01, momentum=0.0, weight_decay=0.0)
    World(train=10).fit(tmp_path, max_epochs=1, optimizer=optimizer, clip_gradient=limit)
    moved = float((raw(tmp_path) - start).norm())
    assert moved > 1e-3 if bound is None else 0 < moved <= bound


@pytest.mark.parametrize(("precision", "expected"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_the_network_is_trained_in_the_precision_that_was_chosen(
    precision: str, expected: torch.dtype, tmp_path: Path
) -> None:
    world = World(train=2)
    world.fit(tmp_path, max_epochs=1, precision=precision)
    assert set(world.dtypes) == {expected}


@pytest.mark.parametrize("chosen", [True, False])
def test_layout_and_gradient_checkpointing_are_arranged_as_chosen(
    chosen: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, bool]] = []  # what it does with them, test_execution shows
    monkeypatch.setattr("spikeyolo.engine.update.build.arrange", lambda module, **options: asked.append(options))
    World().fit(tmp_path, max_epochs=1, gradient_checkpointing=chosen, channels_last=not chosen)
    assert asked == [{"gradient_checkpointing": chosen, "channels_last": not chosen}]


@pytest.mark.parametrize("chosen", [True, False])
def test_the_compiled_network_is_trained_where_it_was_chosen(
    chosen: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []

    def compiled(module: nn.Module, *arguments: Any, **named: Any) -> Any:
        return lambda frames: (ran.append(1), module(frames))[1]

    monkeypatch.setattr(torch, "compile", compiled)
    World(train=3).fit(tmp_path, max_epochs=1, compile=chosen)
    assert len(ran) == (3 if chosen else 0)


def test_windows_that_nobody_labelled_are_not_judged() -> None:
    def targets(supervised: list[bool]) -> Targets:
        """One box in the first window, at the last of two steps."""
        return Targets(
            batch_index=torch.tensor([0]),
            time_step=torch.tensor([1]),
            xyxy=torch.tensor([[10.0, 10.0, 30.0, 30.0]]),
            class_id=torch.tensor([0]),
            track_id=torch.tensor([-1]),
            recording=torch.tensor([0]),
            supervised=torch.tensor([[True, True], supervised]),
        )

    def found(boxes: list[list[float]], scores: list[float]) -> Detections:
        count = len(boxes)
        xyxy = torch.tensor(boxes).reshape(count, 4).numpy()
        return Detections(
            torch.full((count,), 1).numpy(),
            xyxy,
            torch.tensor(scores).numpy(),
            torch.zeros(count, dtype=torch.int64).numpy(),
        )

    right, wrong = found([[10, 10, 30, 30]], [0.5]), found([[50, 50, 60, 60]], [0.9])

    class Told(DetectionEvaluator):
        """Finds the box in the first window and something in the second."""

        def detections(self, detector: Any, batches: Any, *, device: Any) -> Any:
            for batch in batches:
                yield batch, 1, [right, wrong]

    figures = []
    for supervised in ([True, False], [True, True]):
        windows = (Window(0, 0, 2), Window(0, 2, 4))
        batch = Batch(frames=torch.zeros(2, 2, 2, 64, 64), targets=targets(supervised), windows=windows)
        judged = Told(classes=["car"]).evaluate(nn.Identity(), [batch], device=torch.device("cpu"))
        figures.append(judged["map50"])
    assert figures[0] == pytest.approx(1.0)
    assert figures[1] < 0.6  # where somebody looked and saw nothing, it is wrong
