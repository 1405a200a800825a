"""What the values of each encoder mean."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikeyolo.errors import ConfigError
from spikeyolo.windows.encoders import (
    BinaryEncoder,
    MixedDensityEncoder,
    SliceEncoder,
    TimeSurfaceEncoder,
    VoxelEncoder,
)


def pixel(encoder: SliceEncoder, events: list[tuple[int, int]], slice_us: int = 100) -> list[int]:
    """The channels of one pixel whose events are (t, p)."""
    packed = np.array([(t << 25) | p for t, p in sorted(events)], np.uint64)
    out = np.empty((1, encoder.channels, 1, 1), np.uint8)
    return encoder.encode(packed, start_us=0, slice_us=slice_us, out=out).ravel().tolist()


def test_binary_says_one_however_often() -> None:
    assert pixel(BinaryEncoder(), [(1, 1), (2, 1), (3, 1)]) == [0, 1]


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 1)), max_size=12), st.integers(1, 6))
def test_a_voxel_grid_weighs_events_by_their_distance_from_the_bins(events: list[tuple[int, int]], bins: int) -> None:
    found = np.reshape(pixel(VoxelEncoder(bins=bins, unit=20), events), (2, bins))
    expected = np.zeros((2, bins))
    for t, p in events:
        expected[p] += 20 * np.maximum(0, 1 - np.abs(np.arange(bins) - (bins - 1) * t / 100))
    assert np.abs(found - expected).max() <= 0.5 * len(events) + 1e-9
    assert found.sum() == 20 * len(events)


def test_a_time_surface_decays_from_the_last_event_to_the_end_of_the_slice() -> None:
    decay = pixel(TimeSurfaceEncoder(decay_us=20.0), [(10, 0), (80, 0), (30, 1)])
    assert decay == [round(255 * np.exp(-1)), round(255 * np.exp(-3.5))]
    assert pixel(TimeSurfaceEncoder(decay_us=1.0), [(0, 1)]) == [0, 1]
    assert pixel(TimeSurfaceEncoder(), [(50, 1)]) == [0, round(255 * np.exp(-1))]


def test_stacks_hold_the_last_whole_half_quarter_and_eighth() -> None:
    encoder = MixedDensityEncoder(stacks=4)
    assert pixel(encoder, [(0, 0)]) == [1, 0, 0, 0]
    assert pixel(encoder, [(49, 1)]) == [2, 0, 0, 0]
    assert pixel(encoder, [(50, 1)]) == [2, 2, 0, 0]
    assert pixel(encoder, [(80, 0), (99, 1)]) == [2, 2, 2, 2]


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="bins: found 0"):
        VoxelEncoder(bins=0)
    with pytest.raises(ConfigError, match="unit: found 256"):
        VoxelEncoder(unit=256)
    with pytest.raises(ConfigError, match="decay_us: found 0"):
        TimeSurfaceEncoder(decay_us=0.0)
    with pytest.raises(ConfigError, match="stacks: found 17"):
        MixedDensityEncoder(stacks=17)


def test_what_is_shown_of_a_voxel_grid_saturates_and_does_not_wrap() -> None:
    full = np.full((1, 8, 2, 3), 255, np.uint8)
    np.testing.assert_array_equal(VoxelEncoder(bins=4).off_on(full), full[:, :2])
