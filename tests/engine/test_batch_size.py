"""The batch size that fits: the largest power of two, found by whole steps that leave no trace."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from test_trainer_resume import TINY, Alarm, task

from spikeyolo.engine import batch_size
from spikeyolo.engine.batch_size import find_batch_size, keep_in_configuration, kept_batch_size, largest
from spikeyolo.engine.checkpoints import checkpoint
from spikeyolo.engine.guards.memory import out_of_memory
from spikeyolo.engine.ranks import Ranks
from spikeyolo.engine.trainer import Trainer
from spikeyolo.entry import config_directory
from spikeyolo.errors import ConfigError, TrainingError
from spikeyolo.launch import Place

GIB = 2**30


@given(
    constant=st.integers(0, 1000),
    window=st.integers(1, 100),
    limit=st.integers(1, 10_000),
    ceiling=st.sampled_from([1, 2, 32, 256]),
    says_no=st.booleans(),
)
def test_the_largest_power_of_two_that_fits_is_found(
    constant: int, window: int, limit: int, ceiling: int, says_no: bool
) -> None:
    def used(size: int) -> int:
        needed = constant + window * size
        if says_no and needed > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return needed

    found = largest(used, limit=limit, ceiling=ceiling, foresee=False)
    fitting = [
        size for size in (2**power for power in range(9)) if size <= ceiling and constant + window * size <= limit
    ]
    assert found == max(fitting, default=0)


@given(constant=st.integers(0, 1000), window=st.integers(1, 100), limit=st.integers(1, 10_000))
def test_where_nobody_says_no_a_batch_that_would_not_fit_is_never_tried(constant: int, window: int, limit: int) -> None:
    tried: list[int] = []

    def used(size: int) -> int:
        tried.append(constant + window * size)
        return tried[-1]

    found = largest(used, limit=limit, ceiling=64, foresee=True)
    assert all(bytes_used <= limit for bytes_used in tried[1:])  # one window has to be tried
    assert found == 0 or constant + window * found <= limit
    # At least half of what would fit, but for what does not grow with the batch.
    assert found == 64 or 2 * (constant + window * max(found, 1)) > limit


def test_other_errors_are_not_taken_for_full_memory() -> None:
    def broken(size: int) -> int:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        largest(broken, limit=1, ceiling=1, foresee=False)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> DictConfig:
    GlobalHydra.instance().clear()
    store = tmp_path_factory.mktemp("store")
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        return compose("train", [*TINY, f"data.store={store}", "data.batch_size=auto"])


def settings(**changes: Any) -> Trainer:
    return Trainer(device="cpu", threads=1, **changes)


def free(monkeypatch: pytest.MonkeyPatch, available: int) -> None:
    memory = SimpleNamespace(available=available, total=64 * GIB)
    monkeypatch.setattr(batch_size.psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(batch_size, "memory_bytes", lambda: 64 * GIB)


def test_a_batch_size_is_found_for_a_real_training_that_is_left_as_it_was(
    config: DictConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    free(monkeypatch, 8 * GIB)
    before = task(config, tmp_path, Alarm())
    weights = {name: value.clone() for name, value in before.detector.state_dict().items()}
    drawn = torch.get_rng_state()
    with caplog.at_level("INFO"):
        found = find_batch_size(settings(nominal_batch=64), before)
    assert found == 4  # of the training's six windows
    assert "data.batch_size=auto: 4 windows a batch" in caplog.text
    assert "learning rates stay as they are, and so do updates (trainer.nominal_batch=64)" in caplog.text
    assert all(torch.equal(value, weights[name]) for name, value in before.detector.state_dict().items())
    assert torch.equal(torch.get_rng_state(), drawn)
    assert not any(parameter.grad is not None for parameter in before.detector.parameters())
    assert not list(tmp_path.iterdir())


def test_memory_that_one_window_does_not_fit_into_is_said_with_its_figures(
    config: DictConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free(monkeypatch, 2**16)
    with pytest.raises(
        TrainingError,
        match=r"^data\.batch_size=auto: a step of one window takes \d+\.\d\d GiB, and 0\.00 GiB may be used on cpu; "
        r"expected fewer time steps \(data\.time_steps\)",
    ):
        find_batch_size(settings(), task(config, tmp_path, Alarm()))


def test_several_processes_are_given_a_number(config: DictConfig, tmp_path: Path) -> None:
    several = Ranks(Place(0, 2, 0, 2, "localhost", 1))
    with pytest.raises(ConfigError, match=r"data\.batch_size: found auto for 2 processes; expected a number"):
        find_batch_size(settings(), replace(task(config, tmp_path, Alarm()), ranks=several))


def test_full_memory_at_one_window_asks_for_no_smaller_batch() -> None:
    said = str(out_of_memory(MemoryError(), (8, 1, 2, 240, 304), torch.device("cpu")))
    assert "expected fewer time steps" in said
    assert "smaller batch" not in said


def test_the_batch_size_that_was_found_stands_in_the_run_folders_configuration(tmp_path: Path) -> None:
    assert keep_in_configuration(tmp_path, 16) == 16  # a run that keeps none
    path = tmp_path / ".hydra" / "config.yaml"
    path.parent.mkdir()
    path.write_text("data:\n  batch_size: auto\n  store: ${name}\nname: x\n")
    keep_in_configuration(tmp_path, 16)
    kept = OmegaConf.load(path)
    assert kept.data.batch_size == 16
    assert "${name}" in path.read_text()


def test_a_run_that_goes_on_takes_the_checkpoints_batch_size(tmp_path: Path) -> None:
    assert kept_batch_size(None) is None
    for described, expected in (({"settings": {"data": {"batch_size": 16}}}, 16), ({}, None)):
        checkpoint.save(tmp_path, weights=torch.nn.Linear(1, 1), training=None, state=described)
        assert kept_batch_size(tmp_path) == expected
