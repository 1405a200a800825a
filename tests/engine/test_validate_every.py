"""Epochs may pass without a validation; the last one of a run never does."""

from __future__ import annotations

import csv
import signal
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_training import World

from spikeyolo.engine.callbacks import Callback, Outcome, Run
from spikeyolo.engine.task import Stopped


def validated(folder: Path) -> dict[int, float]:
    """Epoch → mAP50, of the epochs that have one."""
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [(int(float(row["epoch"])), row["val/map50"]) for row in csv.DictReader(file)]
    assert [epoch for epoch, _ in rows] == list(range(1, len(rows) + 1))
    return {epoch: float(value) for epoch, value in rows if value}


def last(folder: Path) -> str:
    return str(folder / "checkpoints" / "last")


def test_every_so_many_epochs_and_the_last_one_are_validated(tmp_path: Path) -> None:
    world = World(figures=(0.3, 0.6, 0.4))
    figures = world.fit(tmp_path, max_epochs=7, validate_every=3)
    assert validated(tmp_path) == {3: 0.3, 6: 0.6, 7: 0.4}
    assert len(world.validated_at) == 3
    assert (figures["val/map50"], figures["last/val/map50"], figures["best_epoch"], figures["epochs"]) == (
        0.6,
        0.4,
        6,
        7,
    )


@pytest.mark.parametrize("every", [1, 5, 50])
def test_weights_do_not_depend_on_how_often_they_are_validated(every: int, tmp_path: Path) -> None:
    whole, rare = World(), World()
    whole.fit(tmp_path / "whole", max_epochs=5)
    rare.fit(tmp_path / "rare", max_epochs=5, validate_every=every)
    assert torch.equal(whole.judged[-1], rare.judged[-1])


@settings(max_examples=20)
@given(every=st.integers(1, 6), batch_s=st.floats(0.1, 3), train=st.integers(1, 8), val=st.integers(1, 4))
def test_a_run_that_the_clock_ends_is_validated_within_its_time(
    every: int, batch_s: float, train: int, val: int
) -> None:
    world = World(batch_s, batch_s, train, val)
    with TemporaryDirectory() as folder:
        figures = world.fit(Path(folder), max_epochs=12, max_minutes=1.0, validate_every=every)
        known = validated(Path(folder))
    assert max(known) == figures["epochs"]
    assert world.validated_at[-1] == world.now <= 1060.0
    assert all(epoch % every == 0 for epoch in known if epoch != figures["epochs"])


class Stopping(Callback):
    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.told: list[tuple[int, bool]] = []

    def after_epoch(self, run: Run, row: Mapping[str, float], figure: float) -> Outcome:
        self.told.append((run.position.epoch, figure == figure))
        return Outcome.STOP if run.position.epoch == self.epoch else Outcome.CONTINUE


def test_the_epoch_after_which_a_callback_stops_is_validated_after_all(tmp_path: Path) -> None:
    stopping = Stopping(5)
    figures = World(figures=(0.2, 0.7)).fit(tmp_path, max_epochs=9, validate_every=3, callbacks={"stopping": stopping})
    assert validated(tmp_path) == {3: 0.2, 5: 0.7}
    assert (figures["epochs"], figures["val/map50"]) == (5, 0.7)
    assert stopping.told == [(1, False), (2, False), (3, True), (4, False), (5, False), (5, True)]


def test_patience_counts_epochs_and_is_judged_where_there_is_a_figure(tmp_path: Path) -> None:
    world = World(figures=(0.5, 0.4, 0.6, 0.5, 0.5))
    figures = world.fit(tmp_path, max_epochs=50, validate_every=2, patience=3)
    assert validated(tmp_path) == {2: 0.5, 4: 0.4, 6: 0.6, 8: 0.5, 10: 0.5}  # four epochs without a better one
    assert figures["best_epoch"] == 6
    again = World()
    again.fit(tmp_path, max_epochs=50, validate_every=2, patience=3, resume=last(tmp_path))
    assert again.steps == 0


@pytest.mark.parametrize("stop_at", range(1, 28, 3))
def test_a_run_that_goes_on_validates_where_the_whole_one_does(stop_at: int, tmp_path: Path) -> None:
    whole = World(figures=(0.1, 0.2, 0.3))
    whole.fit(tmp_path / "whole", max_epochs=7, validate_every=3)
    with pytest.raises(Stopped) as stop:
        World(stop_at=stop_at, figures=(0.1, 0.2, 0.3)).fit(tmp_path / "first", max_epochs=7, validate_every=3)
    done = len([epoch for epoch in (3, 6, 7) if stop_at > 4 * epoch])
    later = World(figures=(0.1, 0.2, 0.3)[done:])
    later.fit(tmp_path / "later", max_epochs=7, validate_every=3, resume=str(stop.value.checkpoint))
    assert validated(tmp_path / "later") == validated(tmp_path / "whole") == {3: 0.1, 6: 0.2, 7: 0.3}
    assert torch.equal(whole.judged[-1], later.judged[-1])


class InterruptedLook(World):
    """Whose user presses Ctrl-C in the second validation."""

    def evaluate(self, detector: Any, batches: Iterable[Any], *, device: torch.device) -> dict[str, float]:
        return super().evaluate(detector, self.interrupted(batches), device=device)

    def interrupted(self, batches: Iterable[Any]) -> Iterator[Any]:
        for batch in batches:
            if len(self.validated_at) == 1:
                signal.raise_signal(signal.SIGINT)
            yield batch


def test_an_interrupted_last_look_is_had_by_the_run_that_goes_on(tmp_path: Path) -> None:
    world = InterruptedLook(figures=(0.2,))
    with pytest.raises(Stopped) as stop:  # in the look at epoch 5, whose turn it was not
        world.fit(tmp_path, max_epochs=9, validate_every=3, callbacks={"stopping": Stopping(5)})
    assert validated(tmp_path) == {3: 0.2}
    later = World(figures=(0.8,))
    later.fit(tmp_path, max_epochs=5, validate_every=3, resume=str(stop.value.checkpoint))
    assert later.steps == 0
    assert validated(tmp_path) == {3: 0.2, 5: 0.8}


class BackOnce(Callback):
    """Asks for the last checkpoint in the last look of epoch 4, once."""

    def __init__(self) -> None:
        self.asked = 0

    def after_batch(self, run: Run) -> Outcome:
        if self.asked or run.position.epoch < 4 or run.position.batch:
            return Outcome.CONTINUE
        self.asked += 1
        return Outcome.ROLL_BACK


def test_a_roll_back_in_the_last_look_is_obeyed(tmp_path: Path) -> None:
    back = BackOnce()
    callbacks = {"stopping": Stopping(4), "back": back}
    figures = World(figures=(0.2, 0.7)).fit(tmp_path, max_epochs=9, validate_every=3, callbacks=callbacks)
    assert back.asked == 1
    assert figures["last/val/map50"] == 0.7


def test_a_sweep_hears_of_validated_epochs_alone(tmp_path: Path) -> None:
    class Pruner:
        def __init__(self) -> None:
            self.heard: list[tuple[float, int]] = []

        def report(self, figure: float, epoch: int) -> None:
            self.heard.append((figure, epoch))

        def should_prune(self) -> bool:
            return False

    pruner = Pruner()
    World(figures=(0.2, 0.4)).fit(tmp_path, max_epochs=6, validate_every=4, pruner=pruner)
    assert pruner.heard == [(0.2, 4), (0.4, 6)]


def test_the_time_that_is_left_counts_the_validations_to_come(tmp_path: Path) -> None:
    world = World(train=4, val=2, batch_s=2.0)
    world.fit(tmp_path, max_epochs=7, validate_every=3)
    # after the second batch: 26 batches of 2 s and three validations, taken to cost as much a batch
    assert world.said[1].endswith("0:01:04 left in all")
