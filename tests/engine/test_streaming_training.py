"""Training in lanes: stopped and gone on with it is the run that never stopped, and validation carries states too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from test_trainer_resume import TINY, Alarm, fit, left, same

from spikeyolo.engine.checkpoints import checkpoint
from spikeyolo.engine.task import Stopped
from spikeyolo.entry import config_directory
from spikeyolo.model.streaming import Carrier


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> DictConfig:
    """Batches of a lane and a window beside it, 3 an epoch."""
    GlobalHydra.instance().clear()
    short = (
        "data.sampling=mixed",
        "data.samples_per_epoch=6",
        "data.reset_share=0",
        f"data.store={tmp_path_factory.mktemp('store')}",
        "data.dataset.duration_us=2000",
        "data.dataset.label_rate_hz=2000",
    )
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        return compose("train", [*TINY, *short, "augment=light"])


@pytest.fixture(scope="module")
def whole(config: DictConfig, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("whole")
    fit(config, folder, Alarm())
    return left(folder)


def carried(last: Path) -> Any:
    """The states that a checkpoint holds, and the windows that left them."""
    return torch.load(checkpoint.paths(last)[-1], weights_only=True)["step"]["carried"]


# In mid-epoch, and between epochs, where lanes go on too.
@pytest.mark.parametrize("at", [2, 3])
def test_lanes_stopped_and_gone_on_with_are_those_that_never_stopped(
    at: int, config: DictConfig, whole: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(Stopped) as stop:
        fit(config, tmp_path / "first", Alarm(at))
    states = carried(stop.value.checkpoint)
    assert states["windows"]
    assert any(bool(values[0].any()) for _, values in states["states"])
    fit(config, tmp_path / "second", Alarm(), stop.value.checkpoint)
    assert same(left(tmp_path / "second"), whole)


def test_without_the_states_of_the_checkpoint_the_run_would_be_another(
    config: DictConfig, whole: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(Stopped) as stop:
        fit(config, tmp_path / "first", Alarm(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Carrier, "load_state_dict", lambda self, state: None)
        fit(config, tmp_path / "second", Alarm(), stop.value.checkpoint)
    assert not same(left(tmp_path / "second"), whole)
