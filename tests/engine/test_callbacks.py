"""Callbacks may stop a run or take it back, and their state belongs to the checkpoint."""

from __future__ import annotations

import csv
import signal
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from small_training import World
from torch import nn

from spikeyolo.engine.callbacks import Callback, Outcome, Run
from spikeyolo.engine.checkpoints import checkpoint
from spikeyolo.engine.task import Stopped
from spikeyolo.engine.trainer import Trainer
from spikeyolo.engine.update.average import WeightAverage
from spikeyolo.engine.update.muon import Muon
from spikeyolo.engine.update.schedule import ConstantSchedule
from spikeyolo.engine.update.schedule_free import schedule_free_adamw


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


class Wish(Callback):
    """Wants something once, after a batch or an epoch."""

    def __init__(self, outcome: Outcome, *, batch: int | None = None, epoch: int | None = None) -> None:
        self.outcome, self.batch, self.epoch = outcome, batch, epoch
        self.asked = 0
        self.epochs = 0

    def after_batch(self, run: Run) -> Outcome:
        return self._once(run.position.step == self.batch)

    def after_epoch(self, run: Run, row: Mapping[str, float], figure: float) -> Outcome:
        self.epochs += 1
        return self._once(run.position.epoch == self.epoch)

    def _once(self, now: bool) -> Outcome:
        if not now or self.asked:
            return Outcome.CONTINUE
        self.asked += 1
        return self.outcome

    def state_dict(self) -> dict[str, Any]:
        return {"asked": self.asked, "epochs": self.epochs}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.asked, self.epochs = state["asked"], state["epochs"]


def test_training_stops_after_as_many_epochs_without_a_better_figure_as_patience_allows(tmp_path: Path) -> None:
    figures = World(figures=(0.2, 0.6, 0.5, 0.6, 0.7)).fit(tmp_path, max_epochs=9, patience=2)
    assert (figures["epochs"], figures["best_epoch"]) == (4, 2)
    figures = World(figures=(0.2, 0.6, 0.5, 0.7)).fit(tmp_path, max_epochs=4, patience=2)
    assert figures["epochs"] == 4


def test_a_run_that_patience_has_stopped_trains_no_more_when_its_command_is_given_again(tmp_path: Path) -> None:
    figures = World(figures=(0.2, 0.5, 0.4, 0.3)).fit(tmp_path, max_epochs=10, patience=2)
    before = rows(tmp_path)
    last = str(tmp_path / "checkpoints" / "last")
    again = World(figures=(0.9,))
    assert again.fit(tmp_path, max_epochs=10, patience=2, resume=last)["val/map50"] == figures["val/map50"] == 0.5
    assert again.steps == 0
    assert rows(tmp_path) == before
    assert World(figures=(0.1,)).fit(tmp_path, max_epochs=10, patience=3, resume=last)["epochs"] == 5


def test_a_run_whose_best_epoch_is_chosen_anew_is_not_taken_for_one_that_patience_has_stopped(tmp_path: Path) -> None:
    described = {"settings": {"evaluator": {"iou": 0.6}}}
    World(figures=(0.5, 0.4, 0.3), described=described).fit(tmp_path, max_epochs=10, patience=2)
    last = str(tmp_path / "checkpoints" / "last")
    later = World(figures=(0.2, 0.1, 0.1), described={"settings": {"evaluator": {"iou": 0.7}}})
    assert later.fit(tmp_path, max_epochs=10, patience=2, resume=last)["epochs"] == 6


def test_a_callback_stops_after_an_epoch_or_in_mid_epoch_and_what_was_trained_is_judged(tmp_path: Path) -> None:
    figures = World().fit(tmp_path, max_epochs=9, callbacks={"wish": Wish(Outcome.STOP, epoch=2)})
    assert figures["epochs"] == 2
    world = World()
    figures = world.fit(tmp_path, max_epochs=9, callbacks={"wish": Wish(Outcome.STOP, batch=6)})
    assert (figures["epochs"], world.steps) == (2, 6)


@pytest.mark.parametrize("when", [{"batch": 6}, {"epoch": 2}])
def test_a_run_taken_back_to_its_checkpoint_is_the_run_that_was_not(when: dict[str, int], tmp_path: Path) -> None:
    World(train=4).fit(tmp_path / "undisturbed", max_epochs=3)
    world, wish = World(train=4), Wish(Outcome.ROLL_BACK, **when)
    world.fit(tmp_path / "back", max_epochs=3, callbacks={"wish": wish})
    assert world.steps == 12 + (2 if "batch" in when else 4)  # of them again
    assert wish.asked == 1  # what a callback remembers is not taken back
    assert rows(tmp_path / "back") == rows(tmp_path / "undisturbed")
    last = [tmp_path / name / "checkpoints/last/weights.safetensors" for name in ("back", "undisturbed")]
    assert last[0].read_bytes() == last[1].read_bytes()


def test_what_a_callback_remembers_goes_on_with_the_run(tmp_path: Path) -> None:
    with pytest.raises(Stopped) as stop:
        World(train=4, stop_at=10).fit(tmp_path / "one", max_epochs=4, callbacks={"wish": Wish(Outcome.CONTINUE)})
    wish = Wish(Outcome.CONTINUE)
    World(train=4).fit(tmp_path / "two", max_epochs=4, resume=str(stop.value.checkpoint), callbacks={"wish": wish})
    assert wish.epochs == 4


@pytest.mark.parametrize("stop_at", [5, 6, 7])
def test_gradients_that_wait_for_their_update_survive_a_stop(stop_at: int, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"max_epochs": 2, "accumulate_batches": 3}
    World(train=5).fit(tmp_path / "whole", **settings)
    with pytest.raises(Stopped) as stop:
        World(train=5, stop_at=stop_at).fit(tmp_path / "first", **settings)
    World(train=5).fit(tmp_path / "second", resume=str(stop.value.checkpoint), **settings)
    assert rows(tmp_path / "second") == rows(tmp_path / "whole")
    last = [tmp_path / name / "checkpoints/last/weights.safetensors" for name in ("second", "whole")]
    assert last[0].read_bytes() == last[1].read_bytes()


@pytest.mark.parametrize("factory", [Muon, schedule_free_adamw])
def test_a_stopped_run_of_any_optimizer_is_the_run_that_never_stopped(factory: Any, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"max_epochs": 3, "average": WeightAverage()}
    optimizer, schedule = partial(factory, lr=0.01), ConstantSchedule()
    World(train=4).fit(tmp_path / "whole", optimizer=optimizer, schedule=schedule, **settings)
    with pytest.raises(Stopped) as stop:
        World(train=4, stop_at=6).fit(tmp_path / "first", optimizer=optimizer, schedule=schedule, **settings)
    later = World(train=4)
    resume = str(stop.value.checkpoint)
    later.fit(tmp_path / "second", optimizer=optimizer, schedule=schedule, resume=resume, **settings)
    assert rows(tmp_path / "second") == rows(tmp_path / "whole")
    for name in ("last", "best"):
        weights = [tmp_path / run / "checkpoints" / name / "weights.safetensors" for run in ("whole", "second")]
        assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.parametrize(("windows", "batches"), [(8, 1), (9, 1), (16, 2), (33, 4), (4, 1)])
def test_an_update_is_of_as_many_batches_as_come_nearest_to_the_nominal_batch(
    windows: int, batches: int, tmp_path: Path
) -> None:
    # A batch has 8 windows.
    World(train=8).fit(tmp_path / "nominal", max_epochs=2, nominal_batch=windows)
    World(train=8).fit(tmp_path / "counted", max_epochs=2, accumulate_batches=batches)
    assert rows(tmp_path / "nominal") == rows(tmp_path / "counted")


def test_the_weights_of_the_best_epochs_stay(tmp_path: Path) -> None:
    world = World(figures=(0.2, 0.6, 0.5, 0.6, 0.1))
    world.fit(tmp_path, max_epochs=5, keep=3)
    kept = {path.name: path for path in (tmp_path / "checkpoints").glob("epoch_*")}
    assert sorted(kept) == ["epoch_0002", "epoch_0003", "epoch_0004"]
    for name, path in kept.items():
        module = nn.Linear(3, 1)
        checkpoint.load_weights(path, module)
        assert torch.equal(module.weight, world.judged[int(name[-4:]) - 1])
    best, second = (tmp_path / "checkpoints" / name / "weights.safetensors" for name in ("best", "epoch_0002"))
    assert best.read_bytes() == second.read_bytes()
    World().fit(tmp_path / "one", max_epochs=2)
    assert sorted(path.name for path in (tmp_path / "one" / "checkpoints").iterdir()) == ["best", "last"]


def test_what_a_person_has_put_beside_the_best_epochs_stays(tmp_path: Path) -> None:
    own = tmp_path / "checkpoints" / "epoch_0001_before_the_change"
    own.mkdir(parents=True)
    World(figures=(0.2, 0.6, 0.5, 0.6, 0.1)).fit(tmp_path, max_epochs=5, keep=2)
    kept = sorted(path.name for path in (tmp_path / "checkpoints").glob("epoch_*"))
    assert kept == [own.name, "epoch_0002", "epoch_0004"]


def test_epochs_whose_weights_lie_in_another_folder_do_not_keep_those_of_this_one_away(tmp_path: Path) -> None:
    World(figures=(0.9, 0.8)).fit(tmp_path / "first", max_epochs=2, keep=2)
    resume = str(tmp_path / "first" / "checkpoints" / "last")
    World(figures=(0.1, 0.3, 0.2)).fit(tmp_path / "second", max_epochs=5, keep=2, resume=resume)
    kept = sorted(path.name for path in (tmp_path / "second" / "checkpoints").glob("epoch_*"))
    assert kept == ["epoch_0004", "epoch_0005"]


def test_epochs_before_the_best_one_is_chosen_anew_are_not_kept(tmp_path: Path) -> None:
    class Anew(Callback):
        def after_batch(self, run: Run) -> Outcome:
            if run.position.epoch == 2 and run.position.batch == 1:  # as pruning does
                run.position.choose_anew()
            return Outcome.CONTINUE

    run: dict[str, Any] = {"max_epochs": 5, "keep": 2, "callbacks": {"anew": Anew()}}
    figures = World(figures=(0.9, 0.8, 0.1, 0.3, 0.2)).fit(tmp_path, **run)
    assert figures["best_epoch"] == 4
    kept = sorted(path.name for path in (tmp_path / "checkpoints").glob("epoch_*"))
    assert kept == ["epoch_0004", "epoch_0005"]
    assert checkpoint.read_state(tmp_path / "checkpoints" / "last")["position"]["best_from"] == 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_has_the_exit_code_of_its_signal_and_auto_finds_where_it_was(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    with pytest.raises(Stopped) as stop:
        World(train=4, stop_at=6, stop_signal=number).fit(tmp_path, max_epochs=3)
    assert stop.value.exit_code == code
    trainer = Trainer(resume="auto")
    trainer.find_checkpoint(tmp_path / "elsewhere")
    assert trainer.resume is None
    trainer = Trainer(resume="auto")
    trainer.find_checkpoint(tmp_path)
    assert trainer.resume == stop.value.checkpoint
    (tmp_path / "killed" / "checkpoints" / "last" / "000001").mkdir(parents=True)  # in its first save
    trainer = Trainer(resume="auto")
    trainer.find_checkpoint(tmp_path / "killed")
    assert trainer.resume is None
    for put_back, found in ((False, None), (True, stop.value.checkpoint)):
        trainer = Trainer()
        trainer.find_checkpoint(tmp_path, put_back=put_back)
        assert trainer.resume == found
