"""A run that is stopped and gone on with is the run that never stopped, digit for digit."""

from __future__ import annotations

import csv
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from spikeyolo import schema
from spikeyolo.engine.checkpoints import checkpoint
from spikeyolo.engine.task import Stopped, Task
from spikeyolo.engine.trainer import Trainer
from spikeyolo.engine.update.average import WeightAverage
from spikeyolo.entry import config_directory
from spikeyolo.report.silent import SilentLogger

EPOCHS = 2
# Batches an epoch: 3 train, 2 validate.
TINY = (
    "+experiment=smoke",
    "data.dataset.train_sequences=2",
    "data.dataset.val_sequences=1",
    "data.dataset.duration_us=30000",
    "data.time_steps=2",
    "data.max_samples_per_file=3",
    "data.batch_size=2",
    "model=femto",
    "model.depth=0.1",
)


class Alarm:
    """A console that raises a signal while it shows progress for the ``at``-th time."""

    def __init__(self, at: int = -1, number: signal.Signals = signal.SIGINT) -> None:
        self.at = at
        self.number = number
        self.shown: list[str] = []

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Any]:
        def advance(text: str) -> None:
            self.shown.append(label)
            if len(self.shown) == self.at:
                signal.raise_signal(self.number)

        yield advance


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> DictConfig:
    GlobalHydra.instance().clear()
    store = tmp_path_factory.mktemp("store")
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        return compose("train", [*TINY, f"data.store={store}"])


def task(config: DictConfig, folder: Path, console: Alarm) -> Task:
    torch.manual_seed(0)
    data = schema.build(config.data)
    return Task(
        detector=schema.build(config.model, num_classes=len(data.classes), in_channels=2),
        loss=schema.build(config.loss),
        optimizer=schema.build(config.optimizer, _partial_=True),
        schedule=schema.build(config.scheduler),
        train=data.train_loader(augmentation=schema.build(config.augment), seed=0),
        val=data.val_loader(),
        evaluator=schema.build(config.evaluator, classes=data.classes),
        logger=SilentLogger(),
        console=console,
        folder=folder,
        description={"classes": list(data.classes)},
    )


def fit(config: DictConfig, folder: Path, console: Alarm, resume: Path | None = None) -> dict[str, float]:
    trainer = Trainer(
        max_epochs=EPOCHS,
        average=WeightAverage(decay=0.998),
        device="cpu",
        threads=1,
        resume=None if resume is None else str(resume),
        select_by="map",
    )
    return trainer.fit(task(config, folder, console))


def left(folder: Path) -> dict[str, Any]:
    """All that a run leaves, but the seconds it took."""
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]
    untimed = ("elapsed_s", "warm_up_s", "validation_s", "history")
    state = checkpoint.read_state(folder / "checkpoints" / "last")
    position = {name: value for name, value in state["position"].items() if name not in untimed}
    files = ("best/weights.safetensors", "last/weights.safetensors")
    weights = {name: (folder / "checkpoints" / name).read_bytes() for name in files}
    training = torch.load(checkpoint.paths(folder / "checkpoints" / "last")[-1], weights_only=True)
    return {
        "rows": rows,
        "position": position,
        **weights,
        "module": training["module"],
        "optimizer": training["optimizer"],
    }


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.fixture(scope="module")
def whole(config: DictConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[str]]:
    """What a run leaves that was never stopped, and the progress it showed."""
    folder = tmp_path_factory.mktemp("whole")
    console = Alarm()
    fit(config, folder, console)
    return left(folder), console.shown


def test_the_run_that_is_compared_has_batches_to_stop_between(whole: tuple[dict[str, Any], list[str]]) -> None:
    shown = whole[1]
    assert len(shown) == EPOCHS * (3 + 2)
    assert shown[:5] == ["epoch 1/2"] * 3 + ["validation 1"] * 2


# In mid-epoch, after its last batch, in mid-validation, and after it.
@pytest.mark.parametrize("at", [1, 3, 4, 5])
def test_stopped_after_any_batch_and_gone_on_with_it_equals_the_run_that_never_stopped(
    at: int, config: DictConfig, whole: tuple[dict[str, Any], list[str]], tmp_path: Path
) -> None:
    number = signal.SIGTERM if at % 2 else signal.SIGINT
    with pytest.raises(Stopped) as stop:
        fit(config, tmp_path / "first", Alarm(at, number))
    assert stop.value.checkpoint == tmp_path / "first" / "checkpoints" / "last"
    second = Alarm()
    fit(config, tmp_path / "second", second, stop.value.checkpoint)
    assert same(left(tmp_path / "second"), whole[0])
    # No training batch is seen twice and none left out; a validation begins anew.
    trained = [label for label in whole[1][:at] + second.shown if label.startswith("epoch")]
    assert trained == [label for label in whole[1] if label.startswith("epoch")]


def test_a_run_stopped_again_and_again_equals_the_run_that_never_stopped(
    config: DictConfig, whole: tuple[dict[str, Any], list[str]], tmp_path: Path
) -> None:
    resume, stops = None, 0
    while True:
        folder = tmp_path / str(stops)
        try:
            fit(config, folder, Alarm(3), resume)
        except Stopped as stop:
            resume, stops = stop.checkpoint, stops + 1
            continue
        break
    assert stops >= 2
    assert same(left(folder), whole[0])


def test_the_signals_of_the_process_are_given_back(config: DictConfig, tmp_path: Path) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with pytest.raises(Stopped):
        fit(config, tmp_path, Alarm(1))
    assert {number: signal.getsignal(number) for number in before} == before


def test_a_second_ctrl_c_interrupts_at_once(config: DictConfig, tmp_path: Path) -> None:
    class Impatient(Alarm):
        @contextmanager
        def progress(self, label: str, total: int) -> Iterator[Any]:
            def advance(text: str) -> None:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)

            yield advance

    with pytest.raises(KeyboardInterrupt):
        fit(config, tmp_path, Impatient())
    assert not (tmp_path / "checkpoints").exists()


def test_the_best_checkpoint_goes_along_even_if_no_later_epoch_is_better(config: DictConfig, tmp_path: Path) -> None:
    with pytest.raises(Stopped) as stop:
        fit(config, tmp_path / "first", Alarm(6))
    best = tmp_path / "first" / "checkpoints" / "best"
    weights = (best / "weights.safetensors").read_bytes()
    with pytest.raises(Stopped):
        fit(config, tmp_path / "second", Alarm(1), stop.value.checkpoint)
    assert (tmp_path / "second" / "checkpoints" / "best" / "weights.safetensors").read_bytes() == weights


def test_without_a_best_checkpoint_beside_it_the_last_one_takes_its_place(
    config: DictConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Stopped) as stop:
        fit(config, tmp_path / "first", Alarm(6))
    alone = tmp_path / "elsewhere" / "last"
    checkpoint.copy(stop.value.checkpoint, alone)
    with pytest.raises(Stopped):
        fit(config, tmp_path / "second", Alarm(1), alone)
    assert "no best checkpoint beside the one to go on from" in caplog.text
    assert (tmp_path / "second" / "checkpoints" / "best" / "weights.safetensors").is_file()
