"""Which boxes belong to which slice."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from spikeyolo.events import Boxes
from spikeyolo.windows.matching import BoxMatcher


def boxes(rows: list[tuple[int, int, float]], *, class_id: int = 0) -> Boxes:
    """Rows of (t, track, left): boxes 10 px wide."""
    rows = sorted(rows)
    t = np.array([row[0] for row in rows], np.int64)
    left = np.array([row[2] for row in rows], np.float32)
    xyxy = np.stack([left, left * 0, left + 10, left * 0 + 10], axis=1).reshape(-1, 4)
    track = np.array([row[1] for row in rows], np.int64)
    return Boxes(t, xyxy, np.full(len(rows), class_id, np.int64), track, np.ones(len(rows), np.float32))


def matcher(labels: Boxes, *, buffer: float = 0.2, interval: int = 1000, gap: int = 10_000) -> BoxMatcher:
    return BoxMatcher(labels, temporal_buffer=buffer, label_interval_us=interval, max_gap_us=gap)


def test_a_label_belongs_to_a_window_within_the_buffer_and_not_beyond() -> None:
    labels = boxes([(999, 1, 0), (1000, 2, 0), (2200, 3, 0), (2201, 4, 0), (1500, 5, 0)])
    found = matcher(labels, buffer=0.2).belonging(1200, 2200)
    assert set(labels.track_id[found]) == {2, 3, 4, 5}
    assert set(labels.track_id[matcher(labels, buffer=0.0).belonging(1200, 2200)]) == {3, 5}
    assert set(labels.track_id[matcher(labels, buffer=0.201).belonging(1200, 2200)]) == {1, 2, 3, 4, 5}


@given(st.integers(1, 8), st.integers(1, 400), st.floats(-50, 50), st.floats(-50, 50))
def test_a_box_between_two_labels_of_its_track_moves_linearly(steps: int, slice_us: int, a: float, b: float) -> None:
    labels = boxes([(1_000, 1, a), (5_000, 1, b)])
    end = 5_000
    found = matcher(labels).match(end - steps * slice_us, slice_us, steps)
    assert list(found.step) == list(range(steps))
    time = end - steps * slice_us + (found.step + 1) * slice_us
    share = (time - 1_000) / 4_000
    np.testing.assert_allclose(found.xyxy[:, 0], a + (b - a) * share, atol=1e-4)


def test_a_gap_longer_than_the_setting_is_never_interpolated() -> None:
    labels = boxes([(1_000, 1, 0.0), (5_000, 1, 40.0)])
    found = matcher(labels, gap=3_999).match(4_200, 100, 8)
    assert set(found.xyxy[:, 0]) == {40.0}
    assert matcher(labels, gap=4_000).match(4_200, 100, 8).xyxy[0, 0] < 40.0


def test_a_box_is_not_held_longer_than_half_the_annotators_interval() -> None:
    labels = boxes([(10_000, 1, 5.0)])
    found = matcher(labels, buffer=0.0, interval=1_000).match(8_000, 250, 8)
    assert list(found.step) == [5, 6, 7]  # slices ending 500 µs before the label, 250 µs before, and at it


def test_each_track_has_at_most_one_box_a_slice_and_untracked_labels_come_from_one_time() -> None:
    labels = boxes([(1_000, 1, 0.0), (1_100, 1, 1.0), (1_000, -1, 20.0), (1_100, -1, 21.0), (1_100, -1, 60.0)])
    found = matcher(labels).match(700, 100, 4)
    for step in range(4):
        at = found.at(step)
        assert np.sum(at.track_id == 1) == 1
    assert sorted(found.at(3).xyxy[found.at(3).track_id == -1, 0]) == [21.0, 60.0]
    assert sorted(found.at(2).xyxy[found.at(2).track_id == -1, 0]) == [20.0]


def test_one_number_in_two_classes_is_two_objects() -> None:
    one, two = boxes([(1_000, 7, 0.0)]), boxes([(1_000, 7, 50.0)], class_id=1)
    both = Boxes(*(np.concatenate([getattr(one, n), getattr(two, n)]) for n in one.__dataclass_fields__))
    found = matcher(both).match(600, 100, 4)
    assert sorted(found.at(3).xyxy[:, 0]) == [0.0, 50.0]


def test_a_window_without_labels_has_no_box() -> None:
    assert len(matcher(boxes([(1_000, 1, 0.0)])).match(50_000, 100, 8)) == 0
    assert len(matcher(Boxes.empty()).match(0, 100, 8)) == 0


@given(st.lists(st.tuples(st.integers(0, 3_000), st.integers(-1, 3), st.floats(0, 50)), max_size=20), st.randoms())
def test_the_order_of_labels_of_one_time_does_not_matter(rows: list[tuple[int, int, float]], random: object) -> None:
    rows = list({(t, track): (t, track, left) for t, track, left in rows if track >= 0}.values())
    labels = boxes(rows)
    order = np.lexsort((-labels.track_id, labels.t))
    one, two = matcher(labels).match(1_000, 125, 8), matcher(labels[order]).match(1_000, 125, 8)
    key_one, key_two = (np.lexsort((found.track_id, found.step)) for found in (one, two))
    np.testing.assert_array_equal(one.xyxy[key_one], two.xyxy[key_two])
    np.testing.assert_array_equal(one.track_id[key_one], two.track_id[key_two])
