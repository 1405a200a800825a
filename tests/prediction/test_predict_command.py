"""``spikeyolo.predict``: one pass over a recording, found again where nothing has changed, refused in a sentence."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import predict
from format_writers import write_evt2
from small_recording import drawn, same
from small_run import small_run

import spikeyolo
from spikeyolo import processes
from spikeyolo.detections import DetectionTable
from spikeyolo.events.packing import pack
from spikeyolo.model.decode import decode_boxes
from spikeyolo.predictor import Predictor

BEST = "checkpoint=run/checkpoints/best"
COMMON = ("device=cpu", "confidence=0.3")


@pytest.fixture(scope="module")
def cwd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predict")
    small_run(folder)
    (folder / "recording.raw").write_bytes(write_evt2(drawn()))
    return folder


@pytest.fixture(scope="module")
def detector(cwd: Path) -> Predictor:
    return spikeyolo.load(cwd / "run" / "checkpoints" / "best", device="cpu")


def done(cwd: Path, *overrides: str) -> DetectionTable:
    """The table of a command that ends well."""
    ended = predict(BEST, *COMMON, *overrides, cwd=cwd)
    assert ended.code == 0, ended.errors
    return DetectionTable.read(cwd / ended.output.splitlines()[-1])


def test_a_prediction_into_a_folder_where_another_is_at_work_is_refused(cwd: Path) -> None:
    (cwd / "shared").mkdir()
    with processes.alone(cwd / "shared" / "detections.parquet", patience_s=0) as free:
        assert free
        refused = predict(BEST, *COMMON, "source=recording.raw", "out=shared", cwd=cwd)
        assert (refused.code, len(refused.error_lines)) == (2, 1)
        assert "shared: another predict is writing there; wait until it has ended" in refused.errors
    assert list((cwd / "shared").iterdir()) == []


@pytest.mark.parametrize("hop_us", [None, 100, 200])
def test_with_carried_state_a_prediction_is_one_pass_over_the_whole_recording(
    detector: Predictor, hop_us: int | None
) -> None:
    events = drawn()
    found = detector.predict(events, confidence=0.3, iou=1.0, carry=True, steps="all", hop_us=hop_us)
    frames = np.empty((19, 2, 32, 32), np.uint8)
    detector.encoder.encode(pack(events), start_us=0, slice_us=100, out=frames)
    with torch.inference_mode():
        every, _ = detector.trained.stream(torch.from_numpy(frames)[:, None], None)  # type: ignore[misc]
    scores = every.class_logits[:, 0].sigmoid()
    boxes = decode_boxes(every.box_logits[:, 0], every.points, every.strides).clamp(0, 32)
    assert sorted(set(found.t_us.tolist())) == [100 * (step + 1) for step in range(19)]
    for step in range(19):
        rows = found[found.t_us == 100 * (step + 1)]
        anchor, class_id = (scores[step] > 0.3).nonzero(as_tuple=True)
        order = scores[step][anchor, class_id].argsort(descending=True)[:100]
        expected = scores[step][anchor, class_id][order].numpy()
        np.testing.assert_allclose(rows.score, expected[: len(rows)], atol=1e-5)
        best = boxes[step][anchor[order[0]]].numpy() * 2
        np.testing.assert_allclose(rows.xyxy[0], best, atol=1e-3)


def test_the_command_and_python_give_the_same_rows(cwd: Path, detector: Predictor) -> None:
    by_command = done(cwd, "source=recording.raw", "carry=true")
    in_python = detector.predict(cwd / "recording.raw", confidence=0.3, iou=0.95, carry=True, steps="all")
    same(by_command, in_python)
    assert by_command.recordings == ("recording",)
    assert by_command.metadata["ended"]["recording"]["sensor"] == [64, 64]
    assert by_command.metadata["ended"]["recording"]["event_counts"]["in_file"] == 4000


def test_other_programs_get_the_cameras_times_where_they_are_asked_for(cwd: Path) -> None:
    events = drawn()
    late = replace(events, t=events.t + 7_000_000)
    (cwd / "late.raw").write_bytes(write_evt2(late))
    asked = ("source=late.raw", "save=[prophesee,labels]", "out=late", "clock=camera")
    found = done(cwd, *asked)
    first_us = int(late.t[0])
    assert found.metadata["time_offset_us"] == {"late": first_us}
    saved = np.load(cwd / "late" / "prophesee" / "late_bbox.npy")
    np.testing.assert_array_equal(np.sort(saved["t"]), np.sort(found.t_us) + first_us)
    with (cwd / "late" / "labels" / "late.csv").open(encoding="utf-8") as labels:  # count from the start, as written
        assert all(int(line.partition(",")[0]) < first_us for line in list(labels)[1:])


@pytest.mark.parametrize("sampling", ["uniform", "balanced", "streaming", "mixed", None])
def test_state_is_carried_by_itself_where_windows_followed_one_another_in_training(
    cwd: Path, tmp_path: Path, sampling: str | None
) -> None:
    shutil.copytree(cwd / "run" / "checkpoints" / "best", tmp_path / "best")
    state = json.loads((tmp_path / "best" / "state.json").read_text())
    if sampling is None:  # of an older program
        del state["settings"]["data"]["sampling"]
    else:
        state["settings"]["data"]["sampling"] = sampling
    (tmp_path / "best" / "state.json").write_text(json.dumps(state))
    ended = predict(f"checkpoint={tmp_path}/best", *COMMON, "source=recording.raw", f"out={tmp_path}/out", cwd=cwd)
    assert ended.code == 0, ended.errors
    found = DetectionTable.read(tmp_path / "out" / "detections.parquet")
    assert found.metadata["carry"] is (sampling in ("streaming", "mixed"))


def test_a_table_is_found_again_until_something_changes(cwd: Path) -> None:
    arguments = (BEST, *COMMON, "source=recording.raw", "out=again")
    first, second = (predict(*arguments, cwd=cwd) for _ in range(2))
    assert "unchanged" not in first.errors
    assert "unchanged" in second.errors
    assert first.output == second.output == "again/detections.parquet\n"
    assert "unchanged" not in predict(*arguments, "fresh=true", cwd=cwd).errors
    assert "unchanged" not in predict(*arguments, "confidence=0.4", cwd=cwd).errors
    assert [path.name for path in (cwd / "again").iterdir()] == ["detections.parquet"]


def test_windows_that_overlap_tell_of_each_time_once(cwd: Path) -> None:
    found = done(cwd, "source=recording.raw", "carry=false", "hop_us=150")
    apart = done(cwd, "source=recording.raw", "carry=false")
    first = apart[apart.t_us <= 400]
    same(found[found.t_us <= 400], first)
    after = found[found.t_us > 400]
    assert sorted(set(after.t_us.tolist()))[:4] == [450, 550, 600, 700]  # of the windows that end at 550, 700 …
    assert set(after.step.tolist()) == {2, 3}


def test_only_the_last_step_of_each_window_is_kept_where_that_is_asked_for(cwd: Path) -> None:
    every, last = (done(cwd, "source=recording.raw", f"steps={steps}") for steps in ("all", "last"))
    same(last[last.t_us < 2000], every[every.step == 3])


def test_time_steps_of_another_length_than_in_training_are_said(cwd: Path) -> None:
    ended = predict(BEST, *COMMON, "source=recording.raw", "slice_duration_us=50", "out=shorter", cwd=cwd)
    assert ended.code == 0
    assert "slice_duration_us: 50, where the checkpoint was trained with 100" in ended.errors


def test_an_empty_recording_has_no_detections(cwd: Path) -> None:
    (cwd / "empty.raw").write_bytes(write_evt2(drawn())[:-16000].split(b"% end\n")[0] + b"% end\n")
    found = done(cwd, "source=empty.raw", "save=[coco,mot,prophesee,labels]", "out=none")
    assert len(found) == 0
    assert found.metadata["recordings"] == ["empty"]
    assert (cwd / "none" / "labels" / "empty.csv").read_text() == "t_us,x,y,w,h,class,track,confidence\n"


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["source=absent.raw"], "absent.raw: no such recording; expected a file, a folder or a glob"),
        (["source=run"], "run: a folder without recordings"),
        (["source=recording.raw", "encoder=voxel"], "encoder: found voxel; expected histogram"),
        (["source=recording.raw", "classes=[disc,car]"], "classes: found car; expected some of the checkpoint's disc"),
        (["source=recording.raw", "carry=true", "hop_us=150"], "hop_us: found 150; expected a multiple of 100"),
        (["source=recording.raw", "hop_us=500"], "hop_us: found 500; expected 1 to 400"),
        (["source=[recording.raw,recording.raw]"], "stands twice; expected every recording once"),
        (["source=recording.raw", "confidence=2"], "confidence: found 2"),
        (["source=recording.raw", "track=true", "tracker.low_score=0.9"], "tracker.low_score: found 0.9"),
        (["source=recording.raw", "event_rules=strict"], "event_rules: found strict; expected event_rules.NAME=VALUE"),
        (["source=recording.raw", "filters.region=[900,0,910,5]"], "has no pixel of its sensor of 64x64"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence_and_leaves_nothing(cwd: Path, overrides: list[str], sentence: str) -> None:
    ended = predict(BEST, *COMMON, *overrides, "out=wrong", cwd=cwd)
    assert ended.code == 2
    assert len(ended.error_lines) == 1
    assert sentence in ended.error_lines[0]
    assert not (cwd / "wrong").exists()


def test_a_folder_for_the_table_that_is_a_file_is_said_before_anything_runs(cwd: Path) -> None:
    before = (cwd / "recording.raw").read_bytes()
    ended = predict(BEST, *COMMON, "source=recording.raw", "out=recording.raw", cwd=cwd)
    assert ended.code == 2
    assert "out: found recording.raw, which is a file; expected a folder" in ended.errors
    assert (cwd / "recording.raw").read_bytes() == before


def test_what_must_be_given_is_asked_for(cwd: Path) -> None:
    example = "checkpoint=FOLDER, such as outputs/…/checkpoints/best"
    without = predict("source=recording.raw", cwd=cwd)
    assert without.error_lines == [f"error: checkpoint: found nothing; expected {example}"]
    assert predict(BEST, cwd=cwd).error_lines == ["error: source: found nothing; expected source=FILE"]
