"""Tables of other programs, in any known format, are scored against the labels of a data set, and mistakes are said."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import Ended, evaluate
from scored_scenes import imperfect
from small_run import SMALL, small_config

from spikeyolo import schema
from spikeyolo.detections import DetectionTable, GroundTruth, coco, mot, prophesee
from spikeyolo.detections.table import empty
from spikeyolo.evaluation.tables.truth_of_data import truth_of_data
from spikeyolo.metrics import score
from spikeyolo.metrics.protocols import Coco

SET = (
    "data=synthetic",
    "data.store=data/smoke",
    "data.time_steps=4",
    *(f"data.dataset.{key}" for key in ("width=64", "height=64", "size_min_px=24", "size_max_px=34", "objects_max=1")),
    *(key for key in SMALL if key.startswith("data.")),
    "split=val",
)


@pytest.fixture(scope="module")
def cwd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data set and ``theirs.parquet``, detections of its validation split by another program."""
    folder = tmp_path_factory.mktemp("stored")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        data = schema.build(small_config().data)
        truth_of_data(data, data.parts("val"), "val").write(folder / "labels" / "truth.parquet")
    labels = DetectionTable.read(folder / "labels" / "truth.parquet")
    theirs(imperfect(GroundTruth.of(labels), blur=2)).write(folder / "theirs.parquet")
    return folder


def theirs(table: DetectionTable) -> DetectionTable:
    """Without what only our tables tell."""
    return replace(table, step=np.full(len(table), -1), track_id=np.full(len(table), -1), metadata={})


def figures(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "scores.json").read_text())["figures"]
    return found


def said(ended: Ended) -> str:
    assert ended.code == 2, ended.errors
    (line,) = ended.error_lines
    return line


def test_a_table_is_scored_against_the_labels_of_a_data_set_and_drawn_over_its_events(cwd: Path) -> None:
    ended = evaluate("detections=theirs.parquet", *SET, cwd=cwd)
    assert ended.code == 0, ended.errors
    true = DetectionTable.read(cwd / "theirs_val" / "truth.parquet")
    looks = sum(map(len, true.metadata["looks"].values()))
    expected = score(DetectionTable.read(cwd / "theirs.parquet"), GroundTruth.of(true), Coco())
    found = figures(cwd / "theirs_val" / "coco")
    assert 0.05 < found["map"] < 0.95
    assert found["looks"] == looks
    assert found["map"] == pytest.approx(expected.figures["map"], abs=1e-9)
    drawn = cwd / "theirs_val" / "coco" / "figures"
    assert (drawn / "worst_windows.png").stat().st_size > 5000
    counted = [line.split(",") for line in (drawn / "properties.csv").read_text().splitlines() if "events" in line]
    assert max(float(row[2]) for row in counted) > 10  # boxes hold events


@pytest.mark.usefixtures("undrawn")
def test_labels_as_detections_score_one(cwd: Path) -> None:
    theirs(DetectionTable.read(cwd / "labels" / "truth.parquet")).write(cwd / "perfect.parquet")
    ended = evaluate("detections=perfect.parquet", *SET, "out=perfect", cwd=cwd)
    assert ended.code == 0, ended.errors
    found = figures(cwd / "perfect" / "coco")
    assert found["map"] == pytest.approx(1.0)
    assert (found["truths"], found["truths_left_out"]) == (len(DetectionTable.read(cwd / "perfect.parquet")), 0)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("name", "write"),
    [("theirs.json", coco.write), ("prophesee", prophesee.write), ("mot", mot.write)],
)
def test_every_format_scores_the_same(cwd: Path, name: str, write: Callable[[DetectionTable, Path], Path]) -> None:
    table = DetectionTable.read(cwd / "theirs.parquet", classes=("disc", "triangle", "cross"))
    write(table, cwd / name)
    truth = "truth=labels/truth.parquet"
    ended = evaluate(f"detections={name}", truth, f"out=of_{name}", cwd=cwd)
    assert ended.code == 0, ended.errors
    expected = score(table, GroundTruth.of(DetectionTable.read(cwd / "labels" / "truth.parquet")), Coco()).figures
    assert figures(cwd / f"of_{name}" / "coco")["map"] == pytest.approx(expected["map"], abs=1e-6)


@pytest.mark.usefixtures("undrawn")
def test_coco_results_count_in_the_images_of_the_truth(cwd: Path) -> None:
    labels = DetectionTable.read(cwd / "labels" / "truth.parquet")
    coco.write(labels, cwd / "instances.json")
    rows = json.loads((cwd / "instances.json").read_text())["annotations"]
    (cwd / "results.json").write_text(json.dumps([{**row, "score": 0.5} for row in rows]))
    ended = evaluate("detections=results.json", "truth=instances.json", "out=results", cwd=cwd)
    assert ended.code == 0, ended.errors
    assert figures(cwd / "results" / "coco")["map"] == pytest.approx(1.0)


def test_day_and_night_reach_scores_page_and_csv(cwd: Path) -> None:
    names = ("val_2/val_day_0007_td", "val_2/val_night_0011_td")
    labels = DetectionTable.read(cwd / "labels" / "truth.parquet")
    assert len(labels.recordings) == 2
    replace(labels, recordings=names, metadata={}).write(cwd / "hours" / "truth.parquet")
    found = replace(DetectionTable.read(cwd / "theirs.parquet"), recordings=names)
    found.write(cwd / "hours" / "found.parquet")
    ended = evaluate("detections=hours/found.parquet", cwd=cwd)
    assert ended.code == 0, ended.errors
    result = cwd / "hours" / "coco"
    for hour, index in (("day", 0), ("night", 1)):
        rows, true = found[found.recording == index], labels[labels.recording == index]
        alone = score(rows, GroundTruth.of(replace(true, recordings=names)), Coco()).figures["map50"]
        assert figures(result)[f"tag/{hour}/map50"] == pytest.approx(alone, abs=1e-9)
        assert re.search(
            rf"<td>{hour}</td><td>[0-9.]+</td><td>{alone:.3f}</td>", (result / "evaluation.html").read_text()
        )
    header, *lines = (result / "figures" / "tags.csv").read_text().splitlines()
    assert header == "tag,map,map50,looks"
    assert [line.split(",")[0] for line in lines] == ["day", "night"]
    assert "night" in ended.output


@pytest.mark.usefixtures("undrawn")
def test_a_truth_of_another_data_set_beside_the_table_is_not_taken_for_this_one(cwd: Path) -> None:
    for name in ("found", "truth"):
        theirs(DetectionTable.read(cwd / "labels" / "truth.parquet")).write(cwd / "beside" / f"{name}.parquet")
    ended = evaluate("detections=beside/found.parquet", *SET, cwd=cwd)
    assert ended.code == 0, ended.errors
    assert (cwd / "beside" / "found_val" / "coco" / "scores.json").is_file()


def drawn(cwd: Path, **columns: Any) -> Path:
    """A small table with some columns changed or (None) left out."""
    whole = pq.read_table(cwd / "theirs.parquet").slice(0, 4)
    values = {name: whole.column(name).to_pylist() for name in whole.column_names} | columns
    pq.write_table(pa.table({k: v for k, v in values.items() if v is not None}), cwd / "wrong.parquet")
    return cwd / "wrong.parquet"


@pytest.mark.parametrize(
    ("columns", "overrides", "sentence"),
    [
        ({"score": None}, (), r"wrong\.parquet: has no column score; found recording, t_us"),
        ({"x": [1.0, np.nan, 1.0, 1.0]}, (), r"wrong\.parquet: row 1 \(sequence_.*\) holds a box that is not finite"),
        ({"recording": ["elsewhere"] * 4}, (), r"found the recordings elsewhere, which val has not; expected only seq"),
        ({"class": ["tram"] * 4}, (), r"wrong\.parquet: holds the classes tram; expected only disc, triangle, cross"),
        ({}, ("split=[val,test]",), r"split: found \['val', 'test'\]; expected one, of which the detections are"),
        ({}, ("protocol=prophesee_1mpx",), r"scores the classes pedestrian, two_wheeler, car; found disc, triangle"),
        ({}, ("truth=nowhere.parquet",), r"nowhere\.parquet: no such file"),
        ({}, ("data.dataset.val_sequenzes=1",), r"did you mean"),
    ],
)
def test_what_does_not_fit_ends_in_one_sentence_and_leaves_nothing(
    cwd: Path, columns: dict[str, Any], overrides: tuple[str, ...], sentence: str
) -> None:
    drawn(cwd, **columns)
    before = sorted(str(path) for path in cwd.rglob("*"))
    given = {override.partition("=")[0] for override in overrides}
    usual = [one for one in SET if one.partition("=")[0] not in given]
    assert re.search(sentence, said(evaluate("detections=wrong.parquet", *usual, *overrides, cwd=cwd)))
    assert sorted(str(path) for path in cwd.rglob("*")) == before


def test_a_table_alone_tells_what_it_misses(cwd: Path, tmp_path: Path) -> None:
    theirs(DetectionTable.read(cwd / "theirs.parquet")).write(tmp_path / "t.parquet")
    assert "expected truth=FILE, or data=NAME data.root=PATH" in said(evaluate("detections=t.parquet", cwd=tmp_path))
    prophesee.write(DetectionTable.read(cwd / "theirs.parquet"), tmp_path / "boxes")
    line = said(evaluate("detections=boxes", "truth=boxes", cwd=tmp_path))
    assert "boxes: holds no class names; expected data=NAME or a truth=FILE that tells them" in line
    (tmp_path / "bare").mkdir()
    assert "bare: a folder without detections" in said(evaluate("detections=bare", "truth=t.parquet", cwd=tmp_path))


def test_two_labels_of_one_track_at_one_time_are_refused(cwd: Path, tmp_path: Path) -> None:
    labels = replace(DetectionTable.read(cwd / "labels" / "truth.parquet"), metadata={})
    labels[np.r_[0, np.arange(len(labels))]].write(tmp_path / "truth.parquet")
    labels.write(tmp_path / "t.parquet")
    assert re.search(
        r"has two boxes of track \d+ at \d+ µs; expected one", said(evaluate("detections=t.parquet", cwd=tmp_path))
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.parquet", "truth.parquet"]


def test_a_class_that_never_occurs_is_left_out_and_no_detections_are_zeros(cwd: Path, tmp_path: Path) -> None:
    labels = replace(DetectionTable.read(cwd / "labels" / "truth.parquet"), metadata={})
    present = int(labels.class_id[0])
    one = labels[labels.class_id == present]
    one.write(tmp_path / "truth.parquet")
    one.write(tmp_path / "t.parquet")
    assert evaluate("detections=t.parquet", cwd=tmp_path).code == 0
    assert figures(tmp_path / "coco")["map"] == pytest.approx(1.0)
    assert [name for name in labels.classes if figures(tmp_path / "coco")[f"ap/{name}"] is not None] == [
        labels.classes[present]
    ]
    empty(labels.classes).write(tmp_path / "none.parquet")
    ended = evaluate("detections=none.parquet", "out=none", cwd=tmp_path)
    assert ended.code == 0, ended.errors
    assert [figures(tmp_path / "none" / "coco")[name] for name in ("map", "recall", "f1")] == [0.0, 0.0, 0.0]


@pytest.mark.usefixtures("undrawn")
def test_what_predict_found_beside_the_label_times_is_scored_within_the_tolerance(cwd: Path) -> None:
    labels = DetectionTable.read(cwd / "labels" / "truth.parquet")
    made = {"identity": {"checkpoint": "c", "windows": {"time_steps": 4, "slice_duration_us": 100}}, "time_steps": 4}
    step = np.arange(len(labels)) % 4
    replace(labels, t_us=labels.t_us + 7, step=step, metadata=made).write(cwd / "predicted.parquet")
    for truth in (SET, ("truth=labels/truth.parquet",)):
        ended = evaluate("detections=predicted.parquet", *truth, "protocol.time_tolerance_us=10", "out=by", cwd=cwd)
        assert ended.code == 0, ended.errors
        assert "none of" not in ended.errors
        assert figures(cwd / "by" / "coco")["map"] == pytest.approx(1.0)


@pytest.mark.usefixtures("undrawn")
def test_steps_beside_the_label_times_are_scored_within_the_tolerance_although_the_data_are_the_same(
    cwd: Path, tmp_path: Path
) -> None:
    labels = DetectionTable.read(cwd / "labels" / "truth.parquet")

    def made(windows: str) -> dict[str, Any]:
        return {"identity": {"data": "d", "windows": {"windows": windows, "time_steps": 4}}, "time_steps": 4}

    truth = {**labels.metadata, **made("around_labels"), "scored_step": 3}
    replace(labels, step=np.full(len(labels), 3), metadata=truth).write(tmp_path / "truth.parquet")
    step = np.arange(len(labels)) % 4
    replace(labels, t_us=labels.t_us + 7, step=step, metadata=made("every")).write(tmp_path / "t.parquet")
    ended = evaluate("detections=t.parquet", "protocol.time_tolerance_us=10", cwd=tmp_path)
    assert ended.code == 0, ended.errors
    assert figures(tmp_path / "coco")["map"] == pytest.approx(1.0)


@pytest.mark.usefixtures("undrawn")
def test_detections_at_no_label_time_are_zeros_and_it_is_said_why(cwd: Path, tmp_path: Path) -> None:
    labels = replace(DetectionTable.read(cwd / "labels" / "truth.parquet"), metadata={})
    labels.write(tmp_path / "truth.parquet")
    replace(labels, t_us=labels.t_us + 7).write(tmp_path / "late.parquet")
    ended = evaluate("detections=late.parquet", cwd=tmp_path)
    assert ended.code == 0, ended.errors
    assert (
        f"none of {len(labels)} detections counts: at no label time within protocol.time_tolerance_us=0" in ended.errors
    )
    ended = evaluate("detections=late.parquet", "protocol.time_tolerance_us=10", "out=near", cwd=tmp_path)
    assert figures(tmp_path / "near" / "coco")["map"] == pytest.approx(1.0)
