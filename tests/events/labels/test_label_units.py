"""Units and shapes of label files: what cannot be µs or px is refused in a sentence that says what would do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_events_labels import ETRAM, GOOD, boxes, read

from spikeyolo.errors import LabelError
from spikeyolo.events.labels import LabelRules, read_boxes, warn_once

SPAN_US = (0, 2_360_000)
UNITS = {"us": 1, "ms": 1000, "s": 1_000_000}


def at(times: npt.ArrayLike, kind: str = "<f8", **fields: npt.ArrayLike) -> npt.NDArray[np.void]:
    """A box at each of these times."""
    rows = np.zeros(len(np.atleast_1d(times)), [("t", kind), *ETRAM[1:5], ("class_id", "<f4")])
    rows["t"], rows["x"], rows["y"], rows["w"], rows["h"] = times, 10, 20, 30, 40
    for name, values in fields.items():
        rows[name] = values
    return rows


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (np.arange(0.04, 2.3, 0.04), "would fit it in s; expected µs, or time_unit=s"),
        (np.arange(40.5, 2300, 40), "would fit it in ms; expected µs, or time_unit=ms"),
        ([0.5], r"0\.5 to 0\.5 are no µs of a recording of 2360000 µs, but would fit it in s"),
        (np.arange(0, 2300, 40), "would fit it in ms; expected µs, or time_unit=ms"),
        ([0, 1, 2], "would fit it in s; expected µs, or time_unit=s"),
        (np.arange(40_000, 2_300_000, 40_000) * 1000, "another recording.*; they would fit with time_unit=ns"),
        ([np.nan, 1], "t is nan in 1 boxes; expected µs"),
    ],
)
def test_times_of_another_unit_are_refused_and_the_unit_is_named(
    times: npt.ArrayLike, message: str, tmp_path: Path
) -> None:
    with pytest.raises(LabelError, match=message) as caught:
        read(tmp_path, at(times), span_us=SPAN_US)
    assert "a_bbox.npy" in str(caught.value)


def test_seconds_are_refused_before_the_recordings_span_is_known(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"lie 0\.04 apart; expected µs, or in the label rules time_unit=s"):
        read(tmp_path, at(np.arange(0.04, 2.3, 0.04)), span_us=None)


@given(unit=st.sampled_from(sorted(UNITS)), times=st.lists(st.integers(0, 2_000_000), min_size=1, unique=True))
def test_a_unit_that_is_named_is_believed(
    unit: str, times: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    array = at(np.array(times) / UNITS[unit])
    labels = read(tmp_path_factory.mktemp("a"), array, span_us=SPAN_US, rules=LabelRules(time_unit=unit))  # type: ignore[arg-type]
    np.testing.assert_array_equal(labels.boxes.t, np.sort(times))


def test_microseconds_with_fractions_are_rounded(tmp_path: Path) -> None:
    labels = read(tmp_path, at([33_333.4, 66_666.7, 1_999_999.6]), span_us=SPAN_US)
    np.testing.assert_array_equal(labels.boxes.t, [33_333, 66_667, 2_000_000])


def test_labels_of_a_sliver_of_the_recording_are_warned_about(tmp_path: Path) -> None:
    labels = read(tmp_path, at([1_000_000, 1_010_000], "<i8"), span_us=SPAN_US)
    assert labels.warnings["coverage"].startswith("its label times 1000000 to 1010000 µs cover 0.42% of the recording")
    assert "coverage" not in read(tmp_path, at([0, 40_000, 2_000_000], "<i8"), span_us=SPAN_US).warnings


def test_the_warning_of_a_sliver_names_the_unit_that_would_fit(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("t_us,x,y,w,h,class\n" + "".join(f"{t},10,20,30,40,0\n" for t in range(40, 2320, 40)))
    warnings = read_boxes(path, classes=["car"], width=100, height=80, span_us=SPAN_US).warnings
    assert (
        "or time_unit=ms in the label rules, with which they fit it (in training data.dataset" in warnings["coverage"]
    )
    near = read(tmp_path, at([1_000_000, 1_010_000], "<i8"), span_us=SPAN_US)
    assert "time_unit" not in near.warnings["coverage"]


def test_boxes_within_0_to_1_are_refused_and_fractions_of_the_frame_are_read_where_that_is_said(tmp_path: Path) -> None:
    array = at([1000, 2000], "<i8", x=[0.1, 0.5], y=0.25, w=0.5, h=0.125)
    with pytest.raises(
        LabelError, match=r"lie within 0 to 1 .*x=0\.1.*expected px of a frame of 100x80 px, or box_unit"
    ):
        read(tmp_path, array)
    labels = read(tmp_path, array, rules=LabelRules(box_unit="frame"))
    np.testing.assert_allclose(labels.boxes.xyxy, [[10, 20, 60, 30], [50, 20, 100, 30]], rtol=1e-6)
    assert len(read(tmp_path, array, rules=LabelRules(box_unit="px")).boxes) == 2


def test_a_class_id_that_is_no_number_is_counted_as_what_it_is(tmp_path: Path) -> None:
    array = at([1000, 2000, 3000], "<i8", class_id=[0, np.nan, np.nan])
    with pytest.raises(LabelError, match="2 boxes have the class id NaN; expected a number or a name"):
        read(tmp_path, array)
    labels = read(tmp_path, array, rules=LabelRules(drop_invalid_boxes=True))
    assert labels.dropped == {"no_class": 2}
    with pytest.raises(LabelError, match=r"class id 0\.5 in 1 boxes is beyond the class list"):
        read(tmp_path, at([1000], "<i8", class_id=0.5))


@given(copies=st.integers(1, 4), order=st.randoms(use_true_random=False))
def test_equal_rows_count_once(copies: int, order: object, tmp_path_factory: pytest.TempPathFactory) -> None:
    single = [GOOD, (1000, 11, *GOOD[2:]), (1000, *GOOD[1:5], 1, *GOOD[6:]), (2000, *GOOD[1:])]
    rows = [row for row in single for _ in range(copies)]
    order.shuffle(rows)  # type: ignore[attr-defined]
    labels = read(tmp_path_factory.mktemp("a"), boxes(*rows))
    assert sorted(zip(labels.boxes.t, labels.boxes.class_id, labels.boxes.xyxy[:, 0])) == [
        (1000, 0, 10),
        (1000, 0, 11),
        (1000, 1, 10),
        (2000, 0, 10),
    ]
    assert labels.dropped == ({"duplicate": 4 * (copies - 1)} if copies > 1 else {})


def test_duplicates_leave_a_track_its_id(tmp_path: Path) -> None:
    labels = read(tmp_path, boxes(GOOD, GOOD, (2000, *GOOD[1:])))
    assert set(labels.boxes.track_id) == {7}


def test_a_file_that_is_mostly_beyond_the_frame_is_warned_about(tmp_path: Path) -> None:
    corners = at(np.arange(8) * 1000, "<i8", x=50, y=40, w=80, h=60)  # w, h hold x2, y2
    assert "8 boxes reach over the edge" in read(tmp_path, corners).warnings["clipped"]
    wider = at(np.arange(8) * 1000, "<i8", x=[300] * 7 + [10])
    labels = read(tmp_path, wider, rules=LabelRules(drop_invalid_boxes=True))
    assert "7 boxes lie wholly outside the frame of 100x80 px" in labels.warnings["outside"]
    assert read(tmp_path, at(np.arange(8) * 1000, "<i8")).warnings == {}


def test_times_whose_every_box_a_rule_left_out_are_named_as_unknown(tmp_path: Path) -> None:
    array = at([1000, 1000, 2000, 3000, 4000], "<i8", w=[5, 30, 5, 30, 5], class_id=[0, 0, 0, 1, 1])
    labels = read(tmp_path, array, rules=LabelRules(min_side_px=10))
    np.testing.assert_array_equal(labels.left_out_us, [2000, 4000])
    labels = read(tmp_path, array, classes=["car"], rules=LabelRules(min_side_px=10, names=["car", "bus"]))
    np.testing.assert_array_equal(labels.left_out_us, [2000])  # at 3000 and 4000 it is known that there is no car


def test_times_before_the_evaluation_begins_are_no_unknown_ones(tmp_path: Path) -> None:
    array = at([1000, 5000, 6000], "<i8", w=[30, 5, 30])
    labels = read(tmp_path, array, rules=LabelRules(min_side_px=10, skip_first_us=2000))
    np.testing.assert_array_equal(labels.left_out_us, [5000])


def test_what_was_said_of_a_set_is_not_said_again(caplog: pytest.LogCaptureFixture) -> None:
    said: set[str] = set()
    warn_once([("a.npy", {"coverage": "a sliver"}), ("b.npy", {"coverage": "another"}), ("c.npy", {})], said)
    warn_once([("d.npy", {"coverage": "a third", "tracks": "no tracks"})], said)
    assert caplog.messages == ["a.npy: a sliver (so in 2 of 3 label files)", "d.npy: no tracks"]
