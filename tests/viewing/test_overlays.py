"""Which labels and rows are drawn: any label format, all of its classes, and the recording's own rows only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spikeyolo.errors import ConfigError, DetectionError, LabelError
from spikeyolo.events.labels import LabelRules
from spikeyolo.events.store import Recording, RecordingWriter
from spikeyolo.events.types import Events
from spikeyolo.viewing.footage import Footage, Span
from spikeyolo.viewing.overlays import classes_of, label_overlay, table_overlay

SPAN = Span(0, 1_000_000, (0, 1_000_000), 10)


def footage(*, offset_us: int = 0) -> Footage:
    def batches(from_us: int) -> Iterator[Events]:
        yield Events.empty(320, 240)

    return Footage("scene", "scene.raw", 320, 240, offset_us, "camera", batches)


def write_npy(path: Path) -> Path:
    kinds = [("t", "<i8"), *((name, "<f4") for name in "xywh"), ("class_id", "<u4"), ("track_id", "<u4")]
    boxes = np.zeros(2, kinds)
    boxes[:] = [(40_000, 10, 20, 30, 15, 0, 1), (80_000, 12, 20, 30, 15, 2, 1)]
    np.save(path, boxes)
    return path


def write_coco(path: Path) -> Path:
    coco = {
        "images": [{"id": 1, "t_us": 40_000, "width": 320, "height": 240}],
        "categories": [{"id": 3, "name": "car"}, {"id": 7, "name": "bus"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 7, "bbox": [10, 20, 30, 15]}],
    }
    path.write_text(json.dumps(coco))
    return path


def write_csv(path: Path, classes: str = "truck") -> Path:
    path.write_text(f"t_us,x,y,w,h,class\n40000,10,20,30,15,{classes}\n80000,12,20,30,15,bus\n")
    return path


def write_mot(path: Path) -> Path:
    path.write_text("1,4,10,20,30,15,1,1,1\n2,4,12,20,30,15,1,2,1\n")
    return path


@pytest.mark.parametrize(
    ("write", "name", "classes", "rules"),
    [
        (write_npy, "a.npy", ("0", "1", "2"), LabelRules()),
        (write_npy, "a.npy", ("car", "bus", "tram"), LabelRules(names=["car", "bus", "tram"])),
        (write_coco, "a.json", ("car", "bus"), LabelRules()),
        (write_csv, "a.csv", ("bus", "truck"), LabelRules()),
        (write_mot, "a.txt", ("1", "2"), LabelRules(frame_us=40_000.0)),
    ],
)
def test_labels_of_any_format_are_all_seen_under_their_names(
    tmp_path: Path, write: object, name: str, classes: tuple[str, ...], rules: LabelRules
) -> None:
    path = write(tmp_path / name)  # type: ignore[operator]
    assert classes_of(path, rules) == classes
    found = label_overlay(footage(), SPAN, path, None, rules)
    assert found is not None
    assert len(found.boxes) == (1 if name == "a.json" else 2)
    assert set(found.boxes.class_id) <= set(range(len(classes)))
    assert found.boxes.xyxy[0].tolist() == [10, 20, 40, 35]


def test_times_at_which_labels_say_that_nothing_is_there_are_looks_too(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a_40000.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (tmp_path / "labels" / "a_80000.txt").write_text("")
    found = label_overlay(footage(), SPAN, tmp_path / "labels", None, LabelRules())
    assert found is not None
    assert (found.boxes.t.tolist(), found.look_us.tolist()) == ([40_000], [40_000, 80_000])
    with RecordingWriter(tmp_path / "scene.zarr", width=320, height=240, classes=("0",), source="made") as writer:
        writer.append(Events(*(np.arange(2, dtype=kind) for kind in ("i8", "u2", "u2", "u1")), 320, 240))
        writer.set_boxes(found.boxes)
        writer.note("looks_us", [40_000, 80_000])
        writer.seal()
    stored = replace(footage(), stored=Recording.open(tmp_path / "scene.zarr"))
    found = label_overlay(stored, SPAN, None, None, LabelRules())
    assert found is not None
    assert found.look_us.tolist() == [40_000, 80_000]


def test_classes_choose_and_name(tmp_path: Path) -> None:
    named = label_overlay(footage(), SPAN, write_csv(tmp_path / "a.csv"), ["bus"], LabelRules())
    assert named is not None
    assert (len(named.boxes), list(named.classes)) == (1, ["bus"])
    by_id = label_overlay(footage(), SPAN, write_npy(tmp_path / "a.npy"), ["car", "bus", "van"], LabelRules())
    assert by_id is not None
    assert [by_id.classes[k] for k in by_id.boxes.class_id] == ["car", "van"]
    with pytest.raises(ConfigError, match="classes: found tram"):
        label_overlay(footage(), SPAN, write_coco(tmp_path / "b.json"), ["tram"], LabelRules())


def test_labels_on_the_cameras_clock_are_refused_with_what_would_fit(tmp_path: Path) -> None:
    path = tmp_path / "late.csv"
    path.write_text("t_us,x,y,w,h,class\n5040000,10,20,30,15,car\n")
    with pytest.raises(LabelError, match="label_clock=camera"):
        label_overlay(footage(offset_us=5_000_000), SPAN, path, None, LabelRules())
    found = label_overlay(footage(offset_us=5_000_000), SPAN, path, None, LabelRules(label_clock="camera"))
    assert found is not None
    assert found.boxes.t.tolist() == [40_000]


def test_without_labels_there_is_no_overlay() -> None:
    assert label_overlay(footage(), SPAN, None, None, LabelRules()) is None


def test_a_table_of_another_program_is_drawn_too(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"recording": ["scene"], "t_us": [50_000], "score": [0.5], "class": ["car"]}
    pq.write_table(pa.table({**columns, "x": [1.0], "y": [2.0], "w": [3.0], "h": [4.0]}), tmp_path / "a.parquet")
    found = table_overlay(footage(), SPAN, tmp_path / "a.parquet", recording=None, min_score=0.0, ids="none")
    assert found.boxes.xyxy.tolist() == [[1, 2, 4, 6]]
    with pytest.raises(DetectionError, match="none of its rows of scene has a track_id"):
        table_overlay(footage(), SPAN, tmp_path / "a.parquet", recording=None, min_score=0.0, ids="needed")
    with pytest.raises(DetectionError, match=r"recording: found other; expected one that .* has: scene"):
        table_overlay(footage(), SPAN, tmp_path / "a.parquet", recording="other", min_score=0.0, ids="none")


def test_of_a_table_only_the_part_that_is_shown_is_read_and_what_is_still_seen_in_it(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    count = 1000
    t = np.arange(count) * 1000
    columns = {"recording": ["scene", "other"] * (count // 2), "t_us": t, "score": np.full(count, 0.5)}
    columns |= {"class": ["car"] * count, "track_id": np.arange(count) % 4, "x": t / 1e4}
    columns |= {name: np.full(count, 5.0) for name in "ywh"}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet", row_group_size=50)
    span = Span(0, 1_000_000, (500_000, 520_000), 10)
    common = {"recording": None, "min_score": 0.0, "ids": "needed"}
    found = table_overlay(footage(), span, tmp_path / "a.parquet", **common)
    whole = table_overlay(footage(), SPAN, tmp_path / "a.parquet", **common)
    assert len(whole.boxes) == count // 2
    assert (found.boxes.t.min(), found.boxes.t.max()) == (460_000, 558_000)  # 20 looks on either side
    kept = np.isin(whole.boxes.t, found.boxes.t)
    np.testing.assert_array_equal(found.boxes.xyxy, whole.boxes.xyxy[kept])
    np.testing.assert_array_equal(found.boxes.track_id, whole.boxes.track_id[kept])
    trailed = table_overlay(footage(), span, tmp_path / "a.parquet", **common, before_us=100_000)
    assert trailed.boxes.t.min() == 360_000
    with pytest.raises(DetectionError, match=r"its rows of scene lie at 0 to 998000 µs"):
        table_overlay(
            footage(), Span(3_000_000, 4_000_000, (3_000_000, 4_000_000), 1), tmp_path / "a.parquet", **common
        )
