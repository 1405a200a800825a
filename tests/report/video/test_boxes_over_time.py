"""What is seen at a moment: exactly the boxes of a look, tracks on their way between two looks, the others held."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikeyolo.report.video import BoxSeries, TrackSeries


def series(*rows: tuple[int, float, int], **options: float) -> BoxSeries:
    """Boxes of 10 px from rows of time, left edge and track."""
    t, left, track = (np.array(column) for column in zip(*rows, strict=True))
    xyxy = np.stack([left, left * 0 + 5.0, left + 10.0, left * 0 + 15.0], 1)
    zeros = np.zeros(len(t), np.int64)
    return BoxSeries(t, xyxy, zeros, track, np.ones(len(t)), **options)


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(0, 100), st.integers(-1, 3)), min_size=1, max_size=30))
def test_at_a_look_exactly_its_boxes_are_seen_in_their_place(rows: list[tuple[int, float, int]]) -> None:
    boxes = series(*rows)
    for t in {row[0] for row in rows}:
        assert sorted(boxes.at(t).xyxy[:, 0]) == sorted(left for time, left, _ in rows if time == t)


def test_a_track_moves_from_look_to_look() -> None:
    boxes = series((0, 0.0, 7), (100, 20.0, 7), (100, 60.0, 3), (200, 40.0, 7), (200, 50.0, 3))
    seen = boxes.at(150)
    assert seen.track_id.tolist() == [3, 7]
    assert seen.xyxy[:, 0].tolist() == [55.0, 30.0]
    assert boxes.at(25).xyxy.tolist() == [[5.0, 5.0, 15.0, 15.0]]


def test_a_box_without_a_track_stays_until_the_next_look_and_one_and_a_half_gaps_at_the_end() -> None:
    boxes = series((0, 0.0, -1), (100, 20.0, -1))
    assert [len(boxes.at(t)) for t in (-1, 0, 99, 100, 249, 250)] == [0, 1, 1, 1, 1, 0]
    assert boxes.at(99).xyxy[0, 0] == 0.0


@pytest.mark.parametrize(("longest", "shortest", "until"), [(30.0, 0.0, 30), (30.0, 50.0, 50), (1e9, 0.0, 150)])
def test_how_long_a_box_without_a_track_is_held_can_be_bounded(longest: float, shortest: float, until: int) -> None:
    boxes = series((0, 0.0, -1), (100, 0.0, -1), longest_hold_us=longest, shortest_hold_us=shortest)
    assert len(boxes.at(100 + until - 1)) == 1
    assert len(boxes.at(100 + until)) == 0


def test_a_track_that_is_away_for_long_is_not_seen_meanwhile() -> None:
    boxes = series(*((t, 0.0, 1) for t in range(0, 1000, 100)), (5000, 90.0, 1))
    assert len(boxes.at(3000)) == 0


def test_a_trail_is_the_way_of_one_track_up_to_now() -> None:
    boxes = series((0, 0.0, 1), (100, 20.0, 1), (200, 40.0, 1), (100, 70.0, 2), (300, 60.0, 1))
    points, ages = boxes.trail(1, 250, 160)
    assert points.tolist() == [[25.0, 10.0], [45.0, 10.0]]
    assert ages.tolist() == [150.0, 50.0]
    assert len(boxes.trail(9, 250, 1000)[0]) == 0


def test_a_long_trail_is_the_mean_way_in_a_bounded_number_of_points() -> None:
    boxes = series(*((t, 0.001 * t + (-1) ** t, 1) for t in range(10_000)))
    points, ages = boxes.trail(1, 9_999, 1e9)
    assert 20 <= len(points) <= 50
    assert np.abs(points[:, 0] - 5.0 - 0.001 * (9_999 - ages)).max() < 0.02


def tracks(*rows: tuple[int, float, int], **options: float) -> TrackSeries:
    made = series(*rows)
    return TrackSeries(made.t_us, made.xyxy, made.class_id, made.track_id, made.score, **options)


@given(st.sets(st.integers(1, 39), max_size=20), st.integers(0, 4000))
def test_a_track_that_single_looks_missed_goes_on_evenly(missed: set[int], t_us: int) -> None:
    missed = {k for k in missed if k - 1 not in missed and k + 1 not in missed}
    rows = [(100 * k, 0.01 * 100 * k, 5) for k in range(41) if k not in missed]
    others = [(100 * k, 70.0, 6) for k in range(41)]
    seen = tracks(*rows, *others, bridge_us=0.0).at(t_us)
    assert seen.track_id.tolist() == [5, 6]
    assert seen.xyxy[0, 0] == pytest.approx(0.01 * t_us)


def test_a_track_is_not_seen_before_its_first_look_nor_long_after_its_last_nor_in_a_long_gap() -> None:
    rows = [(t, 1.0, 5) for t in (1000, 1100, 1200, 3000, 3100)]
    made = tracks(*rows, bridge_us=500.0, shortest_hold_us=200.0)
    seen = [t for t in range(900, 3500, 50) if len(made.at(t))]
    assert seen == [*range(1000, 1400, 50), *range(3000, 3300, 50)]
    assert len(tracks(*rows, bridge_us=2000.0).at(2500)) == 1


def test_looks_that_follow_one_another_faster_than_pictures_are_seen_together() -> None:
    rows = [(100, 0.0, -1), (200, 1.0, -1), (200, 50.0, -1), (300, 2.0, -1)]
    assert sorted(series(*rows, gather_us=250.0).at(310).xyxy[:, 0]) == [2.0, 50.0]
    assert series(*rows).at(310).xyxy[:, 0].tolist() == [2.0]
    assert sorted(series(*rows, gather_us=50.0).at(310).xyxy[:, 0]) == [2.0]


def test_what_moves_fast_leaves_no_boxes_behind_where_many_looks_make_one_picture() -> None:
    rows = [(100 * k, 0.3 * k, -1) for k in range(400)]  # 3 px a ms, boxes of 10 px
    made = series(*rows, gather_us=33_333.0, shortest_hold_us=33_333.0)
    assert all(len(made.at(t)) == 1 for t in range(10_000, 39_900, 1_777))
