"""Label formats: every reader gives the boxes that were written, and names what it cannot read."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeyolo.errors import LabelError, RecordingError
from spikeyolo.events.labels import LabelRules, Labels, files_read, labels_beside, labels_of_file, read_boxes

WIDTH, HEIGHT = 100, 80
CLASSES = ("car", "bus")
Row = tuple[int, float, float, float, float, int, int]  # t, x, y, w, h, class, track
ROWS: list[Row] = [(40_000, 10, 20, 30, 40, 0, 7), (40_000, 1.5, 2, 5, 4, 1, 9), (80_000, 12, 20, 30, 40, 0, 7)]


def write_npy(path: Path, rows: Sequence[Row]) -> Path:
    kinds = [
        ("t", "<u8"),
        ("x", "<f4"),
        ("y", "<f4"),
        ("w", "<f4"),
        ("h", "<f4"),
        ("class_id", "u1"),
        ("track_id", "<u4"),
    ]
    np.save(path.with_suffix(".npy"), np.array(rows, kinds))
    return path.with_suffix(".npy")


def write_csv(path: Path, rows: Sequence[Row]) -> Path:
    lines = [",".join(map(str, row)) for row in rows]
    path.with_suffix(".csv").write_text("\n".join(["t_us,x,y,w,h,class,track", *lines]) + "\n")
    return path.with_suffix(".csv")


def write_named_csv(path: Path, rows: Sequence[Row]) -> Path:
    lines = [f"{CLASSES[k]};{track};{x};{y};{w};{h};{t}" for t, x, y, w, h, k, track in rows]
    path.with_suffix(".csv").write_text("\r\n".join(["Class;Track_ID;X;Y;Width;Height;T", *lines]), "utf-8-sig")
    return path.with_suffix(".csv")


def write_coco(path: Path, rows: Sequence[Row]) -> Path:
    times = sorted({row[0] for row in rows})
    images = [
        {"id": 10 + n, "file_name": f"frames/a_{t:09d}.png", "width": WIDTH, "height": HEIGHT}
        for n, t in enumerate(times)
    ]
    boxes = [
        {"id": n, "image_id": 10 + times.index(t), "bbox": [x, y, w, h], "category_id": 3 + k, "track_id": track}
        for n, (t, x, y, w, h, k, track) in enumerate(rows)
    ]
    categories = [{"id": 4, "name": "bus"}, {"id": 3, "name": "car"}, {"id": 5, "name": "tram"}]
    path.with_suffix(".json").write_text(json.dumps({"images": images, "annotations": boxes, "categories": categories}))
    return path.with_suffix(".json")


def write_yolo(path: Path, rows: Sequence[Row]) -> Path:
    path.mkdir()
    (path / "classes.txt").write_text("car\nbus\n")
    for t in {row[0] for row in rows}:
        lines = [
            f"{k} {(x + w / 2) / WIDTH!r} {(y + h / 2) / HEIGHT!r} {w / WIDTH!r} {h / HEIGHT!r} {track}"
            for at, x, y, w, h, k, track in rows
            if at == t
        ]
        (path / f"frame_{t:08d}.txt").write_text("\n".join(lines) + "\n")
    (path / "frame_00900000.txt").write_text("")  # looked at, nothing found
    return path


def write_mot(path: Path, rows: Sequence[Row]) -> Path:
    lines = [f"{t // 40_000 + 1},{track},{x},{y},{w},{h},1,{k + 1},0.8" for t, x, y, w, h, k, track in rows]
    (path.parent / "seqinfo.ini").write_text("[Sequence]\nname=a\nframeRate=25\n")
    path.with_suffix(".txt").write_text("\n".join([*lines, "1,99,0,0,5,5,0,1,1"]) + "\n")
    return path.with_suffix(".txt")


def write_mot_of_times(path: Path, rows: Sequence[Row]) -> Path:
    (path.parent / "labels.txt").write_text("car\nbus\n")
    lines = [f"{t}, {track}, {x}, {y}, {w}, {h}, 1, {k + 1}, 1" for t, x, y, w, h, k, track in rows]
    path.with_suffix(".txt").write_text("\n".join(lines) + "\n")
    return path.with_suffix(".txt")


WRITERS: dict[str, Callable[[Path, Sequence[Row]], Path]] = {
    "npy": write_npy,
    "CSV": write_csv,
    "CSV of names": write_named_csv,
    "COCO": write_coco,
    "YOLO": write_yolo,
    "MOT": write_mot,
    "MOT of times": write_mot_of_times,
}


def read(path: Path, rules: LabelRules | None = None, classes: Sequence[str] = CLASSES) -> Labels:
    return read_boxes(path, classes=classes, width=WIDTH, height=HEIGHT, span_us=(0, 1_000_000), rules=rules)


boxes = st.tuples(
    st.integers(0, 20).map(lambda n: 40_000 * n),
    st.floats(0, 50, width=16),
    st.floats(0, 40, width=16),
    st.floats(2, 50, width=16),
    st.floats(2, 40, width=16),
    st.integers(0, 1),
)


@settings(max_examples=30)
@given(name=st.sampled_from(sorted(WRITERS)), rows=st.lists(boxes, max_size=6))
def test_each_format_gives_the_boxes_that_were_written(
    name: str, rows: list[tuple[int, float, float, float, float, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    tracked = sorted((*row, n) for n, row in enumerate(sorted(rows)))
    labels = read(WRITERS[name](tmp_path_factory.mktemp("labels") / "a_bbox", tracked))
    expected = read(write_npy(tmp_path_factory.mktemp("labels") / "a_bbox", tracked)).boxes
    order, other = (np.lexsort((b.xyxy[:, 1], b.xyxy[:, 0], b.class_id, b.t)) for b in (labels.boxes, expected))
    assert len(labels.boxes) == len(rows)
    np.testing.assert_array_equal(labels.boxes.t[order], expected.t[other])
    np.testing.assert_array_equal(labels.boxes.class_id[order], expected.class_id[other])
    np.testing.assert_allclose(labels.boxes.xyxy[order], expected.xyxy[other], atol=1e-3)


@pytest.mark.parametrize("name", WRITERS)
def test_each_format_keeps_tracks_and_chooses_classes_by_name(name: str, tmp_path: Path) -> None:
    path = WRITERS[name](tmp_path / "a_bbox", ROWS)
    labels = read(path)
    np.testing.assert_array_equal(labels.boxes.track_id, [7, 9, 7])
    np.testing.assert_array_equal(labels.boxes.class_id, [0, 1, 0])
    np.testing.assert_allclose(labels.boxes.xyxy[1], [1.5, 2, 6.5, 6], atol=1e-4)
    named = None if name in ("CSV of names", "COCO", "YOLO", "MOT of times") else ["car", "bus"]
    if name == "MOT":
        rules = LabelRules(names={1: "car", 2: "bus"})
    else:
        rules = LabelRules(names=named)
    only = read(path, rules, ["bus"])
    np.testing.assert_array_equal(only.boxes.t, [40_000])
    np.testing.assert_array_equal(only.boxes.class_id, [0])
    assert only.dropped["class_not_kept"] == 2


def test_rows_that_a_format_marks_as_not_to_be_used_are_counted(tmp_path: Path) -> None:
    assert read(write_mot(tmp_path / "a", ROWS)).counts == {
        "in_file": 4,
        "kept": 3,
        "clipped_to_frame": 0,
        "dropped_ignored": 1,
    }
    path = write_coco(tmp_path / "a", ROWS)
    content = json.loads(path.read_text())
    content["annotations"].append({"image_id": 10, "bbox": [0, 0, 90, 70], "category_id": 3, "iscrowd": 1})
    path.write_text(json.dumps(content))
    assert read(path).counts == {"in_file": 4, "kept": 3, "clipped_to_frame": 0, "dropped_crowd": 1}


def test_images_without_annotations_and_empty_files_are_looks_and_other_formats_list_none(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "a", ROWS)
    content = json.loads(path.read_text())
    content["images"] += [{"id": 90 + n, "t_us": t} for n, t in enumerate((60_000, 70_000, 1_200_000))]
    content["annotations"].append({"image_id": 91, "bbox": [0, 0, 90, 70], "category_id": 3, "iscrowd": 1})
    path.write_text(json.dumps(content))
    # What an image of a crowd alone shows is not known; the last one lies after the recording.
    np.testing.assert_array_equal(read(path).looks_us, [40_000, 60_000, 80_000])
    np.testing.assert_array_equal(read(path, classes=["bus"]).looks_us, [40_000, 60_000, 80_000])
    yolo = write_yolo(tmp_path / "b", ROWS)
    np.testing.assert_array_equal(read(yolo).looks_us, [40_000, 80_000, 900_000])
    np.testing.assert_array_equal(read(yolo, LabelRules(skip_first_us=60_000)).looks_us, [80_000, 900_000])
    for name in set(WRITERS) - {"COCO", "YOLO"}:
        (tmp_path / name).mkdir()
        assert read(WRITERS[name](tmp_path / name / "a", ROWS)).looks_us is None


def test_listed_frames_are_brought_to_the_events_clock_as_their_boxes_are(tmp_path: Path) -> None:
    path = write_yolo(tmp_path / "a", [(n, 10, 20, 30, 40, 0, 7) for n in range(5)])
    (path / "frame_00900000.txt").rename(path / "frame_00000006.txt")
    labels = read(path, LabelRules(frame_us=33_333.3))
    np.testing.assert_array_equal(labels.looks_us, [*labels.boxes.t, 200_000])


def test_frames_are_numbers_until_their_length_is_said(tmp_path: Path) -> None:
    rows = [(n, 10, 20, 30, 40, 0, 7) for n in range(5)]
    with pytest.raises(LabelError, match=r"times 0 to 4 lie 1 apart; expected µs, or .*frame_us"):
        read(write_npy(tmp_path / "b", rows))
    labels = read(tmp_path / "b.npy", LabelRules(frame_us=33_333.3))
    np.testing.assert_array_equal(labels.boxes.t, [0, 33_333, 66_667, 100_000, 133_333])


@pytest.mark.parametrize(("column", "factor"), [("t_us", 1), ("t_ms", 1e3), ("t_s", 1e6)])
def test_a_csv_may_say_the_unit_of_its_times(column: str, factor: float, tmp_path: Path) -> None:
    lines = [f"{t / factor},{x},{y},{w},{h},{k}" for t, x, y, w, h, k, _ in ROWS]
    (tmp_path / "a.csv").write_text("\n".join([f"{column},x,y,w,h,class", *lines]))
    np.testing.assert_array_equal(read(tmp_path / "a.csv").boxes.t, [40_000, 40_000, 80_000])


@pytest.mark.parametrize(
    ("image", "t"),
    [
        ({"t_us": 40_000}, 40_000),
        ({"timestamp": "40000", "file_name": "a_7.png"}, 40_000),
        ({"file_name": "run1/00080000.jpg"}, 80_000),
    ],
)
def test_the_time_of_a_coco_image_is_its_key_or_the_end_of_its_name(
    image: dict[str, object], t: int, tmp_path: Path
) -> None:
    box = {"image_id": 1, "bbox": [1, 2, 3, 4], "category_id": 1, "attributes": {"track_id": 5}}
    content = {"images": [{"id": 1, **image}], "annotations": [box], "categories": [{"id": 1, "name": "car"}]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    found = read(tmp_path / "a.json", classes=["car"]).boxes
    assert (found.t[0], found.track_id[0]) == (t, 5)


COCO = {"images": [], "annotations": [], "categories": []}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.csv",
            "t_us,x,y,w,class\n",
            r"header has no h \(found t_us, x, y, w, class\); expected t_us, x, y, w, h, cl",
        ),
        ("a.csv", "1,2,3,4,5,0\n", "header has no t_us and no x"),
        ("a.csv", "", "found nothing"),
        ("a.csv", "t_us,x,y,w,h,class\n1,2,3,4,5\n", "line 2 has 5 values; expected 6"),
        ("a.csv", "t_us,x,y,w,h,class\n\n1,2,3,4,5,0\n1,2,3,4,5,\n", "line 4 has no class; expected an id"),
        ("a.csv", "t_us,x,y,w,h,class\n1,2,three,4,5,0\n", "y in line 2 is 'three'; expected a number"),
        ("a.csv", "t_us,x,y,w,h,class\n1,2,3,4,5,\n", "line 2 has no class"),
        ("a.txt", "1,2,3,4,5\n", "line 1 has 5 values; expected frame,id,left"),
        ("a.txt", "50000,2,3,4,5,6\n", "1 boxes have the class id NaN"),
        ("a.json", "{", "is no complete JSON"),
        ("a.json", "[]", "is no COCO file"),
        ("a.json", json.dumps({**COCO, "images": [{"id": 1, "file_name": "a.png"}]}), r"image 1 \(a.png\) has no time"),
        ("a.json", json.dumps({**COCO, "annotations": [{"image_id": 3, "bbox": [1], "category_id": 1}]}), "is no COCO"),
        ("a.json", json.dumps({**COCO, "categories": [{"id": 0, "name": "tram"}]}), "found car, bus; expected .*tram"),
        ("a.xml", "<a/>", "no known format; expected .npy, .csv, .json, .txt or a folder"),
        ("gone.csv", None, r"gone.csv: no such label file; expected one in /.*"),
        ("gone.npy", None, r"gone.npy: no such label file; expected one in /.*"),
    ],
)
def test_what_a_reader_cannot_read_is_one_sentence(
    name: str, content: str | None, message: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(Exception, match=message) as caught:
        read(tmp_path / name)
    assert type(caught.value).__module__ == "spikeyolo.errors"
    assert "\n" not in str(caught.value)


def test_boxes_drawn_on_images_of_another_size_are_refused(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "a", ROWS)
    path.write_text(path.read_text().replace('"width": 100', '"width": 200'))
    with pytest.raises(
        LabelError, match=r"its images are of 200x80 px; expected boxes drawn in the frame .* 100x80 px"
    ):
        read(path)


def test_yolo_files_must_be_named_by_time_and_may_hold_confidences(tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    (tmp_path / "data.yaml").write_text("nc: 2\nnames: ['car', 'bus']\n")
    (folder / "a_50000.txt").write_text("1 0.5 0.5 0.1 0.1 0.75\n0 0.5 0.5 0.2 0.2 0.5 3\n")
    found = read(folder).boxes
    np.testing.assert_allclose(found.confidence, [0.75, 0.5])
    np.testing.assert_array_equal(found.track_id, [-1, 3])
    np.testing.assert_array_equal(found.class_id, [1, 0])
    assert [file.name for file in files_read(folder)] == ["a_50000.txt", "data.yaml"]
    (folder / "notes.txt").write_text("1 0.5 0.5 0.1 0.1\n")
    with pytest.raises(LabelError, match=r"notes\.txt: its name ends in no number; expected the time in µs"):
        read(folder)
    (folder / "notes.txt").write_text("")
    (folder / "notes.txt").rename(folder / "b_60000.txt")
    (folder / "b_60000.txt").write_text("1 0.5 0.5 0.1\n")
    with pytest.raises(LabelError, match=r"b_60000\.txt: line 1 has 4 values; expected class, x, y, w, h"):
        read(folder)


@pytest.mark.parametrize("damage", [b"\xff\xfe\x00", b"t_us,x\x00y"])
@pytest.mark.parametrize("suffix", [".csv", ".json", ".txt"])
def test_a_label_file_that_is_no_text_is_named(suffix: str, damage: bytes, tmp_path: Path) -> None:
    (tmp_path / f"a{suffix}").write_bytes(damage)
    with pytest.raises(LabelError, match=f"a{suffix}: "):
        read(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("name", ["a_bbox.npy", "a_bbox.csv", "a_labels.json", "a_bbox.txt", "a_bbox", "a_labels"])
def test_labels_beside_are_found_by_name(name: str, tmp_path: Path) -> None:
    if "." in name:
        (tmp_path / name).touch()
    else:
        (tmp_path / name).mkdir()
    for events in ("a.raw", "a_td.dat"):
        assert labels_beside(tmp_path / events) == tmp_path / name
    assert labels_beside(tmp_path / "b.raw") is None


def test_two_label_files_of_one_recording_are_both_named(tmp_path: Path) -> None:
    for name in ("a_bbox.npy", "a_bbox.csv"):
        (tmp_path / name).touch()
    with pytest.raises(RecordingError, match=r"has 2 label files \(.*a_bbox\.npy, .*a_bbox\.csv\); expected one"):
        labels_beside(tmp_path / "a.raw")


def test_labels_may_lie_in_a_folder_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "labels" / "day").mkdir(parents=True)
    for name in ("a.csv", "day/b_bbox.json"):
        (tmp_path / "labels" / name).touch()
    events, labels = tmp_path / "events", tmp_path / "labels"
    assert labels_of_file(events / "a.raw", labels, events) == labels / "a.csv"
    assert labels_of_file(events / "day" / "b_td.dat", labels, events) == labels / "day" / "b_bbox.json"
    assert labels_of_file(events / "c.raw", labels, events) is None
    assert labels_of_file(events / "a.raw", labels, None) == labels / "a.csv"
    assert labels_of_file(events / "c.raw", labels, None) == labels  # of YOLO files
    assert labels_of_file(events / "c.raw", labels / "a.csv", None) == labels / "a.csv"
