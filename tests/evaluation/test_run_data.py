"""The data set that a checkpoint is evaluated on: its frames are made as in the training."""

from __future__ import annotations

from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from spikeyolo.entry import config_directory
from spikeyolo.evaluation import run_data

SENSOR = {"sensor": [1280, 720]}


@pytest.mark.parametrize(
    ("frame", "encoder", "downsample"),
    [(SENSOR, {}, 2), ({}, {}, "auto"), (SENSOR, {"downsample": 1}, "auto")],
    ids=["as the training decided", "an old checkpoint tells of no sensor", "another encoder than the training's"],
)
def test_what_auto_was_in_training_it_is_in_evaluation_too(
    frame: dict[str, Any], encoder: dict[str, Any], downsample: int | str
) -> None:
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        config = compose("train", ["data.encoder.downsample=auto"])
    trained = OmegaConf.to_container(config.data.encoder, resolve=True)
    assert isinstance(trained, dict)
    state = {"encoder": {**trained, **encoder}, "frame": frame}
    data, _ = run_data.build(config, state, chosen=run_data.NAME, overridden=())
    assert data.encoder.downsample == downsample
