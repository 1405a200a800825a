"""Which windows exist."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from spikeyolo.windows import slicing

times = st.lists(st.integers(0, 100_000), max_size=60).map(lambda values: np.array(sorted(values), np.int64))


@given(times, st.integers(1, 5_000), st.integers(0, 50_000), st.integers(0, 50_000))
def test_every_anchored_window_ends_at_a_label_and_lies_wholly_inside(
    labels: np.ndarray, duration: int, start: int, length: int
) -> None:
    ends = slicing.anchored(labels, duration_us=duration, start_us=start, end_us=start + length)
    assert set(ends) <= set(labels)
    assert np.all(ends - duration >= start)
    assert np.all(ends <= start + length)
    assert np.all(np.diff(ends) > 0)
    left_out = set(labels) - set(ends)
    assert all(t - duration < start or t > start + length for t in left_out)


@given(st.integers(1, 4_000), st.integers(0, 90), st.integers(0, 10_000), st.integers(0, 60_000))
def test_sliding_windows_share_their_overlap_and_leave_less_than_a_stride_uncovered(
    duration: int, percent: int, start: int, length: int
) -> None:
    overlap = percent / 100
    ends = slicing.sliding(duration_us=duration, overlap=overlap, start_us=start, end_us=start + length)
    stride = max(1, round(duration * (1 - overlap)))
    assert np.all(np.diff(ends) == stride)
    if length >= duration:
        assert ends[0] == start + duration
        assert start + length - ends[-1] < stride
    else:
        assert len(ends) == 0


@given(times, st.integers(1, 20_000))
def test_an_empty_stretch_keeps_its_distance_from_every_label(labels: np.ndarray, gap: int) -> None:
    stretches = slicing.empty_stretches(labels, start_us=0, end_us=100_000, gap_us=gap)
    for begin, end in stretches:
        assert 0 <= begin < end <= 100_000
        assert not np.any((labels > begin - gap) & (labels < end + gap))


@given(st.integers(0, 500), st.integers(1, 600))
def test_spread_indices_are_different_ordered_and_even(count: int, limit: int) -> None:
    chosen = slicing.spread(count, limit)
    assert len(chosen) == min(count, limit)
    assert np.all(np.diff(chosen) > 0)
    assert np.all((chosen >= 0) & (chosen < count))
    if len(chosen) > 1:
        steps = np.diff(chosen)
        assert steps.max() - steps.min() <= 1
