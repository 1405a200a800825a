"""The data set that a checkpoint is evaluated on: its frames are made as in the training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from spikeyolo.entry import config_directory
from spikeyolo.errors import ConfigError
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


def recorded(folder: Path, started: Path) -> Path:
    """The checkpoint of a run that was started in a folder on the paths ``street.raw`` and ``street.csv``."""
    (folder / ".hydra").mkdir(parents=True)
    data = {"events": "street.raw", "labels": "street.csv", "root": None}
    OmegaConf.save({"data": data}, folder / ".hydra" / "config.yaml")
    OmegaConf.save({"hydra": {"runtime": {"cwd": str(started)}}}, folder / ".hydra" / "hydra.yaml")
    return folder / "checkpoints" / "best"


def test_relative_paths_are_found_where_the_run_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    started, other = tmp_path / "started", tmp_path / "other"
    for place in (started, other):
        place.mkdir()
    checkpoint = recorded(tmp_path / "run", started)
    for name in ("street.raw", "street.csv"):
        (started / name).touch()
    (other / "street.csv").touch()  # what is here comes first
    monkeypatch.chdir(other)
    data = run_data.stored_data(checkpoint)
    assert data is not None
    assert (data["events"], data["labels"]) == (str(started / "street.raw"), "street.csv")
    with caplog.at_level("INFO"):
        run_data.say_where(checkpoint)
    assert caplog.messages == [f"data.events: {started / 'street.raw'}, from the folder in which the run was started"]


def test_a_path_of_the_run_that_is_nowhere_is_said_to_be_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        config = compose(
            "train", ["data=recording", "data.events=a.raw", "data.classes=[car]", "data.train_until_us=9"]
        )
    with pytest.raises(ConfigError, match=r"data.events: found a.raw in the configuration of the .*=PATH"):
        run_data.build(config, {}, chosen=run_data.NAME, overridden=())
    run_data.build(config, {}, chosen=run_data.NAME, overridden=("data.events=a.raw",))  # the data set says it
