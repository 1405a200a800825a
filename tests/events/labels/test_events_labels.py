"""Label files: columns by name, one clear line for what no rule provides for, every rule counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from spikeyolo.errors import LabelError
from spikeyolo.events.labels import LabelRules, Labels, read_boxes

ETRAM = [
    ("t", "<i8"),
    ("x", "<f4"),
    ("y", "<f4"),
    ("w", "<f4"),
    ("h", "<f4"),
    ("class_id", "<u4"),
    ("track_id", "<u4"),
    ("class_confidence", "<f4"),
]
CLASSES = ("car", "bus")


def boxes(*rows: tuple[float, ...], dtype: list[tuple[str, str]] | None = None) -> NDArray[np.void]:
    return np.array(list(rows), dtype or ETRAM)


GOOD = (1000, 10, 20, 30, 40, 0, 7, 0.5)


def read(tmp_path: Path, array: NDArray[np.void], **options: object) -> Labels:
    np.save(tmp_path / "a_bbox.npy", array)
    settings = {"classes": CLASSES, "width": 100, "height": 80, "span_us": (0, 10_000), **options}
    return read_boxes(tmp_path / "a_bbox.npy", **settings)  # type: ignore[arg-type]


def changed(**values: float) -> NDArray[np.void]:
    array = boxes(GOOD, GOOD)
    for name, value in values.items():
        array[name][1] = value
    return array


def test_the_etram_layout_becomes_boxes(tmp_path: Path) -> None:
    labels = read(tmp_path, boxes((2000, 1, 2, 3, 4, 1, 9, 1), GOOD))
    np.testing.assert_array_equal(labels.boxes.t, [1000, 2000])
    np.testing.assert_array_equal(labels.boxes.xyxy, [[10, 20, 40, 60], [1, 2, 4, 6]])
    np.testing.assert_array_equal(labels.boxes.class_id, [0, 1])
    np.testing.assert_array_equal(labels.boxes.track_id, [7, 9])
    np.testing.assert_allclose(labels.boxes.confidence, [0.5, 1])
    assert labels.counts == {"in_file": 2, "kept": 2, "clipped_to_frame": 0}


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(ETRAM), extra=st.booleans(), old_name=st.booleans())
def test_fields_are_found_by_name_in_any_order(
    order: list[tuple[str, str]], extra: bool, old_name: bool, tmp_path: Path
) -> None:
    dtype = [("ts" if name == "t" and old_name else name, kind) for name, kind in order]
    array = np.zeros(1, [*dtype, ("img_name", "<U4")] if extra else dtype)
    for (name, _), (original, _) in zip(dtype, order):
        array[name] = GOOD[[entry[0] for entry in ETRAM].index(original)]
    found = read(tmp_path, array).boxes
    np.testing.assert_array_equal(found.xyxy, [[10, 20, 40, 60]])
    assert (found.t[0], found.track_id[0], found.confidence[0]) == (1000, 7, 0.5)


def test_without_tracks_and_confidences_they_are_unknown_and_certain(tmp_path: Path) -> None:
    found = read(tmp_path, boxes(GOOD[:6], dtype=ETRAM[:6])).boxes
    assert (found.track_id[0], found.confidence[0]) == (-1, 1)


def test_a_file_of_no_boxes_is_fine(tmp_path: Path) -> None:
    assert len(read(tmp_path, boxes()).boxes) == 0


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (boxes(GOOD[1:], dtype=ETRAM[1:]), "no field t .found x, y, w.*expected t"),
        (boxes(GOOD[:5], dtype=ETRAM[:5]), "no field class_id"),
        (np.zeros((4, 6)), r"an array of float64, shape \(4, 6\); expected a list of boxes"),
        (changed(class_id=2), "class id 2 in 1 boxes is beyond the class list; expected one of 0 car, 1 bus"),
        (changed(w=0), "1 boxes have no area .*the first is box 2: .*w=0"),
        (changed(h=-3), "1 boxes have no area"),
        (changed(x=float("nan")), "1 boxes have no area"),
        (changed(x=100), "1 boxes lie wholly outside the frame of 100x80 px .*x=100"),
        (changed(y=-40), "1 boxes lie wholly outside the frame"),
        (changed(t=500_000), "1 of 2 label times lie outside the recording .0 to 9999"),
        (boxes((10**9, *GOOD[1:])), "labels of another recording: their times 1000000000 to"),
        (np.zeros(1, [*ETRAM[:5], ("class_id", "<U3")]), "field class_id is of type <U3"),
    ],
)
def test_what_no_rule_provides_for_ends_in_one_line(tmp_path: Path, array: NDArray[np.void], message: str) -> None:
    with pytest.raises(LabelError, match=message) as caught:
        read(tmp_path, array)
    assert "\n" not in str(caught.value)
    assert "a_bbox.npy" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"PK\x03\x04", b"not labels at all", b"\x80\x04N."])
def test_a_file_that_is_no_npy_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(LabelError, match=r"a\.npy: ") as caught:
        read_boxes(tmp_path / "a.npy", classes=CLASSES, width=10, height=10)
    assert "allow_pickle" not in str(caught.value)  # no advice that runs what a file holds


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 400), position=st.integers(0, 127), value=st.integers(0, 255))
def test_damaged_files_raise_label_errors_only(tmp_path: Path, cut: int, position: int, value: int) -> None:
    np.save(tmp_path / "b.npy", boxes(GOOD, GOOD))
    content = bytearray((tmp_path / "b.npy").read_bytes())
    content[position] = value
    (tmp_path / "b.npy").write_bytes(content[:cut] if cut < 200 else content)
    try:
        count = len(read_boxes(tmp_path / "b.npy", classes=CLASSES, width=100, height=80).boxes)
    except LabelError:
        count = 0
    assert count <= 2


def test_a_pickled_array_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"x": 1}], object), allow_pickle=True)
    with pytest.raises(LabelError, match="not a complete"):
        read_boxes(tmp_path / "a.npy", classes=CLASSES, width=10, height=10)


def test_boxes_partly_outside_are_clipped_and_counted(tmp_path: Path) -> None:
    array = boxes(GOOD, (1000, -5, 70, 30, 40, 0, 1, 1))
    labels = read(tmp_path, array)
    np.testing.assert_array_equal(labels.boxes.xyxy[1], [0, 70, 25, 80])
    assert labels.counts["clipped_to_frame"] == 1
    with pytest.raises(LabelError, match=r"1 boxes reach over the edge .*clip_to_frame=true"):
        read(tmp_path, array, rules=LabelRules(clip_to_frame=False))


def test_a_data_set_may_drop_invalid_boxes_and_each_is_counted_once(tmp_path: Path) -> None:
    array = boxes(GOOD, (1000, 5, 5, 0, 40, 0, 1, 1), (1000, 200, 5, 4, 4, 0, 1, 1), (500_000, 200, 5, 0, 4, 0, 1, 1))
    labels = read(tmp_path, array, rules=LabelRules(drop_invalid_boxes=True))
    assert labels.dropped == {"outside_recording": 1, "no_area": 1, "outside_frame": 1}
    assert len(labels.boxes) == 1


def test_labels_of_another_recording_are_an_error_even_so(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="labels of another recording"):
        read(tmp_path, boxes((10**9, *GOOD[1:])), rules=LabelRules(drop_invalid_boxes=True))


def test_prophesees_evaluation_rules_are_counted_by_name(tmp_path: Path) -> None:
    array = boxes(
        (100, 0, 0, 30, 30, 0, 1, 1),
        (600, 0, 0, 9, 60, 0, 1, 1),
        (600, 0, 0, 12, 12, 0, 1, 1),
        (600, 0, 0, 95, 30, 0, 1, 1),
        (600, 0, 0, 24, 24, 0, 1, 1),
    )
    rules = LabelRules(skip_first_us=500, min_side_px=10, min_diagonal_px=30, max_width_fraction=0.9)
    labels = read(tmp_path, array, rules=rules)
    assert labels.dropped == {"skip_first": 1, "min_side": 1, "min_diagonal": 1, "max_width": 1}
    np.testing.assert_array_equal(labels.boxes.xyxy, [[0, 0, 24, 24]])


def test_a_class_map_groups_renames_and_leaves_out(tmp_path: Path) -> None:
    array = boxes(*[(1000, 1, 1, 5, 5, class_id, class_id, 1) for class_id in range(4)])
    rules = LabelRules(class_map={0: "bus", 1: "car", 2: "bus", 3: None})
    labels = read(tmp_path, array, rules=rules)
    np.testing.assert_array_equal(labels.boxes.class_id, [1, 0, 1])
    assert labels.dropped == {"class_not_kept": 1}


def test_times_on_the_cameras_clock_lose_the_recordings_offset(tmp_path: Path) -> None:
    array = boxes((5_001_000, *GOOD[1:]))
    labels = read(tmp_path, array, time_offset_us=5_000_000, rules=LabelRules(label_clock="camera"))
    np.testing.assert_array_equal(labels.boxes.t, [1000])


@pytest.mark.real
def test_the_real_label_file_is_read_as_its_readme_says(real_data: Path) -> None:
    labels = read_boxes(
        real_data / "davis346_cars_bbox.npy", classes=["car"], width=346, height=260, span_us=(0, 2_360_000)
    )
    assert len(labels.boxes) == 145
    assert dict(zip(*np.unique(labels.boxes.track_id, return_counts=True))) == {1: 58, 2: 58, 3: 29}
