"""Moments of a film follow from its speed, and labelled times are shown exactly."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from spikeyolo.report.video import Timeline

NONE = np.empty(0, np.int64)


@given(
    st.integers(0, 10**9),
    st.integers(1, 3_000_000),
    st.sampled_from([10.0, 20.0, 29.97, 30.0, 60.0]),
    st.floats(0.02, 2.0),
    st.lists(st.integers(0, 3_000_000), max_size=8),
    st.integers(0, 5),
)
def test_moments_ascend_to_the_end_and_every_stop_within_is_shown_for_its_frames(
    start: int, length: int, fps: float, slow: float, stops: list[int], frames: int
) -> None:
    timeline = Timeline(start, start + length, fps, slow, np.array(stops, np.int64) + start, frames)
    moments = list(timeline)
    times = [t for t, _ in moments]
    assert all(before < after for before, after in pairwise(times))
    assert start < times[0]
    assert times[-1] == start + length
    inside = {start + stop for stop in stops if 0 < stop <= length} if frames else set()
    assert inside <= set(times)
    usual = max(1, math.ceil(length / (1e6 * slow / fps) - 1e-9))
    assert len(timeline) == sum(n for _, n in moments) == usual + frames * len(inside)
    assert all(n in {1, frames, frames + 1} for _, n in moments)


def test_a_second_in_real_time_is_a_frame_every_33_ms() -> None:
    assert [t for t, _ in Timeline(0, 100_000, 30.0, 1.0, NONE)] == [33_333, 66_667, 100_000]
    assert [t for t, _ in Timeline(0, 1_000, 30.0, 0.01, NONE)] == [333, 667, 1_000]


def test_a_stop_on_a_moment_is_no_moment_of_its_own() -> None:
    assert list(Timeline(0, 3_000, 10.0, 0.01, np.array([1_000, 1_500]), 4)) == [
        (1_000, 5),
        (1_500, 4),
        (2_000, 1),
        (3_000, 1),
    ]
