"""``evaluate`` scores tracks wherever the truth has them: its table, page, CSV and scores.json."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import evaluate
from tracked_scenes import scene, straight

from spikeyolo.detections import DetectionTable, GroundTruth, mot
from spikeyolo.metrics.tracking import track_scores
from spikeyolo.tracking import ByteTrack, track_table

PATHS = [straight((20 + 60 * k, 60 + 40 * k), (60 - 30 * k, 20)) for k in range(4)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Detections without tracks, and the truth, which has them."""
    scene(PATHS, rate_hz=100, duration_s=0.4, classes=[0, 1, 0, 1]).write(tmp_path / "truth.parquet")
    found = scene(PATHS, rate_hz=100, duration_s=0.4, classes=[0, 1, 0, 1], noise=0.04)
    found = found[np.random.default_rng(0).random(len(found)) < 0.85]
    replace(found, track_id=np.full(len(found), -1, np.int64)).write(tmp_path / "found.parquet")
    return tmp_path


def scores(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "coco" / "scores.json").read_text())  # type: ignore[no-any-return]


def test_a_tracker_gives_tracks_and_their_scores_are_in_the_table_the_page_and_the_files(folder: Path) -> None:
    ended = evaluate("detections=found.parquet", "tracker=bytetrack", "out=with", "save=[mot]", cwd=folder)
    assert ended.code == 0, ended.errors
    found, truth = (DetectionTable.read(folder / f"{name}.parquet") for name in ("found", "truth"))
    tracked = track_table(found, ByteTrack(), step_us=10_000)
    expected = track_scores(tracked, GroundTruth.of(truth)).figures
    made = scores(folder / "with")
    assert made["figures"]["track/hota"] == pytest.approx(expected["hota"])
    assert made["figures"]["track/idf1/car"] > 0.5
    assert made["tracks"]["per_recording"]["scene"]["hota"] == pytest.approx(expected["hota"])
    assert made["made"]["tracker"]["name"] == "ByteTrack"
    assert "HOTA" in ended.output
    assert f"{expected['hota']:.4f}" in ended.output
    page = (folder / "with" / "coco" / "evaluation.html").read_text()
    assert "<caption>Tracks</caption>" in page
    assert f"<b>{expected['hota']:.3f}</b>HOTA" in page
    with (folder / "with" / "coco" / "figures" / "tracks.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["of"], row["name"]) for row in rows] == [
        ("all", ""), ("class", "car"), ("class", "person"), ("recording", "scene"),
    ]  # fmt: skip
    assert float(rows[0]["hota"]) == pytest.approx(expected["hota"])
    text = mot.read(folder / "with" / "mot", classes=truth.classes)
    assert set(text.track_id.tolist()) >= {1, 2, 3, 4}


def test_tracks_that_a_table_has_are_scored_and_without_any_nothing_is_said(folder: Path) -> None:
    ended = evaluate("detections=truth.parquet", "truth=truth.parquet", "out=same", cwd=folder)
    assert ended.code == 0, ended.errors
    made = scores(folder / "same")
    names = ("hota", "det_a", "ass_a", "mota", "motp", "idf1")
    assert [made["figures"][f"track/{name}"] for name in names] == pytest.approx([1.0] * 6)
    ended = evaluate("detections=found.parquet", "out=plain", cwd=folder)
    assert ended.code == 0, ended.errors
    plain = scores(folder / "plain")
    assert plain["tracks"] is None
    assert not any(name.startswith("track/") for name in plain["figures"])
    assert not (folder / "plain" / "coco" / "figures" / "tracks.csv").exists()
    assert plain["figures"]["map"] < made["figures"]["map"]


def test_tracks_that_are_not_scored_for_a_true_box_without_a_track_are_said(folder: Path) -> None:
    truth = DetectionTable.read(folder / "truth.parquet")
    truth.write(folder / "tracks.parquet")
    replace(truth, track_id=np.where(np.arange(len(truth)) == 3, -1, truth.track_id)).write(folder / "truth.parquet")
    ended = evaluate("detections=tracks.parquet", "out=some", cwd=folder)
    assert ended.code == 0, ended.errors
    (line,) = [line for line in ended.errors.splitlines() if "its tracks are not" in line]
    assert f"truth: has no track id in 1 of {len(truth)} boxes" in line
    assert scores(folder / "some")["tracks"] is None


def test_a_tracker_cannot_be_scored_on_a_truth_without_tracks(folder: Path) -> None:
    truth = DetectionTable.read(folder / "truth.parquet")
    replace(truth, track_id=np.full(len(truth), -1, np.int64)).write(folder / "truth.parquet")
    assert evaluate("detections=found.parquet", "out=plain", cwd=folder).code == 0
    ended = evaluate("detections=found.parquet", "tracker=bytetrack", "out=with", cwd=folder)
    assert ended.code == 2
    assert "truth: has no track ids, so that tracking cannot be scored" in ended.errors


def test_a_table_with_one_track_twice_at_a_time_is_scored_without_its_tracks_and_says_why(folder: Path) -> None:
    found = DetectionTable.read(folder / "truth.parquet")
    first, second = np.unique(found.track_id)[:2]
    ids = np.where(found.track_id == second, first, found.track_id)
    replace(found, track_id=ids).write(folder / "twice.parquet")
    ended = evaluate("detections=twice.parquet", "truth=truth.parquet", "out=twice", cwd=folder)
    assert ended.code == 0, ended.errors
    (line,) = [line for line in ended.errors.splitlines() if "its tracks are not" in line]
    assert f"scene has two boxes of track {first} at" in line
    made = scores(folder / "twice")
    assert made["figures"]["map"] == pytest.approx(1.0)
    assert made["tracks"] is None
    assert not any(name.startswith("track/") for name in made["figures"])
