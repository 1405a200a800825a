"""Checkpoints are written while the training goes on, and nothing that was asked for is lost by it."""

from __future__ import annotations

import errno
import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from small_training import World

from spikeyolo.engine.callbacks import Callback, Outcome, Run
from spikeyolo.engine.checkpoints import checkpoint
from spikeyolo.engine.checkpoints.behind import Behind
from spikeyolo.engine.checkpoints.files import Files
from spikeyolo.errors import CheckpointError, TrainingError


def test_jobs_are_done_in_their_order_before_wait_returns() -> None:
    done: list[int] = []
    behind = Behind()
    for number in range(20):
        behind.do(lambda number=number: done.append(number))  # type: ignore[misc]
    behind.wait()
    assert done == list(range(20))


def test_after_a_job_that_failed_none_is_done_until_its_error_was_raised() -> None:
    done: list[str] = []

    def fails() -> None:
        raise CheckpointError("full")

    behind = Behind()
    behind.do(lambda: done.append("before"))
    behind.do(fails)
    behind.do(lambda: done.append("after"))
    with pytest.raises(CheckpointError, match="full"):
        behind.wait()
    assert done == ["before"]
    behind.do(lambda: done.append("later"))
    behind.wait()
    assert done == ["before", "later"]


def test_an_error_that_ends_the_training_is_not_hidden_by_one_of_writing(caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> None:
        raise CheckpointError("full")

    def training(error: Exception | None) -> None:
        with Behind() as behind:
            behind.do(fails)
            if error is not None:
                raise error

    with caplog.at_level(logging.ERROR), pytest.raises(ValueError, match="mine"):
        training(ValueError("mine"))
    assert "full" in caplog.text
    with pytest.raises(CheckpointError, match="full"):
        training(None)


class Held(Files):
    """The disk answers once ``free`` is set, and says when it was first asked."""

    def __init__(self) -> None:
        self.asked, self.free = threading.Event(), threading.Event()

    def sync(self, path: Path) -> None:
        self.asked.set()
        assert self.free.wait(30)
        super().sync(path)


class At(Callback):
    """Does something once, after so many batches of training and validation."""

    def __init__(self, batch: int, act: Callable[[Run], Outcome | None]) -> None:
        self._left, self._act = batch, act

    def after_batch(self, run: Run) -> Outcome:
        self._left -= 1
        return (self._act(run) if self._left == 0 else None) or Outcome.CONTINUE


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    files = Held()
    for room in ("files", "checkpoint"):
        monkeypatch.setattr(f"spikeyolo.engine.checkpoints.{room}.Files", lambda: files)
    return files


def test_the_next_epoch_trains_while_a_slow_disk_takes_the_one_before(held: Held, tmp_path: Path) -> None:
    state = tmp_path / "checkpoints" / "last" / "state.json"

    def while_held(run: Run) -> None:
        assert held.asked.wait(30)
        assert not state.exists()
        held.free.set()

    world = World(train=3, val=1)
    world.fit(tmp_path, max_epochs=2, callbacks={"at": At(6, while_held)})  # in the second epoch
    assert json.loads(state.read_text())["position"]["epoch"] == 2
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 3


def test_what_is_being_written_is_the_training_as_it_was(held: Held, tmp_path: Path) -> None:
    def release(run: Run) -> Outcome:
        held.free.set()
        return Outcome.STOP  # in mid-epoch of the second

    settings = {"average": None, "max_epochs": 2}
    for name, callbacks in (("held", {"at": At(6, release)}), ("free", {})):
        World(train=3, val=1, figures=(0.9, 0.1)).fit(tmp_path / name, **settings, callbacks=callbacks)
    best, last, free = (tmp_path / name / "weights.safetensors" for name in
                        ("held/checkpoints/best", "held/checkpoints/last", "free/checkpoints/best"))  # fmt: skip
    assert best.read_bytes() == free.read_bytes() != last.read_bytes()


def test_a_roll_back_waits_for_the_checkpoint_it_goes_back_to(held: Held, tmp_path: Path) -> None:
    def free_soon(run: Run) -> Outcome:
        assert held.asked.wait(30)
        threading.Timer(0.2, held.free.set).start()
        return Outcome.ROLL_BACK

    world = World(train=3, val=1)
    world.fit(tmp_path, max_epochs=2, callbacks={"at": At(6, free_soon)})
    assert world.steps == 3 + 2 + 3  # two of the second epoch were taken back
    assert checkpoint.read_state(tmp_path / "checkpoints" / "last")["position"]["step"] == 6


def test_an_error_in_the_next_epoch_names_the_checkpoint_that_was_being_written(held: Held, tmp_path: Path) -> None:
    def break_down(run: Run) -> None:
        threading.Timer(0.2, held.free.set).start()
        raise TrainingError("the loss is strange")

    with pytest.raises(TrainingError, match=r"the loss is strange; the last good checkpoint is .*last"):
        World(train=3, val=1).fit(tmp_path, max_epochs=2, callbacks={"at": At(6, break_down)})
    assert checkpoint.read_state(tmp_path / "checkpoints" / "last")["position"]["epoch"] == 1


def test_a_disk_that_fails_behind_ends_the_training_with_its_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(Files):
        def sync(self, path: Path) -> None:
            raise OSError(errno.EIO, "Input/output error")

    for room in ("files", "checkpoint"):
        monkeypatch.setattr(f"spikeyolo.engine.checkpoints.{room}.Files", Failing)
    world = World(train=3, val=1)
    with pytest.raises(CheckpointError, match=r"last: the checkpoint cannot be written \(Input/output error\)"):
        world.fit(tmp_path, max_epochs=5)
    assert world.steps <= 6  # at the end of the next epoch at the latest
    assert not (tmp_path / "metrics.csv").exists()
