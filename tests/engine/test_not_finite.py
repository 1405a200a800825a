"""Losses that are no number: the step is left out, then the run goes back, then it stops, whoever looks and when."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_training import World
from torch import nn

from spikeyolo.engine.callbacks import Callback, Outcome, Run
from spikeyolo.engine.checkpoints import checkpoint
from spikeyolo.engine.guards.meter import LossMeter, NotFiniteError
from spikeyolo.engine.guards.recovery import with_batch
from spikeyolo.engine.task import Stopped
from spikeyolo.engine.trainer import Trainer
from spikeyolo.engine.update.build import build_step
from spikeyolo.engine.update.optimizer import AdamW, Sgd
from spikeyolo.engine.update.step import TrainStep
from spikeyolo.errors import TrainingError


def look_seldom(patch: pytest.MonkeyPatch, *, device_decides: bool = False) -> None:
    """Train as on a device that must not be waited for."""

    class Unhurried(LossMeter):
        def __init__(self, device: torch.device, **known: Any) -> None:
            super().__init__(device, **known)
            self.check_every = 50

    def built(*given: Any, **named: Any) -> TrainStep:
        step = build_step(*given, **named)
        step._device_decides = device_decides
        return step

    patch.setattr("spikeyolo.engine.run.LossMeter", Unhurried)
    patch.setattr("spikeyolo.engine.run.build_step", built)


def last(folder: Path) -> Path:
    return folder / "checkpoints" / "last"


def position(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = checkpoint.read_state(last(folder))["position"]
    return found


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def test_a_loss_that_is_no_number_names_its_first_term_and_step_and_keeps_the_last_good_checkpoint(
    tmp_path: Path,
) -> None:
    with pytest.raises(TrainingError) as stop:
        World(train=4, bad_steps=range(7, 99)).fit(tmp_path, max_epochs=5)
    # Calls 7 to 9, of which two end an epoch, then three more from that epoch's checkpoint on.
    assert str(stop.value).startswith("loss term 'dfl' is not finite at step 7; training stopped")
    batch = tmp_path / "not_finite_batch.pt"
    assert f"; its batch is {batch}; " in str(stop.value)
    saved = torch.load(batch, weights_only=True)
    assert (saved["term"], saved["step"], saved["frames"].shape) == ("dfl", 7, (3,))
    assert str(stop.value).endswith(f"; the last good checkpoint is {last(tmp_path)}")
    assert (position(tmp_path)["epoch"], position(tmp_path)["step"]) == (2, 6)
    restored = nn.Linear(3, 1)
    checkpoint.load_weights(last(tmp_path), restored)
    assert all(torch.isfinite(value).all() for value in restored.state_dict().values())


def lr_column(folder: Path) -> list[float]:
    return [float(row["train/lr"]) for row in rows(folder)]


def test_a_step_whose_loss_is_no_number_is_left_out_and_counted(tmp_path: Path) -> None:
    World(train=4).fit(tmp_path / "good", max_epochs=3)
    world = World(train=4, bad_steps=[6, 7, 9])
    figures = world.fit(tmp_path / "bad", max_epochs=3)
    assert (figures["epochs"], world.steps) == (3, 12)
    assert [row["train/skipped"] for row in rows(tmp_path / "bad")] == ["", "2.0", "3.0"]
    assert (position(tmp_path / "bad")["step"], position(tmp_path / "bad")["skipped"]) == (9, 3)
    assert all(torch.isfinite(weight).all() for weight in world.judged)
    assert lr_column(tmp_path / "bad") == lr_column(tmp_path / "good")


def test_three_such_steps_in_a_row_take_the_run_back_and_halve_its_learning_rate(tmp_path: Path) -> None:
    World(train=4).fit(tmp_path / "good", max_epochs=3)
    world = World(train=4, bad_steps=[6, 7, 8])
    figures = world.fit(tmp_path / "bad", max_epochs=3)
    assert (figures["epochs"], world.steps) == (3, 8 + 8)  # two epochs again from the checkpoint of the first
    good, bad = lr_column(tmp_path / "good"), lr_column(tmp_path / "bad")
    assert bad == pytest.approx([good[0], good[1] / 2, good[2] / 2])
    assert position(tmp_path / "bad")["lr_share"] == 0.5
    World(train=4).fit(tmp_path / "longer", max_epochs=4, resume=str(last(tmp_path / "bad")))
    World(train=4).fit(tmp_path / "all good", max_epochs=4)
    assert lr_column(tmp_path / "longer")[3] == pytest.approx(lr_column(tmp_path / "all good")[3] / 2)


def test_an_epoch_between_two_such_times_lets_the_run_go_on(tmp_path: Path) -> None:
    world = World(train=4, bad_steps=[6, 7, 8, 14, 15, 16])
    figures = world.fit(tmp_path, max_epochs=4)
    assert figures["epochs"] == 4
    assert position(tmp_path)["lr_share"] == 0.25


@pytest.mark.parametrize("batches", [1, 2])
def test_epochs_too_short_for_three_such_steps_end_the_run_too(batches: int, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"loss term 'dfl' is not finite at step .*; training stopped"):
        World(train=batches, bad_steps=range(3, 99)).fit(tmp_path, max_epochs=20)


def test_a_step_that_spoils_the_statistics_of_norms_is_not_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(train=4, bad_steps=[6])
    task = world.task(tmp_path)
    task.detector.register_buffer("mean", torch.zeros(1))
    loss = World.loss

    def spoiling(self: World, predictions: torch.Tensor, targets: object) -> object:
        if self.steps == 5:
            task.detector.mean.fill_(math.nan)  # type: ignore[operator, union-attr]
        return loss(self, predictions, targets)

    monkeypatch.setattr(World, "loss", spoiling)
    object.__setattr__(task, "loss", world.loss)
    Trainer(device="cpu", clock=world.clock, max_epochs=2).fit(task)
    assert torch.isfinite(task.detector.mean).all()  # type: ignore[arg-type]
    assert position(tmp_path)["lr_share"] == 0.5


@pytest.mark.parametrize(("optimizer", "device_decides"), [(Sgd, False), (AdamW, False), (AdamW, True)])
def test_a_step_is_left_out_before_anybody_looks(
    optimizer: Any, device_decides: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run: dict[str, Any] = {"max_epochs": 3, "optimizer": partial(optimizer, lr=0.01)}
    World(train=4, bad_steps=[6, 9, 10]).fit(tmp_path / "looked", **run)
    look_seldom(monkeypatch, device_decides=device_decides)
    World(train=4, bad_steps=[6, 9, 10]).fit(tmp_path / "unhurried", **run)
    left = []
    for name in ("looked", "unhurried"):
        assert (position(tmp_path / name)["step"], position(tmp_path / name)["skipped"]) == (9, 3)
        training = checkpoint.load_training(last(tmp_path / name), nn.Linear(3, 1))
        left.append((training["module"], training["optimizer"]["state"]))
    assert [row["train/skipped"] for row in rows(tmp_path / "looked")] == ["", "1.0", "3.0"]
    assert rows(tmp_path / "looked") == rows(tmp_path / "unhurried")
    torch.testing.assert_close(left[1], left[0], rtol=0, atol=0)


def test_three_in_a_row_take_the_run_back_when_they_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look_seldom(monkeypatch)
    world = World(train=6, bad_steps=[8, 9, 10])
    figures = world.fit(tmp_path, max_epochs=3)
    assert (figures["epochs"], world.steps) == (3, 12 + 12)  # the second epoch goes on to its end first
    assert (position(tmp_path)["lr_share"], position(tmp_path)["skipped"]) == (0.5, 3)


class Numbered(World):
    """A training whose batches tell which of them they are."""

    def batches(self, count: int, seconds: float, first: int) -> Iterator[Any]:
        for batch in super().batches(count, seconds, first):
            batch.frames = torch.full((3,), 1 + 0.001 * (self.steps + 1))
            yield batch


def test_the_batch_that_ends_a_run_is_the_one_that_was_not_finite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_seldom(monkeypatch)
    with pytest.raises(TrainingError, match=r"'dfl' is not finite at step 6; .*; its batch is "):
        Numbered(train=4, bad_steps=[6, 7, 8, 10, 11, 12]).fit(tmp_path, max_epochs=3)
    saved = torch.load(tmp_path / "not_finite_batch.pt", weights_only=True)
    assert (saved["term"], saved["step"]) == ("dfl", 6)
    assert float(saved["frames"][0]) == pytest.approx(1.012)  # the third in a row, when the run was wary


def test_a_batch_that_is_not_known_is_not_said_to_be_the_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look_seldom(monkeypatch)
    with pytest.raises(TrainingError, match=r"'dfl' is not finite at step 2; .*; there is no checkpoint yet") as stop:
        World(train=8, bad_steps=range(2, 99)).fit(tmp_path)
    assert "its batch" not in str(stop.value)
    assert list(tmp_path.iterdir()) == []


def test_a_batch_that_cannot_be_saved_does_not_hide_the_term(tmp_path: Path) -> None:
    batch: Any = SimpleNamespace(frames=torch.ones(3), targets=SimpleNamespace())
    error = NotFiniteError("dfl", 7)
    said = str(with_batch(error, batch, tmp_path / "gone" / "not_finite_batch.pt"))
    assert said.startswith(f"{error}; its batch cannot be saved as {tmp_path / 'gone'}")
    assert said.endswith("(No such file or directory)")


def test_ctrl_c_after_a_step_that_nobody_has_looked_at_saves_weights_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_seldom(monkeypatch)
    with pytest.raises(Stopped):
        World(train=4, bad_steps=[6], stop_at=7).fit(tmp_path, max_epochs=3)
    assert (position(tmp_path)["step"], position(tmp_path)["skipped"]) == (6, 1)
    World(train=4).fit(tmp_path, max_epochs=3, resume=str(last(tmp_path)))
    World(train=4, bad_steps=[6]).fit(tmp_path / "whole", max_epochs=3)
    assert rows(tmp_path) == rows(tmp_path / "whole")


def test_weights_that_are_no_numbers_never_replace_good_ones(tmp_path: Path) -> None:
    class Spoil(Callback):
        def after_batch(self, run: Run) -> Outcome:
            if run.position.step == 8:  # as an update with a rate far too high does
                run.weights.weight.data.fill_(math.inf)  # type: ignore[operator, union-attr]
            return Outcome.CONTINUE

    with pytest.raises(TrainingError, match=r"checkpoints/last: the weights are not finite, .*; the last good check"):
        World(train=4).fit(tmp_path, max_epochs=3, callbacks={"spoil": Spoil()})
    assert position(tmp_path)["step"] == 4


def test_a_run_that_ends_after_it_went_back_goes_on_at_half_the_rate(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    class Kill(Callback):
        def after_batch(self, run: Run) -> Outcome:
            if world.steps == 10:
                raise Killed
            return Outcome.CONTINUE

    world = World(train=4, bad_steps=[6, 7, 8])
    with pytest.raises(Killed):
        world.fit(tmp_path / "killed", max_epochs=3, callbacks={"kill": Kill()})
    kept = position(tmp_path / "killed")
    assert (kept["epoch"], kept["batch"], kept["lr_share"], kept["skipped"]) == (1, 0, 0.5, 3)
    World(train=4).fit(tmp_path / "second", max_epochs=3, resume=str(last(tmp_path / "killed")))
    World(train=4, bad_steps=[6, 7, 8]).fit(tmp_path / "whole", max_epochs=3)
    assert rows(tmp_path / "second") == rows(tmp_path / "whole")


@pytest.mark.parametrize("half", [False, True])
def test_a_loss_that_is_no_number_in_the_first_epoch_says_that_there_is_no_checkpoint(
    half: bool, tmp_path: Path
) -> None:
    if half:  # of a run that was killed in its first save
        (tmp_path / "checkpoints" / "last" / "000001").mkdir(parents=True)
    with pytest.raises(TrainingError, match="there is no checkpoint yet"):
        World(bad_steps=range(1, 99)).fit(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints"] * half + ["not_finite_batch.pt"]
