"""The demonstration: a checkpoint small enough to ship, and a recording that it was not trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from command_line import predict

import spikeyolo
from spikeyolo.demo import CHECKPOINT, demo_recording
from spikeyolo.detections import DetectionTable
from spikeyolo.events.simulator.synthetic import SyntheticDataset
from spikeyolo.events.store import Recording
from spikeyolo.report.video.overlap import overlaps


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo_recording(tmp_path_factory.mktemp("demo"))


def test_the_checkpoint_is_small_holds_no_pickle_and_says_how_it_was_made() -> None:
    files = [path for path in CHECKPOINT.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".safetensors"}
    assert sum(path.stat().st_size for path in files) < 3_000_000
    made = json.loads((CHECKPOINT / "state.json").read_text())["made"]
    assert made["command"].startswith("python -m spikeyolo.train +experiment=highfreq")
    assert made["val/map50"] > 0.8


def test_the_recording_is_the_same_every_time_and_of_a_kind_that_was_not_trained_on(
    recording: Path, tmp_path: Path
) -> None:
    first, second = Recording.open(recording), Recording.open(demo_recording(tmp_path))
    assert first.attributes["digest"] == second.attributes["digest"]
    assert (first.rows(0, first.num_events) == second.rows(0, second.num_events)).all()
    trained = json.loads((CHECKPOINT / "state.json").read_text())["settings"]["data"]["dataset"]
    assert trained["objects_max"] == 2
    assert len(np.unique(first.boxes.track_id)) == 4
    assert (first.width, first.height) != (trained["width"], trained["height"])


def test_a_recording_that_another_process_made_meanwhile_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate = SyntheticDataset.simulate

    def overtaken(scene: SyntheticDataset, *which: Any) -> Any:
        monkeypatch.setattr(SyntheticDataset, "simulate", simulate)
        demo_recording(tmp_path)
        return scene.simulate(*which)

    monkeypatch.setattr(SyntheticDataset, "simulate", overtaken)
    assert demo_recording(tmp_path) == tmp_path / "demo.zarr"
    assert [path.name for path in tmp_path.iterdir()] == ["demo.zarr"]


def test_the_checkpoint_finds_the_recordings_objects(recording: Path) -> None:
    stored = Recording.open(recording)
    predictor = spikeyolo.load(CHECKPOINT, device="cpu")
    assert predictor.classes == stored.classes
    end = 12_000
    found = predictor.predict(stored.slice(0, end), confidence=0.3)
    hits = total = 0
    for t in np.unique(stored.boxes.t[stored.boxes.t <= end]):
        truth = stored.boxes[stored.boxes.t == t]
        near = np.unique(found.t_us)[np.abs(np.unique(found.t_us) - t).argmin()]
        rows = found[found.t_us == near]
        same = rows.class_id[:, None] == truth.class_id[None]
        hits += int(((overlaps(rows.xyxy, truth.xyxy) > 0.5) & same).any(0).sum())
        total += len(truth)
    assert total >= 7
    assert hits / total > 0.8


@pytest.mark.slow
def test_one_command_detects_tracks_and_films_before_anything_is_trained(tmp_path: Path) -> None:
    ended = predict("demo=true", "device=cpu", cwd=tmp_path)
    assert ended.code == 0, ended.errors
    tracks = DetectionTable.read(tmp_path / "demo" / "tracks.parquet")
    truth = Recording.open(tmp_path / "demo" / "demo.zarr")
    assert (tracks.track_id >= 0).all()  # as in a table of the command track
    followed = np.bincount(tracks.track_id)
    assert (followed > 300).sum() == 4  # four objects, each by one track for more than half of the 600 steps
    assert int(tracks.t_us.max()) == pytest.approx(truth.end_us, abs=1_000)
    with av.open(str(tmp_path / "demo" / "demo.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) >= 180
    again = predict("demo=true", "device=cpu", cwd=tmp_path)
    assert again.code == 0
    assert "unchanged" in again.errors
