"""Events and boxes are changed together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikeyolo.errors import ConfigError
from spikeyolo.windows.augment import Augmentation
from spikeyolo.windows.encoders import HistogramEncoder
from spikeyolo.windows.placement import Placement

WIDTH, HEIGHT = 48, 32


def events(seed: int, count: int = 300) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, 1_000, count)).astype(np.uint64)
    x = rng.integers(10, 30, count).astype(np.uint64)
    y = rng.integers(8, 20, count).astype(np.uint64)
    return (
        (t << np.uint64(25)) | (y << np.uint64(13)) | (x << np.uint64(1)) | rng.integers(0, 2, count).astype(np.uint64)
    )


@given(st.integers(0, 1_000), st.integers(0, 1_000))
def test_the_same_generator_draws_the_same_change(seed: int, window: int) -> None:
    strong = Augmentation(flip=0.5, zoom_min=0.5, zoom_max=2.0, shift=0.2, event_drop=0.3, polarity_flip=0.5, noise=0.1)
    packed = events(window)
    results = []
    for _ in range(2):
        rng = np.random.default_rng([seed, window])
        changed = strong.events(packed, rng, width=WIDTH, height=HEIGHT)
        results.append((changed, strong.place(Placement(), WIDTH, HEIGHT, rng)))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]


@given(st.integers(0, 10_000))
def test_a_box_around_all_events_holds_all_events_that_stay_in_the_frame(seed: int) -> None:
    rng = np.random.default_rng(seed)
    augmentation = Augmentation(flip=0.5, zoom_min=0.4, zoom_max=2.5, shift=0.4, event_drop=0.5, polarity_flip=0.5)
    packed = augmentation.events(events(seed), rng, width=WIDTH, height=HEIGHT)
    placement = augmentation.place(Placement(), WIDTH, HEIGHT, rng)
    out = np.empty((2, 2, HEIGHT, WIDTH), np.uint8)
    HistogramEncoder().encode(packed, start_us=0, slice_us=500, out=out, placement=placement)
    box = placement.boxes(np.array([[10, 8, 30, 20]], np.float32))
    _, _, rows, columns = np.nonzero(out)
    assert np.all((columns >= np.floor(box[0, 0])) & (columns <= box[0, 2]))
    assert np.all((rows >= np.floor(box[0, 1])) & (rows <= box[0, 3]))


def test_no_augmentation_changes_nothing() -> None:
    none, rng = Augmentation(), np.random.default_rng(0)
    np.testing.assert_array_equal(none.events(events(1), rng, width=WIDTH, height=HEIGHT), events(1))
    assert none.place(Placement(0.5, 0.5), WIDTH, HEIGHT, rng) == Placement(0.5, 0.5)


def test_a_polarity_flip_exchanges_on_and_off_and_nothing_else() -> None:
    changed = Augmentation(polarity_flip=1.0).events(events(1), np.random.default_rng(0), width=WIDTH, height=HEIGHT)
    np.testing.assert_array_equal(changed ^ np.uint64(1), events(1))


@given(st.integers(0, 1_000))
def test_noise_keeps_the_order_of_time_and_the_sensor(seed: int) -> None:
    augmentation = Augmentation(noise=1.0)
    changed = augmentation.events(events(seed), np.random.default_rng(seed), width=WIDTH, height=HEIGHT)
    assert np.all(np.diff((changed >> np.uint64(25)).astype(np.int64)) >= 0)
    assert np.all((changed >> np.uint64(1)) & np.uint64(0xFFF) < WIDTH)
    assert np.all((changed >> np.uint64(13)) & np.uint64(0xFFF) < HEIGHT)
    assert set(events(seed)) <= set(changed)


def test_a_box_that_hardly_shows_is_no_target() -> None:
    xyxy = np.array([[-9, 0, 1, 10], [-2, 0, 8, 10], [50, 0, 60, 10]], np.float32)
    clipped, keep = Augmentation(min_visible=0.25).visible(xyxy, WIDTH, HEIGHT)
    assert list(keep) == [False, True, False]
    assert list(clipped[1]) == [0, 0, 8, 10]


def test_a_zoom_turned_round_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"augment.zoom_min: found 2.0; expected at most zoom_max \(1.0\)"):
        Augmentation(zoom_min=2.0)
