"""Real recordings, end to end: every format's rows lie on its sensor, in its span, and parts of it carry on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import predict
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from spikeyolo import schema
from spikeyolo.detections import DetectionTable
from spikeyolo.engine.checkpoints import checkpoint
from spikeyolo.entry import config_directory

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def cwd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``run``: a femto network for frames of a quarter of the sensor, that was never trained."""
    folder = tmp_path_factory.mktemp("real")
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        config = compose("train", ["model=femto", "data.encoder.downsample=4"])
    torch.manual_seed(0)
    detector = schema.build(config.model, num_classes=2, in_channels=2)
    draw = torch.Generator().manual_seed(0)
    frames = torch.poisson(torch.full((4, 1, 2, 64, 96), 0.3), generator=draw)
    with torch.no_grad():  # norms that know their inputs, so that neurons fire and boxes differ
        for _ in range(20):
            detector(frames)
        for branch in detector.head.classes:
            branch.layers[-1].synapse.bias.fill_(-1.0)
            branch.layers[-1].synapse.weight.mul_(20.0)
    composed = OmegaConf.to_container(config, resolve=True)
    assert isinstance(composed, dict)
    state = {
        "classes": ["car", "person"],
        "in_channels": 2,
        "model": composed["model"],
        "encoder": composed["data"]["encoder"],
        "windows": {"slice_duration_us": 10_000, "time_steps": 8},
    }
    checkpoint.save(folder / "run" / "checkpoints" / "best", weights=detector, training=None, state=state)
    return folder


@pytest.mark.parametrize(
    ("name", "sensor", "events", "end_us"),
    [
        ("davis346_cars.aedat4", (346, 260), 78_830, 2_360_000),
        ("imx636_scene.dat", (1280, 720), 1_218_618, 10_770_000),
        ("driving_evt3.raw", (1280, 720), 219_596, 10_000),
        ("vga_evt2.raw", (640, 480), 521_252, 100_000),
    ],
)
def test_a_recording_is_gone_through_from_its_first_event_to_its_last(
    cwd: Path, real_data: Path, name: str, sensor: tuple[int, int], events: int, end_us: int
) -> None:
    source = real_data / name
    shortened = ["filters.time_range_us=[0,500000]"] if end_us > 5_000_000 else []  # of 10.8 s: this takes long enough
    common = ("checkpoint=run/checkpoints/best", "device=cpu", "max_detections=20", "track=true")
    ended = predict(*common, f"source={source}", *shortened, cwd=cwd)
    assert ended.code == 0, ended.errors
    assert "× real time" in ended.errors
    found = DetectionTable.read(cwd / ended.output.splitlines()[-1])
    notes = found.metadata["ended"][source.stem]
    assert tuple(notes["sensor"]) == sensor
    assert notes["event_counts"]["in_file"] == events
    last = 500_000 if shortened else end_us
    assert abs(notes["end_us"] - last) <= 20_000
    assert notes["span_us"][1] < notes["end_us"] <= notes["span_us"][1] + 10_000
    assert len(found)
    assert found.t_us.max() <= notes["end_us"]
    assert (found.t_us % 10_000 == 0).all()
    assert (found.xyxy >= 0).all()
    assert (found.xyxy <= np.array([*sensor, *sensor])).all()


def test_a_real_recording_that_is_followed_gives_the_rows_of_its_file(
    cwd: Path, real_data: Path, tmp_path: Path
) -> None:
    common = ("checkpoint=run/checkpoints/best", "device=cpu", "max_detections=20")
    tables = []
    for more in ([], ["follow=true", "timeout=0.2"]):
        out = f"out={tmp_path / str(len(tables))}"
        ended = predict(*common, f"source={real_data / 'vga_evt2.raw'}", out, *more, cwd=cwd)
        assert ended.code == 0, ended.errors
        tables.append(DetectionTable.read(tmp_path / str(len(tables)) / "detections.parquet"))
    np.testing.assert_array_equal(tables[0].score, tables[1].score)
    np.testing.assert_array_equal(tables[0].xywh, tables[1].xywh)
