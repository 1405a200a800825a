"""COCO JSON, Prophesee's .npy and MOT text: what is written is read, by us and by the tools of each community."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikeyolo.detections import DetectionTable, GroundTruth, Looks, coco, mot, prophesee
from spikeyolo.errors import DetectionError
from spikeyolo.metrics import score
from spikeyolo.metrics.protocols import Coco, Etram

CLASSES = ("car", "bus", "tram")
EXAMPLES = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def drawn(seed: int, rows: int) -> DetectionTable:
    rng = np.random.default_rng(seed)
    return DetectionTable(
        ("day/drive 0", "drive 1", "drive 2"),
        CLASSES,
        rng.integers(0, 2, rows),
        rng.integers(0, 40, rows) * 12_345,
        rng.integers(-1, 8, rows),
        rng.integers(0, 3, rows),
        rng.random(rows, np.float32),
        (rng.normal(0, 100, (rows, 4)) ** 2).astype(np.float32),
        rng.integers(-1, 5, rows),
    )


def rows_of(table: DetectionTable, *, steps: bool) -> list[tuple[object, ...]]:
    return sorted(
        (table.recordings[r], int(t), int(s) if steps else -1, table.classes[c], float(p), *map(float, box), int(k))
        for r, t, s, c, p, box, k in zip(
            table.recording, table.t_us, table.step, table.class_id, table.score, table.xywh, table.track_id
        )
    )


@EXAMPLES
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(0, 60))
def test_coco_json_holds_everything(tmp_path: Path, seed: int, rows: int) -> None:
    table = drawn(seed, rows)
    found = coco.read(coco.write(table, tmp_path / "found.json"))
    assert rows_of(found, steps=True) == rows_of(table, steps=True)
    assert found.classes == table.classes


@EXAMPLES
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(0, 60))
def test_prophesees_files_hold_all_but_the_steps(tmp_path: Path, seed: int, rows: int) -> None:
    table = drawn(seed, rows)
    found = prophesee.read(prophesee.write(table, tmp_path / f"{seed}-{rows}"), classes=CLASSES)
    assert rows_of(found, steps=False) == rows_of(table, steps=False)
    assert found.recordings == table.recordings


@EXAMPLES
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(0, 60))
def test_mot_text_holds_all_but_the_steps(tmp_path: Path, seed: int, rows: int) -> None:
    table = drawn(seed, rows)
    found = mot.read(mot.write(table, tmp_path / f"{seed}-{rows}"), classes=CLASSES)
    assert rows_of(found, steps=False) == rows_of(table, steps=False)
    assert found.recordings == table.recordings


def test_pycocotools_reads_our_json_and_we_read_its_results(tmp_path: Path) -> None:
    tools = pytest.importorskip("pycocotools.coco", reason="the oracle pycocotools is not installed")
    table = drawn(1, 30)
    path = coco.write(table, tmp_path / "truth.json", looks=Looks(("drive 2",), np.array([0]), np.array([77])))
    with contextlib.redirect_stdout(io.StringIO()):
        loaded = tools.COCO(str(path))
    assert len(loaded.anns) == 30
    assert sum(image["t_us"] == 77 for image in loaded.imgs.values()) == 1
    results = tmp_path / "results.json"
    keys = ("image_id", "category_id", "bbox", "score")
    results.write_text(json.dumps([{key: row[key] for key in keys} for row in loaded.anns.values()]))
    found = coco.read(results, images=path)
    plain = replace(table, track_id=np.full(30, -1))
    assert rows_of(found, steps=False) == rows_of(plain, steps=False)
    with pytest.raises(DetectionError, match="is a list of results; expected beside it the data set"):
        coco.read(results)


def test_prophesees_old_and_new_field_names_are_read(tmp_path: Path) -> None:
    kind = [
        ("ts", "<u8"),
        *((side, "<f4") for side in "xywh"),
        ("class_id", "u1"),
        ("confidence", "<f4"),
        ("track_id", "<u4"),
    ]
    np.save(tmp_path / "a_bbox.npy", np.array([(5, 1, 2, 3, 4, 1, 0.5, 9)], np.dtype(kind)))
    table = prophesee.read(tmp_path / "a_bbox.npy", classes=("car", "bus"))
    assert rows_of(table, steps=False) == [("a", 5, -1, "bus", 0.5, 1.0, 2.0, 3.0, 4.0, 9)]


@pytest.mark.real
def test_the_labels_of_a_real_recording_go_through_every_format_and_score_one(real_data: Path, tmp_path: Path) -> None:
    table = prophesee.read(real_data / "davis346_cars_bbox.npy", classes=("car",))
    assert len(table) == 145
    for found in (
        coco.read(coco.write(table, tmp_path / "cars.json")),
        mot.read(mot.write(table, tmp_path), classes=("car",)),
        prophesee.read(prophesee.write(table, tmp_path), classes=("car",)),
    ):
        assert rows_of(found, steps=False) == rows_of(table, steps=False)
        for protocol in (Coco(), Etram()):
            scores = score(found, GroundTruth.of(table), protocol)
            assert scores.figures["map"] == pytest.approx(1.0)
            assert scores.properties["speed"].count.sum() == scores.counts["truths"]


def test_mot_frames_are_looks_or_have_a_period(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("3,-1,1,2,3,4,0.5,-1,-1,-1\n")
    with pytest.raises(DetectionError, match=r"has no a\.times beside it"):
        mot.read(tmp_path, classes=("car",))
    assert mot.read(tmp_path, classes=("car",), frame_us=50_000).t_us.tolist() == [100_000]
    with pytest.raises(DetectionError, match="holds a class id outside"):
        mot.read(tmp_path, classes=("car", "bus"), frame_us=50_000)
    table = drawn(2, 5)[:0]
    mot.write(table, tmp_path / "looks", looks=Looks(("drive 1",), np.array([0, 0]), np.array([8, 4])))
    assert (tmp_path / "looks" / "drive 1.times").read_text() == "4\n8\n"


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.json", "{", "cannot be read as COCO JSON"),
        ("a.json", "3", "found int; expected a COCO data set"),
        ("a.json", '{"annotations": []}', "has no 'images'"),
        ("a.json", '{"images": [{"id": 1}]}', "has no 'recording'; expected images with recording and t_us"),
        (
            "a.json",
            '{"images": [], "annotations": [{"image_id": 4, "category_id": 0, "bbox": [0, 0, 1, 1]}]}',
            "an annotation names 4, which is not there",
        ),
        ("a_bbox.npy", "nonsense", "cannot be read as an .npy array"),
        ("a.txt", "1,2,x\n", "cannot be read as MOT text"),
        ("a.txt", "1,2,3\n", "has 3 columns; expected frame, id, x, y, w, h, confidence"),
    ],
)
def test_a_damaged_file_is_named_in_one_sentence(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    (tmp_path / name).write_text(text)
    read = {
        "json": lambda: coco.read(tmp_path / name),
        "npy": lambda: prophesee.read(tmp_path, classes=("car",)),
        "txt": lambda: mot.read(tmp_path, classes=("car",), frame_us=1),
    }[name.rpartition(".")[2]]
    with pytest.raises(DetectionError, match=f"{name}: .*{sentence}"):
        read()


def test_nothing_half_written_stays_and_no_name_leads_out_of_the_folder(tmp_path: Path) -> None:
    table = drawn(3, 5)
    (tmp_path / "blocked").write_text("a file where a folder is needed")
    for write in (prophesee.write, mot.write):
        with pytest.raises(DetectionError, match="cannot be written"):
            write(table, tmp_path / "blocked")
        with pytest.raises(DetectionError, match="lies outside"):
            write(replace(table, recordings=("../out", "b", "c")), tmp_path / "inside")
    with pytest.raises(DetectionError, match="cannot be written"):
        coco.write(table, tmp_path / "blocked" / "found.json")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["blocked"]
