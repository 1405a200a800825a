"""Which boxes belong to which slice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikeyolo.events import Boxes
from spikeyolo.windows.matching import BoxMatcher, SliceBoxes

Rows = list[tuple[int, int, float]]


def boxes(rows: Rows, *, class_id: int = 0) -> Boxes:
    """Rows of (t, track, left): boxes of 10 × 10 px."""
    rows = sorted(rows)
    t = np.array([row[0] for row in rows], np.int64)
    left = np.array([row[2] for row in rows], np.float32)
    xyxy = np.stack([left, left * 0, left + 10, left * 0 + 10], axis=1).reshape(-1, 4)
    track = np.array([row[1] for row in rows], np.int64)
    return Boxes(t, xyxy, np.full(len(rows), class_id, np.int64), track, np.ones(len(rows), np.float32))


def joined(*several: Boxes) -> Boxes:
    order = np.argsort(np.concatenate([one.t for one in several]), kind="stable")
    return Boxes(*(np.concatenate([getattr(b, n) for b in several])[order] for n in Boxes.__dataclass_fields__))


def matcher(labels: Boxes, *, buffer: float = 0.2, gap: int | None = 10_000, left_out: list[int] | None = None):
    times = None if left_out is None else [np.array(left_out)]
    return BoxMatcher([labels], left_out=times, temporal_buffer=buffer, max_gap_us=gap)


def match(labels: Boxes, start_us: int, slice_us: int, steps: int, **settings: object) -> SliceBoxes:
    return matcher(labels, **settings).match(0, start_us, slice_us, steps)[0]


def label_files() -> st.SearchStrategy[Boxes]:
    """Labels of several objects at a few looks, some without tracks, of two classes."""
    row = st.tuples(st.integers(0, 12).map(lambda n: 250 * n), st.integers(-1, 3), st.floats(0, 90, width=32))
    both = st.tuples(st.lists(row, max_size=12, unique_by=lambda r: r[:2]), st.lists(row, max_size=12))
    return both.map(lambda rows: joined(boxes(rows[0]), boxes(rows[1], class_id=1)))


@given(label_files(), st.integers(1, 300), st.integers(1, 9), st.floats(0, 3), st.none() | st.integers(0, 3_000))
def test_at_a_label_time_the_truth_is_the_label_file_at_that_time(
    labels: Boxes, slice_us: int, steps: int, buffer: float, gap: int | None
) -> None:
    one = matcher(labels, buffer=buffer, gap=gap)
    for time in np.unique(labels.t).tolist():
        for step in range(steps):  # the label's time ends one slice of the window after another
            found, known = one.match(0, time - (step + 1) * slice_us, slice_us, steps)
            here, there = found.at(step), labels[labels.t == time]
            assert known[step]
            for name in ("xyxy", "class_id", "track_id"):
                np.testing.assert_array_equal(getattr(here, name), getattr(there, name))


@given(label_files(), st.integers(-200, 3_300), st.integers(1, 200), st.integers(1, 9))
def test_no_slice_shows_more_than_a_look_beside_it_and_between_looks_only_what_both_show(
    labels: Boxes, start_us: int, slice_us: int, steps: int
) -> None:
    found, known = matcher(labels, gap=None).match(0, start_us, slice_us, steps)
    looks = np.unique(labels.t)
    for step in range(steps):
        time, here = start_us + (step + 1) * slice_us, found.at(step)
        before, after = (labels[np.isin(labels.t, t)] for t in (looks[looks <= time][-1:], looks[looks >= time][:1]))
        for class_id in (0, 1):
            counts = [int(np.sum(side.class_id == class_id)) for side in (before, after)]
            assert np.sum(here.class_id == class_id) <= max(counts)
            interval = np.median(np.diff(looks)) if len(looks) > 1 else 0
            if min(len(before), len(after)) and looks[looks >= time][0] - looks[looks <= time][-1] <= 1.5 * interval:
                assert np.sum(here.class_id == class_id) <= min(counts)
        assert known[step] or not len(here)


def test_a_look_belongs_to_a_window_within_the_buffer_and_not_beyond() -> None:
    for label, buffer, there in [(2200, 0.0, 4), (2300, 0.1, 1), (2301, 0.1, 0), (2301, 0.11, 1), (1100, 0.1, 0)]:
        found = match(boxes([(label, 1, 0.0)]), 1200, 250, 4, buffer=buffer)
        assert (found.step == 3).sum() == min(there, 1), (label, buffer)


@given(st.integers(1, 8), st.integers(1, 400), st.floats(-50, 50), st.floats(-50, 50))
def test_a_box_between_two_labels_of_its_track_moves_linearly(steps: int, slice_us: int, a: float, b: float) -> None:
    labels = boxes([(1_000, 1, a), (5_000, 1, b)])
    end = 5_000
    found = match(labels, end - steps * slice_us, slice_us, steps)
    assert list(found.step) == list(range(steps))
    time = end - steps * slice_us + (found.step + 1) * slice_us
    share = (time - 1_000) / 4_000
    np.testing.assert_allclose(found.xyxy[:, 0], a + (b - a) * share, atol=1e-4)


def test_a_gap_longer_than_the_setting_is_never_interpolated() -> None:
    labels = boxes([(1_000, 1, 0.0), (5_000, 1, 40.0)])
    assert set(match(labels, 4_200, 100, 8, gap=3_999).xyxy[:, 0]) == {40.0}
    assert match(labels, 4_200, 100, 8, gap=4_000).xyxy[0, 0] < 40.0


def test_the_gap_that_is_interpolated_follows_from_the_sets_own_interval() -> None:
    regular = boxes([(250_000 * k, -1, float(k)) for k in range(9)])
    sparse = boxes([(0, 1, 0.0), (40_000_000, 1, 40.0)])
    one = BoxMatcher([regular, sparse, None], temporal_buffer=0.2)
    assert (one.interval_us, one.max_gap_us) == (250_000, 375_000)
    assert len(one.match(0, 0, 100_000, 8)[0]) == 8
    assert len(one.match(1, 10_000_000, 100_000, 8)[0]) == 0
    assert not one.match(1, 10_000_000, 100_000, 8)[1].any()
    assert BoxMatcher([regular], temporal_buffer=0.2, max_gap_us=0).max_gap_us == 0


def test_a_box_is_not_held_longer_than_half_the_annotators_interval() -> None:
    labels = boxes([(0, 2, 0.0), (1_000, 2, 0.0), (2_000, 2, 0.0), (10_000, 1, 5.0)])
    found, known = matcher(labels, buffer=0.0, gap=None).match(0, 8_000, 250, 8)
    assert list(found.step) == [5, 6, 7]  # slices ending 500 µs before the label, 250 µs before, and at it
    assert list(known) == [False] * 5 + [True] * 3


def test_one_number_in_two_classes_is_two_objects() -> None:
    found = match(joined(boxes([(1_000, 7, 0.0)]), boxes([(1_000, 7, 50.0)], class_id=1)), 600, 100, 4)
    assert sorted(found.at(3).xyxy[:, 0]) == [0.0, 50.0]


def test_an_object_that_one_look_shows_and_the_next_does_not_is_at_neither_side_between_them() -> None:
    labels = boxes([(0, 1, 0.0), (0, 2, 50.0), (1_000, 1, 10.0), (1_000, 3, 70.0), (2_000, 1, 20.0)])
    found = match(labels, 0, 250, 8)
    assert set(found.track_id) == {1, 3}
    assert list(found.step[found.track_id == 3]) == [3]  # at its own look alone
    assert list(found.xyxy[found.track_id == 1, 0]) == [2.5, 5.0, 7.5, 10.0, 12.5, 15.0, 17.5, 20.0]


@given(st.integers(0, 250_000), st.floats(0, 5.3))
def test_one_car_without_tracks_is_one_box_a_step_however_the_looks_fall(start_us: int, px_a_look: float) -> None:
    labels = boxes([(250_000 * k, -1, px_a_look * k) for k in range(8)])
    found, known = matcher(labels, gap=None).match(0, start_us, 100_000, 8)
    assert list(found.step) == list(range(8))
    assert known.all()
    times = start_us + 100_000 * np.arange(1, 9)
    np.testing.assert_allclose(found.xyxy[:, 0], px_a_look * times / 250_000, atol=1e-3)
    assert set(found.track_id) == {-1}


@pytest.mark.parametrize(("moved", "boxes_between"), [(5.3, 1), (5.5, 0)])
def test_boxes_without_tracks_are_one_object_from_an_iou_of_three_tenths(moved: float, boxes_between: int) -> None:
    labels = boxes([(0, -1, 0.0), (1_000, -1, moved)])  # IoU 4.7 / 15.3 = 0.307, 4.5 / 15.5 = 0.290
    assert len(match(labels, 0, 500, 1)) == boxes_between
    other_class = joined(boxes([(0, -1, 0.0)]), boxes([(1_000, -1, 0.0)], class_id=1))
    assert len(match(other_class, 0, 500, 1)) == 0
    assert len(match(boxes([(0, -1, 0.0), (1_000, 5, 0.0)]), 0, 500, 1)) == 0


def test_of_boxes_without_tracks_the_largest_overlap_pairs_first_and_each_box_once() -> None:
    labels = boxes([(0, -1, 0.0), (0, -1, 3.0), (1_000, -1, 4.0), (1_000, -1, 100.0)])
    assert list(match(labels, 0, 500, 1).xyxy[:, 0]) == [3.5]
    crowd = boxes([(0, -1, 0.0), (0, -1, 4.0), (1_000, -1, 3.0), (1_000, -1, 7.0)])
    assert sorted(match(crowd, 0, 500, 1).xyxy[:, 0]) == [3.5]  # 4 → 3; then 0 and 7 are too far apart


def test_a_window_without_labels_has_no_box() -> None:
    assert len(match(boxes([(1_000, 1, 0.0)]), 50_000, 100, 8)) == 0
    assert len(match(Boxes.empty(), 0, 100, 8)) == 0


def test_of_an_unlabelled_recording_nothing_is_known_and_of_one_annotated_as_empty_all() -> None:
    one = BoxMatcher([None, Boxes.empty()], temporal_buffer=0.2)
    assert not one.match(0, 0, 100, 8)[1].any()
    assert one.match(1, 0, 100, 8)[1].all()


@given(st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 3), st.floats(0, 50)), max_size=20))
def test_the_order_of_labels_of_one_time_does_not_matter(rows: Rows) -> None:
    labels = boxes(list({(t, track): (t, track, left) for t, track, left in rows}.values()))
    order = np.lexsort((-labels.track_id, labels.t))
    one, two = match(labels, 1_000, 125, 8), match(labels[order], 1_000, 125, 8)
    key_one, key_two = (np.lexsort((found.track_id, found.step)) for found in (one, two))
    np.testing.assert_array_equal(one.xyxy[key_one], two.xyxy[key_two])
    np.testing.assert_array_equal(one.track_id[key_one], two.track_id[key_two])
