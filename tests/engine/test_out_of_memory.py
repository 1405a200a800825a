"""Memory that is full is said with its figures and with what to lower; other errors stay what they are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from small_training import World

from spikeyolo.engine.guards.memory import out_of_memory
from spikeyolo.engine.trainer import Trainer
from spikeyolo.engine.update.optimizer import Sgd
from spikeyolo.errors import TrainingError
from spikeyolo.training.rates import find_rate

CPU = torch.device("cpu")
SHAPE = (8, 16, 2, 240, 304)


def really_full() -> BaseException:
    """What torch raises where the host has not so much memory."""
    with pytest.raises(RuntimeError) as full:
        torch.empty(1 << 60, dtype=torch.uint8)
    return full.value


@pytest.mark.parametrize("error", [really_full(), MemoryError(), torch.OutOfMemoryError("CUDA out of memory")])
def test_full_memory_names_what_to_lower_with_figures(error: BaseException) -> None:
    found = out_of_memory(error, SHAPE, CPU)
    assert isinstance(found, TrainingError)
    assert re.match(r"^the memory of .* is full: \d+\.\d GiB held here and \d+\.\d GiB free of \d+\.\d GiB", str(found))
    assert "at data.batch_size=16, data.time_steps=8 and frames of 304×240 px" in str(found)
    assert "data.batch_size=8, with trainer.nominal_batch=16 for the same updates" in str(found)


def test_full_memory_of_one_of_several_processes_names_the_batch_of_all() -> None:
    said = str(out_of_memory(MemoryError(), (8, 3, 2, 240, 304), CPU, processes=4))
    assert "at data.batch_size=12 of 4 processes, data.time_steps=8" in said
    assert "data.batch_size=4, with trainer.nominal_batch=12" in said  # which they can share
    alone = str(out_of_memory(MemoryError(), (8, 1, 2, 240, 304), CPU, processes=4))
    assert "at data.batch_size=4 of 4 processes" in alone
    assert "smaller batch" not in alone


def test_another_error_stays_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert out_of_memory(RuntimeError("shapes do not match"), SHAPE, CPU) is None

    def wrong(self: World, predictions: object, targets: object) -> object:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(World, "loss", wrong)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        World().fit(tmp_path, max_epochs=1)


def test_a_training_whose_memory_is_full_ends_in_the_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = really_full()

    def too_large(self: World, predictions: object, targets: object) -> object:
        raise full

    monkeypatch.setattr(World, "loss", too_large)
    with pytest.raises(TrainingError, match=r"^the memory of this machine is full: .*; there is no checkpoint yet$"):
        World(frames=torch.ones(8, 16, 2, 24, 3)).fit(tmp_path, max_epochs=1)


@pytest.mark.parametrize("where", ["update", "validation"])
def test_memory_that_is_full_in_an_update_or_in_validation_is_said_too(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = really_full()

    def too_large(*given: object, **named: object) -> None:
        raise full

    def too_large_once_it_is_asked(world: World, detector: object, batches: Iterable[Any], **named: Any) -> Any:
        return {"map50": 0.5} if not list(islice(batches, 1)) else too_large()

    if where == "update":  # which makes the optimizer's momenta
        monkeypatch.setattr(Sgd, "step", too_large)
    else:
        monkeypatch.setattr(World, "evaluate", too_large_once_it_is_asked)
    with pytest.raises(TrainingError, match=r"^the memory of this machine is full: .* at data.batch_size=16"):
        World(frames=torch.ones(8, 16, 2, 24, 3)).fit(tmp_path, max_epochs=1)


def test_memory_that_is_full_in_a_range_test_is_said_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = really_full()

    def too_large(self: World, predictions: object, targets: object) -> object:
        raise full

    monkeypatch.setattr(World, "loss", too_large)
    task = World(frames=torch.ones(8, 16, 2, 24, 3)).task(tmp_path)
    with pytest.raises(TrainingError, match=r"^the memory of this machine is full: .* at data.batch_size=16"):
        find_rate(Trainer(device="cpu"), task)
