"""The bounds of a training: the clock, a loss that is no number, a disk that is full."""

from __future__ import annotations

import csv
import json
import math
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_training import World
from torch import nn

from spikeyolo.engine.callbacks import Callback, Outcome, Run
from spikeyolo.engine.checkpoints import checkpoint
from spikeyolo.engine.checkpoints.files import Files
from spikeyolo.engine.evaluator import DetectionEvaluator
from spikeyolo.engine.task import Pruned, Stopped
from spikeyolo.engine.trainer import Trainer
from spikeyolo.engine.update.schedule import CosineSchedule, PlateauSchedule
from spikeyolo.errors import CheckpointError, ConfigError, TrainingError


@settings(max_examples=20)
@given(
    batch_s=st.floats(0.01, 5),
    validation_batch_s=st.floats(0.01, 5),
    train=st.integers(1, 12),
    val=st.integers(1, 6),
    minutes=st.floats(0.2, 3),
    first_s=st.floats(0, 30),
)
def test_the_last_validation_ends_within_the_time_given(
    batch_s: float, validation_batch_s: float, train: int, val: int, minutes: float, first_s: float
) -> None:
    # Two batches (the first is no measure) and a validation must fit, which costs no more a window than training.
    validation_batch_s = min(validation_batch_s, batch_s)
    if first_s + 2 * batch_s + val * validation_batch_s > 0.9 * 60 * minutes:
        return
    world = World(batch_s, validation_batch_s, train, val, first_s=first_s)
    with TemporaryDirectory() as folder:
        figures = world.fit(Path(folder), max_epochs=12, max_minutes=minutes)
    taken = world.now - 1000.0
    assert taken <= 60 * minutes
    assert figures["val/map50"] == 0.5
    assert world.validated_at[-1] == world.now  # nothing is trained that is not measured
    if figures["epochs"] < 12:  # and the time is used: what is left would not hold another batch and validation
        left = 60 * minutes - taken
        assert left <= 2 * batch_s + 2.5 * val * max(batch_s, validation_batch_s) + 0.11 * 60 * minutes


def test_a_first_batch_that_compiles_kernels_costs_no_epoch(tmp_path: Path) -> None:
    figures = World(batch_s=1.0, train=20, val=10, first_s=20.0).fit(tmp_path, max_epochs=9, max_minutes=3.0)
    rows = (tmp_path / "metrics.csv").read_text().splitlines()
    assert len(rows) - 1 == figures["epochs"] == 5  # 20 s to begin with, then 30 s each
    assert figures["warm_up_seconds"] == pytest.approx(20.0)
    assert figures["seconds_per_epoch"] == pytest.approx(30.0, abs=2.0)


def test_a_run_whose_time_is_up_trains_no_more_when_its_command_is_given_again(tmp_path: Path) -> None:
    first = World(batch_s=1.0, validation_batch_s=5.0, train=4, val=8)  # a validation takes ten times an epoch
    figures = first.fit(tmp_path, max_epochs=99, max_minutes=2.0)
    assert first.now - 1000.0 < 120.0
    again = World(batch_s=1.0, validation_batch_s=5.0, train=4, val=8)
    last = str(tmp_path / "checkpoints" / "last")
    assert again.fit(tmp_path, max_epochs=99, max_minutes=2.0, resume=last)["epochs"] == figures["epochs"]
    assert again.steps == 0  # one more validation would not have fitted


@pytest.mark.parametrize("at", [20, 26])
def test_a_budget_that_is_spent_trains_nothing(at: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Stopped) as stop:
        World(train=10, val=2, stop_at=at).fit(tmp_path / "first", max_epochs=99, max_minutes=3)
    position = checkpoint.read_state(stop.value.checkpoint)["position"]
    later = World(train=10, val=2, figures=(0.7,))
    with caplog.at_level("INFO"):
        figures = later.fit(tmp_path / "second", max_epochs=99, max_minutes=0.1, resume=str(stop.value.checkpoint))
    assert later.steps == 0
    assert "time is up after epoch" in caplog.text
    # What was trained in mid-epoch is judged once.
    assert len(later.validated_at) == (1 if position["batch"] else 0)
    assert figures["epochs"] == position["epoch"] + len(later.validated_at)


def test_the_time_to_the_end_stands_beside_the_bar(tmp_path: Path) -> None:
    world = World(train=4, val=2, batch_s=2.0, first_s=100.0)
    world.fit(tmp_path, max_epochs=3)
    assert "left in all" not in world.said[0]
    assert world.said[1].endswith("0:00:32 left in all")  # 10 batches and 3 validations of 2 batches
    assert world.said[-1] == ""  # of a validation
    bounded = World(train=4, val=2, batch_s=2.0)
    bounded.fit(tmp_path / "bounded", max_epochs=3, max_minutes=0.3)
    assert bounded.said[1].endswith("0:00:14 left in all")


def test_compiling_kernels_is_said_where_the_first_batch_takes_long(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caplog.at_level("INFO"):
        World().fit(tmp_path / "quick", max_epochs=1)
        assert "compiling" not in caplog.text
        loss = World.loss

        def slow(self: World, predictions: torch.Tensor, targets: object) -> object:
            time.sleep(2.5 if not self.steps else 0)
            return loss(self, predictions, targets)

        monkeypatch.setattr(World, "loss", slow)
        World().fit(tmp_path / "slow", max_epochs=1)
    assert caplog.messages.count("compiling kernels, once") == 1


@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_the_rates_that_are_previewed_are_those_that_a_training_has(accumulate: int, tmp_path: Path) -> None:
    seen: list[float] = []

    class Listening(Callback):
        def after_batch(self, run: Run) -> Outcome:
            if len(seen) < run.position.step:
                seen.append(run.position.lr)
            return Outcome.CONTINUE

    schedule = CosineSchedule(warmup_steps=5)
    settings: dict[str, Any] = {"max_epochs": 4, "accumulate_batches": accumulate}
    world = World(train=5)
    planned = Trainer(device="cpu", **settings).planned_rates(schedule, world.loader(5, 1.0), base_lr=0.01)
    world.fit(tmp_path, schedule=schedule, callbacks={"listening": Listening()}, **settings)
    assert len(planned) == len(seen) == 4 * math.ceil(5 / accumulate)
    assert seen == planned


def test_a_plateaus_share_goes_on_with_its_run(tmp_path: Path) -> None:
    def plateau() -> PlateauSchedule:
        return PlateauSchedule(patience=0, gamma=0.5, warmup_epochs=0)

    figures = (0.5, 0.4, 0.6, 0.5, 0.4)
    World(figures=figures).fit(tmp_path / "whole", max_epochs=5, schedule=plateau())
    with pytest.raises(Stopped) as stop:
        World(figures=figures, stop_at=15).fit(tmp_path / "first", max_epochs=5, schedule=plateau())
    later = World(figures=figures[3:])
    later.fit(tmp_path / "second", max_epochs=5, schedule=plateau(), resume=str(stop.value.checkpoint))
    rates = [
        [row["train/lr"] for row in csv.DictReader((tmp_path / name / "metrics.csv").open())]
        for name in ("whole", "second")
    ]
    assert rates[0] == rates[1] == ["0.01", "0.01", "0.005", "0.005", "0.0025"]


def test_learning_rates_follow_the_share_of_time_where_it_is_ahead_of_the_epochs(tmp_path: Path) -> None:
    world = World(batch_s=1.0, validation_batch_s=0.5, train=5, val=2)
    world.fit(tmp_path, max_epochs=1000, max_minutes=1.0)
    for progress, now in world.rates:
        assert progress == pytest.approx(max((now - 1000.0) / 60.0, 0.0))
    assert world.rates[-1][0] > 0.9  # it comes down to the end of its curve


def test_learning_rates_follow_the_share_of_epochs_where_time_is_plenty(tmp_path: Path) -> None:
    world = World(train=5)
    world.fit(tmp_path, max_epochs=3, max_minutes=1000.0)
    assert [progress for progress, _ in world.rates] == pytest.approx([step / 15 for step in range(15)], abs=1e-4)


def test_a_run_that_goes_on_has_used_the_time_it_used_before(tmp_path: Path) -> None:
    world = World(batch_s=1.0, validation_batch_s=1.0, train=10, val=1, stop_at=15)
    with pytest.raises(Stopped) as stop:
        world.fit(tmp_path / "first", max_epochs=100, max_minutes=1.0)
    used = world.now - 1000.0
    later = World(batch_s=1.0, validation_batch_s=1.0, train=10, val=1, now=50_000.0)
    later.fit(tmp_path / "second", max_epochs=100, max_minutes=1.0, resume=str(stop.value.checkpoint))
    assert 50 <= used + later.now - 50_000.0 <= 60


@contextmanager
def no_room_for_files_over(size: int) -> Iterator[None]:
    """What a full disk does to a write, without filling one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("file", ["weights.safetensors", "training.pt", "state.json"])
def test_a_full_disk_ends_in_one_sentence_and_keeps_the_checkpoint_before(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    World().fit(tmp_path, max_epochs=1)
    last = tmp_path / "checkpoints" / "last"
    before = {path: path.read_bytes() for path in checkpoint.paths(last)}
    write = Files.write

    def written(self: Files, path: Path, data: bytes) -> None:
        with no_room_for_files_over(16 if path.name.startswith(file) else 1 << 30):
            write(self, path, data)

    monkeypatch.setattr(Files, "write", written)
    with pytest.raises(CheckpointError, match=r"the checkpoint cannot be written \(.*large"):
        World().fit(tmp_path, max_epochs=2, resume=str(last))
    assert {path: path.read_bytes() for path in checkpoint.paths(last)} == before
    assert sorted(path.name for path in last.iterdir()) == ["000001", "state.json", "weights.safetensors"]
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["best", "last"]


def test_figures_that_cannot_be_written_end_in_one_sentence_and_leave_the_ones_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    World().fit(tmp_path, max_epochs=1)
    before = (tmp_path / "metrics.csv").read_text()
    monkeypatch.setattr(checkpoint, "save", lambda *arguments, **named: None)
    resume = str(tmp_path / "checkpoints" / "last")
    with no_room_for_files_over(len(before) - 10), pytest.raises(TrainingError) as stop:
        World().fit(tmp_path, max_epochs=2, resume=resume)
    assert str(stop.value).startswith(f"{tmp_path / 'metrics.csv'}: cannot be written (File too large)")
    assert (tmp_path / "metrics.csv").read_text() == before
    assert [path.name for path in tmp_path.glob("*partial*")] == []


def test_the_best_epoch_is_the_one_with_the_largest_figure(tmp_path: Path) -> None:
    figures = World(figures=(0.2, 0.6, math.nan, 0.4)).fit(tmp_path, max_epochs=4)
    assert (figures["best_epoch"], figures["val/map50"], figures["last/val/map50"]) == (2, 0.6, 0.4)
    assert checkpoint.read_state(tmp_path / "checkpoints" / "best")["position"]["epoch"] == 2
    assert not (tmp_path / "checkpoints" / "best" / "training.pt").exists()


def test_a_figure_that_is_no_number_is_null_on_disk(tmp_path: Path) -> None:
    World(figures=(math.nan,)).fit(tmp_path, max_epochs=1)
    assert json.loads((tmp_path / "metrics.json").read_text())["val/map50"] is None


def test_a_sweep_may_give_a_run_up_after_any_epoch(tmp_path: Path) -> None:
    class Impatient:
        told: list[tuple[float, int]] = []  # noqa: RUF012

        def report(self, value: float, step: int) -> None:
            self.told.append((value, step))

        def should_prune(self) -> bool:
            return len(self.told) == 2

    with pytest.raises(Pruned, match="given up after epoch 2"):
        World(figures=(0.1, 0.2)).fit(tmp_path, max_epochs=9, pruner=Impatient())
    assert Impatient.told == [(0.1, 1), (0.2, 2)]


@pytest.mark.parametrize(
    ("chosen", "hint"), [("map5", r"did you mean map50\?"), ("loss", "expected one of map50, map")]
)
def test_a_figure_that_is_never_measured_cannot_select_the_best(chosen: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"trainer.select_by: found '{chosen}', which is no figure .*{hint}"):
        World().fit(tmp_path, select_by=chosen)
    assert list(tmp_path.iterdir()) == []


def test_where_validation_leaves_the_figure_undefined_the_latest_weights_stay_until_one_is_defined(
    tmp_path: Path,
) -> None:
    nan = math.nan
    assert World(figures=(nan, nan, nan)).fit(tmp_path / "never", max_epochs=3)["best_epoch"] == 3
    assert World(figures=(nan, 0.2, nan, 0.1)).fit(tmp_path / "once", max_epochs=4)["best_epoch"] == 2


def test_the_evaluator_names_its_figures_before_it_has_seen_anything() -> None:
    figures = DetectionEvaluator(classes=["car"]).evaluate(nn.Identity(), (), device=torch.device("cpu"))
    assert {"map50", "map", "map75", "f1"} <= set(figures)


@settings(max_examples=20)
@given(
    batch_s=st.floats(0.1, 100),
    validation_batch_s=st.floats(0.1, 400),
    minutes=st.floats(0.1, 6),
    train=st.integers(1, 8),
)
def test_the_last_checkpoint_is_never_older_than_save_minutes_and_a_batch(
    batch_s: float, validation_batch_s: float, minutes: float, train: int
) -> None:
    world = World(batch_s, validation_batch_s, train=train, val=3)
    ages = []

    class Watch(Callback):
        def after_batch(self, run: Run) -> Outcome:
            ages.append(world.now - run.saved_at)
            return Outcome.CONTINUE

    with TemporaryDirectory() as folder:
        world.fit(Path(folder), max_epochs=2, save_minutes=minutes, callbacks={"watch": Watch()})
    assert len(ages) == 2 * (train + 3)
    assert max(ages) <= 60 * minutes + max(batch_s, validation_batch_s)


@pytest.mark.parametrize("validating", [False, True])
def test_a_run_killed_in_mid_epoch_goes_on_from_its_periodic_checkpoint(validating: bool, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    class Kill(Callback):
        seen = 0

        def after_batch(self, run: Run) -> Outcome:
            self.seen += 1
            if self.seen == (7 if validating else 11):
                raise Killed
            return Outcome.CONTINUE

    World(train=5, val=2).fit(tmp_path / "whole", max_epochs=2)
    with pytest.raises(Killed):
        World(train=5, val=2).fit(tmp_path / "first", max_epochs=2, save_minutes=0.05, callbacks={"kill": Kill()})
    last = tmp_path / "first" / "checkpoints" / "last"
    position = checkpoint.read_state(last)["position"]
    assert (position["epoch"], position["batch"]) == ((0, 5) if validating else (1, 3))
    World(train=5, val=2).fit(tmp_path / "second", max_epochs=2, resume=str(last))
    weights = [tmp_path / name / "checkpoints/last/weights.safetensors" for name in ("whole", "second")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
