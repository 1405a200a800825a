"""What is known of the time between looks, and of looks of which rules left nothing."""

from __future__ import annotations

import numpy as np
import pytest

from spikeyolo.events import Boxes
from spikeyolo.windows.matching import BoxMatcher


def matcher(
    rows: list[tuple[int, int, float]],
    *,
    gap: int = 10_000,
    left_out: list[int] | None = None,
    listed: list[int] | None = None,
) -> BoxMatcher:
    """Rows of (t, track, left): boxes 10 px wide, labelled every 5 ms."""
    t, track, left = (np.array(column) for column in zip(*rows, strict=True))
    xyxy = np.stack([left, left * 0, left + 10, left * 0 + 10], axis=1).astype(np.float32)
    ones = np.ones(len(t))
    boxes = Boxes(t.astype(np.int64), xyxy, 0 * track, track.astype(np.int64), ones.astype(np.float32))
    return BoxMatcher(
        [boxes],
        left_out=[np.array(left_out or [], np.int64)],
        listed=None if listed is None else [np.array(listed, np.int64)],
        temporal_buffer=0.2,
        max_gap_us=gap,
    )


def test_a_track_that_both_looks_saw_is_interpolated_in_a_window_between_them() -> None:
    found, known = matcher([(0, 1, 0.0), (5_000, 1, 50.0), (5_000, 2, 9.0)]).match(0, 2_000, 250, 2)
    assert list(found.track_id) == [1, 1]
    assert found.xyxy[:, 0] == pytest.approx([22.5, 25.0])
    assert known.all()


def test_nothing_is_interpolated_across_a_gap_longer_than_the_setting() -> None:
    found, known = matcher([(0, 1, 0.0), (5_000, 1, 50.0)], gap=4_999).match(0, 2_600, 300, 8)
    assert list(found.xyxy[:, 0]) == [50.0] * 8  # each label stands for the half of the gap on its side
    assert known.all()
    assert len(matcher([(0, 1, 0.0), (5_000, 2, 50.0)]).match(0, 2_000, 250, 2)[0]) == 0


def test_what_a_slice_between_looks_shows_is_unknown_and_far_from_them_it_is_empty() -> None:
    labels = matcher([(0, 1, 0.0), (5_000, 2, 50.0)])

    def known(end_us: int) -> bool:
        return bool(labels.match(0, end_us - 100, 100, 1)[1][0])

    assert not known(2_500)
    assert known(5_000)
    assert not known(5_000 + 12_499)
    assert known(5_000 + 12_500)
    assert not known(0 - 12_499)
    assert known(0 - 12_500)


def test_a_look_of_which_a_rule_left_out_every_box_is_unknown_and_so_is_what_lies_around_it() -> None:
    times = list(range(0, 40_000, 5_000))
    labels = matcher([(0, 1, 0.0), (5_000, 1, 0.0)], left_out=times[2:])
    found, known = labels.match(0, 0, 2_500, 24)
    ends = 2_500 * (found.step + 1)
    assert ends.max() == 5_000  # nothing is held or interpolated towards a look that rules emptied
    assert list(np.flatnonzero(known)) == [0, 1, *range(18, 24)]  # 47.5 ms: 2.5 intervals after the last look
    assert list(labels.label_times(0)) == [0, 5_000]
    every = BoxMatcher([Boxes.empty()], left_out=[np.array(times)], temporal_buffer=0.2)
    assert not every.match(0, 0, 2_500, 14)[1].any()


def test_a_listed_look_without_a_box_is_empty_and_what_no_listed_look_is_near_is_unknown() -> None:
    times = [0, 5_000, 10_000, 15_000, 40_000]
    labels = matcher([(0, 1, 0.0), (5_000, 1, 0.0)], gap=7_500, listed=times)
    ends = list(range(0, 60_000, 2_500))
    each = [labels.match(0, end - 2_500, 2_500, 1) for end in ends]  # alone, so that no buffer is wide
    # Nothing is interpolated towards a look that shows nothing.
    assert [end for end, (found, _) in zip(ends, each, strict=True) if len(found)] == [0, 2_500, 5_000]
    # Between a box and nothing it is not known when it left; after a look alone half an interval is.
    known = [end for end, (_, steps) in zip(ends, each, strict=True) if steps[0]]
    assert known == [0, 2_500, 5_000, 10_000, 12_500, 15_000, 17_500, 40_000, 42_500]
    assert list(labels.empty_looks(0, start_us=0, end_us=39_999)) == [10_000, 15_000]
    assert labels.empty_stretches(0, start_us=0, end_us=100_000, gap_us=5_000) == []


def test_a_listed_look_that_a_rule_emptied_and_a_file_that_lists_none_tell_nothing() -> None:
    times = [0, 5_000, 10_000, 15_000]
    labels = matcher([(0, 1, 0.0), (5_000, 1, 0.0)], listed=times, left_out=[10_000])
    assert list(labels.match(0, 5_000, 5_000, 4)[1]) == [False, True, False, False]
    nothing = BoxMatcher([Boxes.empty()], listed=[np.empty(0, np.int64)], temporal_buffer=0.2)
    assert not nothing.match(0, 0, 5_000, 9)[1].any()
    assert BoxMatcher([Boxes.empty()], temporal_buffer=0.2).match(0, 0, 5_000, 9)[1].all()
