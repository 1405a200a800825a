"""``python -m spikeyolo.track``: from a table of detections to tracks, what they score, and a search for settings."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import environment, track
from tracked_scenes import scene, straight

from spikeyolo.detections import DetectionTable, GroundTruth, mot
from spikeyolo.detections.table import concatenated, empty
from spikeyolo.evaluation.tables.label_truth import read_truth
from spikeyolo.events.store import RecordingWriter
from spikeyolo.events.types import Boxes, Events
from spikeyolo.metrics.tracking import track_scores
from spikeyolo.track import tracked
from spikeyolo.tracking import ByteTrack, interpolated, track_file, track_table, usual_step_us

PATHS = [straight((20 + 60 * k, 60 + 40 * k), (60 - 30 * k, 20)) for k in range(4)]
HIDDEN = [(2, 0.1, 0.2)]
SENSOR = [346, 260]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Detections and the truth beside them."""
    scene(PATHS, rate_hz=200, duration_s=0.4, hidden=HIDDEN).write(tmp_path / "truth.parquet")
    found = scene(PATHS, rate_hz=200, duration_s=0.4, hidden=HIDDEN, noise=0.04)
    found = found[np.random.default_rng(0).random(len(found)) < 0.85]
    embedding = np.eye(4, dtype=np.float32)[found.track_id - 1]
    none = np.full(len(found), -1, np.int64)
    replace(found, track_id=none, embedding=embedding, metadata={"sensor": SENSOR}).write(tmp_path / "found.parquet")
    return tmp_path


def test_tracks_are_the_detections_with_ids_and_say_how_they_were_made(folder: Path) -> None:
    ended = track("detections=found.parquet", "tracker.confirm_us=10000", cwd=folder)
    assert ended.code == 0, ended.errors
    tracks, found = DetectionTable.read(folder / "tracks.parquet"), DetectionTable.read(folder / "found.parquet")
    expected = track_table(found, ByteTrack(confirm_us=10_000), step_us=5000)
    kept = expected[expected.track_id > 0]
    for column in ("t_us", "xywh", "score", "class_id", "track_id", "embedding"):
        assert np.array_equal(getattr(tracks, column), getattr(kept, column)), column
    assert set(tracks.track_id.tolist()) == {1, 2, 3, 4}
    made = tracks.metadata
    assert made["sensor"] == [346, 260]
    assert made["tracker"]["confirm_us"] == 10_000
    assert made["identity"]["step_us"] == 5000
    assert len(made["identity"]["detections"]) == 64


def test_a_table_out_of_order_gives_the_same_tracks_as_one_in_order(folder: Path) -> None:
    found = DetectionTable.read(folder / "found.parquet")
    order = np.random.default_rng(1).permutation(len(found))
    found[order].write(folder / "shuffled.parquet")
    made = {"tracker": {}, "interpolate_us": 60_000}
    tables = [
        tracked(folder / name, folder / f"tracks of {name}", ByteTrack(), made, step_us=None, fresh=True)
        for name in ("found.parquet", "shuffled.parquet")
    ]
    for column in ("t_us", "xywh", "score", "class_id", "track_id", "embedding"):
        assert np.array_equal(*(getattr(table, column) for table in tables)), column
    assert [table.metadata["identity"]["step_us"] for table in tables] == [5000, 5000]


def test_gaps_are_filled_at_times_at_which_a_file_has_rows_without_a_track_alone(tmp_path: Path) -> None:
    seen = scene(PATHS[:1], rate_hz=200, duration_s=0.4, hidden=[(1, 0.2, 0.23)])
    weak = scene(PATHS[1:2], rate_hz=200, duration_s=0.4, score=0.05)
    table = concatenated([seen, weak])
    table = replace(table, recordings=("scene",), recording=0 * table.recording, track_id=0 * table.track_id - 1)
    path = table[np.argsort(table.t_us, kind="stable")].write(tmp_path / "found.parquet")
    made = {"tracker": {}, "interpolate_us": 60_000}
    tracks = tracked(path, tmp_path / "tracks.parquet", ByteTrack(), made, step_us=None, fresh=True)
    assert tracks.t_us.tolist() == list(range(5_000, 400_001, 5_000))  # also where the object was hidden


def test_the_truth_beside_scores_them_and_truth_itself_scores_one(folder: Path) -> None:
    ended = track("detections=found.parquet", cwd=folder)
    assert ended.output.splitlines()[0].split()[:3] == ["tracks", "HOTA", "DetA"]
    figures = json.loads((folder / "tracks_scores.json").read_text())["figures"]
    assert 0.6 < figures["hota"] < 1
    assert figures["id_switches"] == 0
    ended = track("detections=truth.parquet", "tracker=none", "out=same.parquet", cwd=folder)
    assert ended.code == 0, ended.errors
    perfect = json.loads((folder / "same_scores.json").read_text())["figures"]
    assert [perfect[name] for name in ("hota", "mota", "idf1", "motp")] == pytest.approx([1.0] * 4)


def test_tracks_of_windows_of_more_steps_than_the_truths_are_scored_by_their_own_last_one(folder: Path) -> None:
    alone = track("detections=found.parquet", cwd=folder).output
    truth, found = (DetectionTable.read(folder / f"{name}.parquet") for name in ("truth", "found"))
    replace(truth, step=np.full(len(truth), 3), metadata={"scored_step": 3}).write(folder / "truth.parquet")
    made = {"identity": {"windows": {"windows": "around_labels", "time_steps": 8}}}
    replace(found, step=np.full(len(found), 7), metadata=made).write(folder / "longer.parquet")
    ended = track("detections=longer.parquet", cwd=folder)
    assert ended.code == 0, ended.errors
    assert ended.output == alone


def test_tracks_are_found_again_unless_table_or_settings_change(folder: Path) -> None:
    again = "unchanged (fresh=true makes it again)"
    assert again not in track("detections=found.parquet", cwd=folder).errors
    before = (folder / "tracks.parquet").stat().st_mtime_ns
    assert again in track("detections=found.parquet", cwd=folder).errors
    assert (folder / "tracks.parquet").stat().st_mtime_ns == before
    for change in ("fresh=true", "tracker.gate=4", "tracker=iou", "interpolate_us=50000", "step_us=100"):
        assert again not in track("detections=found.parquet", change, cwd=folder).errors, change
    found = DetectionTable.read(folder / "found.parquet")
    track("detections=found.parquet", cwd=folder)
    found[:-1].write(folder / "found.parquet")
    assert again not in track("detections=found.parquet", cwd=folder).errors


def test_other_programs_get_their_formats(folder: Path) -> None:
    ended = track("detections=found.parquet", "save=[mot,coco,prophesee]", cwd=folder)
    assert ended.code == 0, ended.errors
    tracks = DetectionTable.read(folder / "tracks.parquet")
    text = mot.read(folder / "tracks_mot", classes=tracks.classes)
    assert sorted(text.track_id.tolist()) == sorted(tracks.track_id.tolist())
    assert (folder / "tracks.json").is_file()
    assert (folder / "tracks_prophesee").is_dir()


def test_other_programs_get_the_cameras_times_where_they_are_asked_for_and_known(folder: Path) -> None:
    found = DetectionTable.read(folder / "found.parquet")
    ended = track("detections=found.parquet", "save=[prophesee]", "clock=camera", "fresh=true", cwd=folder)
    assert ended.code == 2
    assert "the table does not tell at which time of its camera scene begins" in ended.error_lines[0]
    replace(found, metadata={"time_offset_us": {"scene": 7_000_000}}).write(folder / "found.parquet")
    ended = track("detections=found.parquet", "save=[prophesee]", "clock=camera", cwd=folder)
    assert ended.code == 0, ended.errors
    tracks = DetectionTable.read(folder / "tracks.parquet")
    saved = np.load(folder / "tracks_prophesee" / "scene_bbox.npy")
    np.testing.assert_array_equal(np.sort(saved["t"]), np.sort(tracks.t_us) + 7_000_000)


def test_labels_as_people_have_them_are_a_truth_like_a_table_of_it(folder: Path) -> None:
    expected = track("detections=found.parquet", cwd=folder).output
    truth = DetectionTable.read(folder / "truth.parquet")
    for name, offset in (("scene.csv", 0), ("camera.csv", 7_000_000)):
        rows = [
            f"{t + offset},{','.join(f'{side:.6f}' for side in xywh)},{truth.classes[kind]},{own}"
            for t, xywh, kind, own in zip(truth.t_us, truth.xywh.tolist(), truth.class_id, truth.track_id)
        ]
        (folder / name).write_text("\n".join(["t_us,x,y,w,h,class,track", *rows]) + "\n")
    boxes = Boxes(truth.t_us, truth.xyxy, truth.class_id, truth.track_id, truth.score)
    with RecordingWriter(folder / "scene.zarr", width=400, height=400, classes=truth.classes, source="made") as writer:
        writer.append(Events(*(np.arange(2, dtype=kind) for kind in ("i8", "u2", "u2", "u1")), 400, 400))
        writer.set_boxes(boxes[np.argsort(boxes.t, kind="stable")])
        writer.seal()
    kinds = [("t", "<i8"), *((side, "<f4") for side in "xywh"), ("class_id", "<u4"), ("track_id", "<u4")]
    array = np.zeros(len(truth), kinds)
    columns = (truth.t_us, *truth.xywh.T, truth.class_id, truth.track_id)
    for (name, _), column in zip(kinds, columns, strict=True):
        array[name] = column
    np.save(folder / "other_bbox.npy", array)  # the only recording there is
    for name in ("scene.csv", "scene.zarr", "other_bbox.npy"):
        ended = track("detections=found.parquet", f"truth={name}", cwd=folder)
        assert (ended.code, ended.output) == (0, expected), (name, ended.errors)
    ended = track("detections=found.parquet", "truth=camera.csv", "clock=camera", cwd=folder)
    assert "clock: found camera, but the table does not tell at which time" in ended.error_lines[0]
    found = DetectionTable.read(folder / "found.parquet")
    made = {"ended": {"scene": {"sensor": [400, 400], "span_us": [0, 400_000]}}, "time_offset_us": {"scene": 7_000_000}}
    replace(found, metadata=made).write(folder / "found.parquet")
    ended = track("detections=found.parquet", "truth=camera.csv", "clock=camera", cwd=folder)
    assert (ended.code, ended.output) == (0, expected), ended.errors
    ended = track("detections=found.parquet", "truth=camera.csv", cwd=folder)
    assert "they would fit with clock=camera (found clock=start)" in ended.error_lines[0]


def test_a_folder_of_yolo_labels_is_a_truth_and_its_empty_files_are_looks(folder: Path) -> None:
    found = DetectionTable.read(folder / "found.parquet")
    truth = DetectionTable.read(folder / "truth.parquet")
    frame = np.array(SENSOR * 2)
    (folder / "scene").mkdir()
    for t in (*np.unique(truth.t_us).tolist(), 999_000):  # when nothing was to be seen
        own = truth[truth.t_us == t]
        boxes = np.concatenate((own.xywh[:, :2] + own.xywh[:, 2:] / 2, own.xywh[:, 2:]), axis=1) / frame
        lines = [
            f"{kind} {' '.join(f'{side:.9f}' for side in box)} {track}"
            for kind, box, track in zip(own.class_id, boxes.tolist(), own.track_id)
        ]
        (folder / "scene" / f"scene_{t}.txt").write_text("\n".join(lines))
    (folder / "scene" / "classes.txt").write_text("\n".join(truth.classes))
    expected = track("detections=found.parquet", "truth=truth.parquet", cwd=folder).output
    ended = track("detections=found.parquet", "truth=scene", cwd=folder)
    assert (ended.code, ended.output) == (0, expected), ended.errors
    looks = read_truth(folder / "scene", found).metadata["looks"]["scene"]
    assert looks == [*np.unique(truth.t_us).tolist(), 999_000]
    assert read_truth(mot.write(truth, folder / "mot"), found).table.recordings == ("scene",)  # is no YOLO
    replace(found, metadata={}).write(folder / "found.parquet")
    ended = track("detections=found.parquet", "truth=scene", cwd=folder)
    assert "detections that do not tell their sensor's size; expected labels in px" in ended.error_lines[0]


def test_truth_beside_all_times_of_the_tracks_is_told_with_the_tolerance_that_it_needs(folder: Path) -> None:
    truth = DetectionTable.read(folder / "truth.parquet")
    replace(truth, t_us=truth.t_us + 1_300).write(folder / "truth.parquet")
    ended = track("detections=found.parquet", cwd=folder)
    assert "the nearest 1300 µs beside it; expected protocol.time_tolerance_us=1300 or more" in ended.errors
    ended = track("detections=found.parquet", "protocol.time_tolerance_us=1300", cwd=folder)
    assert "time_tolerance_us" not in ended.errors


def test_gaps_of_tracks_are_filled_on_straight_lines(folder: Path) -> None:
    truth = scene(PATHS, rate_hz=200, duration_s=0.4)
    holes = scene(PATHS, rate_hz=200, duration_s=0.4, hidden=[(2, 0.1, 0.2), (3, 0.1, 0.3)])
    filled = interpolated(holes, gap_us=150_000)
    whole = truth[~((truth.track_id == 3) & (truth.t_us >= 100_000) & (truth.t_us < 300_000))]
    order = np.lexsort((whole.track_id, whole.t_us))
    assert np.array_equal(filled.track_id, whole.track_id[order])
    np.testing.assert_allclose(filled.xywh, whole.xywh[order], atol=1e-3)
    assert len(interpolated(holes, gap_us=0)) == len(holes)
    plain = track("detections=found.parquet", "out=plain.parquet", cwd=folder)
    more = track("detections=found.parquet", "out=more.parquet", "interpolate_us=20000", cwd=folder)
    assert (plain.code, more.code) == (0, 0), more.errors
    assert len(DetectionTable.read(folder / "more.parquet")) > len(DetectionTable.read(folder / "plain.parquet"))


def test_what_fills_a_gap_is_scored_beside_the_other_objects_of_its_time() -> None:
    truth = GroundTruth.of(scene(PATHS, rate_hz=200, duration_s=0.4))
    holes = scene(PATHS, rate_hz=200, duration_s=0.4, hidden=HIDDEN)
    rows = np.arange(len(holes))
    both = holes[np.concatenate((rows, rows[::5]))]  # at some times an earlier step of another window ends too
    later = np.arange(len(both)) < len(holes)
    both = replace(both, step=np.where(later, 7, 3), track_id=np.where(later, both.track_id, -1))
    missed = track_scores(both, truth).figures
    assert missed["mota"] == pytest.approx(len(holes) / len(truth.boxes))
    filled = track_scores(interpolated(both, gap_us=150_000), truth).figures
    assert [filled[name] for name in ("hota", "mota", "idf1")] == pytest.approx([1.0] * 3, abs=1e-3)


def test_of_a_table_read_in_pieces_a_row_of_the_highest_step_stands_for_each_time(tmp_path: Path) -> None:
    seen = scene(PATHS[:1], rate_hz=100, duration_s=0.2, score=0.01)  # too low for a track
    twice = seen[np.repeat(np.arange(len(seen)), 2)]
    step = np.tile((3, 7), len(seen))
    replace(twice, step=step, track_id=np.full(len(step), -1)).write(tmp_path / "found.parquet")
    made = track_file(tmp_path / "found.parquet", ByteTrack(), step_us=10_000)
    assert (made.rows, made.tracked) == (len(step), 0)
    assert made.table.step.tolist() == [7] * len(seen)


def test_the_usual_step_of_a_table_is_found() -> None:
    table = scene(PATHS, rate_hz=1000, duration_s=0.4)
    sparse = table[np.random.default_rng(0).random(len(table)) < 0.4]
    assert usual_step_us(table) == usual_step_us(sparse) == 1000
    steps = replace(sparse, step=np.arange(len(sparse)) % 4, metadata={"slice_duration_us": 500, "time_steps": 4})
    assert usual_step_us(steps) == 500
    around = {"identity": {"windows": {"windows": "around_labels"}}, "slice_duration_us": 500, "time_steps": 4}
    assert usual_step_us(replace(steps, metadata=around)) is None
    assert usual_step_us(empty()) is None


def test_a_table_without_detections_is_a_table_without_tracks(folder: Path) -> None:
    empty(("car", "person")).write(folder / "nothing.parquet")
    ended = track("detections=nothing.parquet", cwd=folder)
    assert ended.code == 0, ended.errors
    assert len(DetectionTable.read(folder / "tracks.parquet")) == 0
    assert json.loads((folder / "tracks_scores.json").read_text())["figures"]["hota"] == 0
    assert "0 tracks: 0 of 0 detections (a track begins at a score of tracker.new_score=0.4)" in ended.errors
    assert "nobody tells how long a step is" in ended.errors


def test_detections_of_which_none_became_a_track_are_told_with_what_decides(folder: Path) -> None:
    ended = track("detections=found.parquet", "tracker.confirm_us=5000000", cwd=folder)
    assert ended.code == 0, ended.errors
    said = [line for line in ended.errors.splitlines() if "nothing became a track" in line]
    assert len(said) == 1, ended.errors
    assert "tracker.new_score=0.4, tracker.confirm_us=5000000" in said[0]
    assert "nothing became a track" not in track("detections=found.parquet", cwd=folder).errors


def test_a_truth_beside_whose_boxes_have_not_all_a_track_is_said_to_score_none(folder: Path) -> None:
    truth = DetectionTable.read(folder / "truth.parquet")
    replace(truth, track_id=np.where(np.arange(len(truth)) == 3, -1, truth.track_id)).write(folder / "truth.parquet")
    said = f"truth.parquet has no track id in 1 of {len(truth)} boxes"
    ended = track("detections=found.parquet", cwd=folder)
    assert (ended.code, ended.output) == (0, "")
    assert f"{said}, so that tracks are not scored; expected one in each box" in ended.errors
    ended = track("-m", "detections=found.parquet", "tracker.gate=4,5", cwd=folder)
    assert ended.code == 2
    assert f"objective: {said}; expected truth=FILE with a track id in each box" in ended.errors


def test_a_truth_beside_without_tracks_is_passed_over_and_one_that_is_named_refused(folder: Path) -> None:
    truth = DetectionTable.read(folder / "truth.parquet")
    replace(truth, track_id=np.full(len(truth), -1, np.int64)).write(folder / "truth.parquet")
    ended = track("detections=found.parquet", cwd=folder)
    assert (ended.code, ended.output) == (0, "")
    assert "truth.parquet has no track ids, so that tracks are not scored" in ended.errors
    ended = track("detections=found.parquet", "truth=truth.parquet", cwd=folder)
    assert ended.code == 2
    assert "truth: has no track ids, so that tracking cannot be scored" in ended.error_lines[0]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "detections: found nothing; expected detections=FILE"),
        (("detections=away.parquet",), "away.parquet: no such file; expected a table of detections, as predict and"),
        (("detections=found.parquet", "out=found.parquet"), "out: found found.parquet, the table of detections itself"),
        (("detections=found.parquet", "tracker=none"), "found.parquet has no track ids; expected tracker=bytetrack"),
        (("detections=found.parquet", "tracker=sort"), "tracker: found 'sort'; expected bytetrack, iou, none"),
        (("detections=found.parquet", "tracker.lost_after=3"), "did you mean tracker.lost_after_us?"),
        (("detections=found.parquet", "objective=hotta"), "objective: found 'hotta'; expected one of ass_a"),
        (("detections=found.parquet", "truth=away.csv"), "truth: found away.csv, which is not there; expected a table"),
        (("detections=found.parquet", "truth=notes.md"), "truth: found notes.md; expected a table (.parquet), labels"),
        (("detections=found.parquet", "truth=other.parquet"), "found the recordings scene, which the truth has not"),
        (("detections=found.parquet", "truth=later.parquet"), "the truth of scene at 9005000 to 9400000 µs"),
        (("detections=found.parquet", "truth=kinds.parquet"), "found the classes car, person; the truth has bus, dog"),
        (("detections=found.parquet", "truth=twice.parquet"), "has two boxes of track 1 at 5000 µs; expected one"),
        (("detections=wrong.parquet",), "holds a box that is not finite"),
    ],
)
def test_bad_input_ends_in_a_sentence(folder: Path, arguments: tuple[str, ...], sentence: str) -> None:
    truth = DetectionTable.read(folder / "truth.parquet")
    (folder / "notes.md").write_text("none")
    replace(truth, recordings=("other",)).write(folder / "other.parquet")
    replace(truth, t_us=truth.t_us + 9_000_000).write(folder / "later.parquet")
    replace(truth, classes=("bus", "dog")).write(folder / "kinds.parquet")
    replace(truth, track_id=np.where(truth.t_us == 5000, 1, truth.track_id)).write(folder / "twice.parquet")
    import pyarrow.parquet as pq

    rows = pq.read_table(folder / "truth.parquet")
    sides = rows.column("x").to_numpy().copy()
    sides[3] = np.nan
    pq.write_table(rows.set_column(rows.column_names.index("x"), "x", [sides]), folder / "wrong.parquet")
    ended = track(*arguments, cwd=folder)
    assert ended.code == 2
    assert sentence in ended.errors, ended.errors
    assert not list(folder.glob("*partial*"))


def test_a_search_tunes_the_tracker_on_the_stored_table(folder: Path) -> None:
    command = [sys.executable, "-m", "spikeyolo.track", "-m", "+search=tracker", "detections=found.parquet"]
    ended = subprocess.run(
        [*command, "truth=truth.parquet", "hydra.sweeper.n_trials=3", "hydra.sweeper.figures=false"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    results = (folder / "multirun" / "tracker" / "optimization_results.yaml").read_text()
    assert "tracker.gate" in results
    scores = [folder / "multirun" / "tracker" / str(k) / "tracks_scores.json" for k in range(3)]
    hota = [json.loads(path.read_text())["figures"]["hota"] for path in scores]
    assert f"{max(hota):.4f}"[:5] in results
    assert not (folder / "tracks.parquet").exists()


def test_the_default_tracker_keeps_every_object_of_a_clean_scene() -> None:
    truth = scene(PATHS, rate_hz=1000, duration_s=0.3)
    assert track_scores(track_table(truth, ByteTrack()), GroundTruth.of(truth)).figures["hota"] == pytest.approx(1.0)
