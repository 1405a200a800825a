"""Events into frames."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikeyolo.errors import ConfigError
from spikeyolo.windows.encoders import HistogramEncoder, scatter
from spikeyolo.windows.placement import Placement

WIDTH, HEIGHT = 20, 14


def pack(rows: np.ndarray) -> np.ndarray:
    """Rows of t, x, y, p to packed events, ordered by time."""
    rows = rows[np.argsort(rows[:, 0], kind="stable")].astype(np.uint64)
    return (rows[:, 0] << 25) | (rows[:, 2] << 13) | (rows[:, 1] << 1) | rows[:, 3]


@st.composite
def event_rows(draw: st.DrawFn) -> np.ndarray:
    count = draw(st.integers(0, 200))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    return np.stack(
        [
            rng.integers(0, 1_000, count),
            rng.integers(0, WIDTH, count),
            rng.integers(0, HEIGHT, count),
            rng.integers(0, 2, count),
        ],
        axis=1,
    ).reshape(-1, 4)


@given(event_rows(), st.integers(1, 6), st.integers(1, 200), st.integers(0, 500), st.integers(1, 3))
def test_a_frame_counts_the_events_of_its_own_slice_and_no_other(
    rows: np.ndarray, steps: int, slice_us: int, start: int, downsample: int
) -> None:
    encoder = HistogramEncoder(downsample=downsample)
    width, height = encoder.frame_size(WIDTH, HEIGHT)
    out = np.full((steps, 2, height, width), 7, np.uint8)
    encoder.encode(pack(rows), start_us=start, slice_us=slice_us, out=out)
    expected = np.zeros(out.shape, np.int64)
    for t, x, y, p in rows:
        k = (t - start) // slice_us
        if t >= start and k < steps:
            expected[k, p, y // downsample, x // downsample] += 1
    np.testing.assert_array_equal(out, np.minimum(expected, 255))


def test_counts_saturate_instead_of_wrapping() -> None:
    rows = np.tile(np.array([[5, 3, 2, 1]]), (100_000, 1))
    out = HistogramEncoder().encode(pack(rows), start_us=0, slice_us=10, out=np.empty((1, 2, HEIGHT, WIDTH), np.uint8))
    assert out[0, 1, 2, 3] == 255
    assert out.sum() == 255


@given(event_rows())
def test_flipping_twice_is_the_identity(rows: np.ndarray) -> None:
    encoder = HistogramEncoder()
    out = np.empty((4, 2, HEIGHT, WIDTH), np.uint8)
    plain = encoder.encode(pack(rows), start_us=0, slice_us=250, out=out).copy()
    mirror = Placement(scale_x=-1.0, offset_x=WIDTH)
    flipped = encoder.encode(pack(rows), start_us=0, slice_us=250, out=out, placement=mirror)
    np.testing.assert_array_equal(flipped[..., ::-1], plain)


@given(
    st.floats(0.3, 3), st.booleans(), st.floats(-5, 5), st.floats(-5, 5), st.integers(0, WIDTH - 1),
    st.integers(0, HEIGHT - 1), st.integers(0, 2**62),
)  # fmt: skip
def test_a_box_keeps_containing_the_event_it_contained(
    zoom: float, flip: bool, dx: float, dy: float, x: int, y: int, seed: int
) -> None:
    placement = Placement(-zoom if flip else zoom, zoom, dx + (WIDTH if flip else 0), dy, seed)
    rows = np.tile(np.array([[1, x, y, 0]]), (50, 1))
    out = np.empty((1, 2, 64, 80), np.uint8)
    HistogramEncoder().encode(pack(rows), start_us=0, slice_us=10, out=out, placement=placement)
    left, top, right, bottom = placement.boxes(np.array([[x, y, x + 1, y + 1]], np.float32))[0]
    _, _, rows_hit, columns_hit = np.nonzero(out)
    assert np.all(columns_hit >= np.floor(left - 1e-3))
    assert np.all(columns_hit <= right + 1e-3)
    assert np.all(rows_hit >= np.floor(top - 1e-3))
    assert np.all(rows_hit <= bottom + 1e-3)


def test_a_downsampling_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="downsample: found 0"):
        HistogramEncoder(downsample=0)


@given(
    event_rows(), st.floats(0.1, 3), st.floats(0.1, 3), st.booleans(), st.floats(-9, 9), st.floats(-9, 9),
    st.integers(1, 40), st.integers(1, 30),
)  # fmt: skip
def test_landing_by_two_tables_is_landing_pixel_by_pixel(
    rows: np.ndarray, zoom_x: float, zoom_y: float, flip: bool, dx: float, dy: float, width: int, height: int
) -> None:
    placement = Placement(-zoom_x if flip else zoom_x, zoom_y, dx + (WIDTH if flip else 0), dy)
    packed = pack(rows)
    moved = scatter.moved(packed, placement.geometry, np.uint64(0), width, height)
    frames = []
    for events, where in ((packed, placement), (moved, Placement())):
        frames.append(np.zeros((3, 2, height, width), np.uint8))
        slices = scatter.edges(events, 100, 250, 3)
        scatter.histogram(events, slices, frames[-1], *scatter.tables(where.geometry, width, height))
    np.testing.assert_array_equal(*frames)


@pytest.mark.parametrize("downsample", range(1, 40))
def test_every_pixel_of_the_largest_sensor_lands_in_its_square(downsample: int) -> None:
    side = -(-scatter.SIDE // downsample)
    columns, rows = scatter.tables(HistogramEncoder(downsample=downsample).placement().geometry, side, side)
    square = np.arange(scatter.SIDE) // downsample
    np.testing.assert_array_equal(columns, square)
    np.testing.assert_array_equal(rows, square * side)


def test_an_output_that_lies_in_pieces_is_refused() -> None:
    out = np.empty((2, 2, HEIGHT, 2 * WIDTH), np.uint8)[..., ::2]
    with pytest.raises(ValueError, match="in pieces; expected"):
        HistogramEncoder().encode(np.empty(0, np.uint64), start_us=0, slice_us=10, out=out)
