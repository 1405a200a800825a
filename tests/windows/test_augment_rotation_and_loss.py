"""Rotation, time jitter, and the events that an augmentation leaves out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikeyolo.windows.augment import Augmentation
from spikeyolo.windows.encoders import HistogramEncoder
from spikeyolo.windows.placement import Placement

WIDTH, HEIGHT = 48, 32
LOSSES = {"event_drop": 0.5, "drop_area": 0.5, "drop_time": 0.5, "contrast": 0.5}


def events(seed: int, count: int = 300) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(5_000, 6_000, count)).astype(np.uint64)
    x, y, p = (rng.integers(a, b, count).astype(np.uint64) for a, b in ((10, 30), (8, 20), (0, 2)))
    return np.sort((t << np.uint64(25)) | (y << np.uint64(13)) | (x << np.uint64(1)) | p)


@given(st.integers(0, 10_000))
def test_a_box_holds_what_it_held_after_any_geometry(seed: int) -> None:
    rng = np.random.default_rng(seed)
    augmentation = Augmentation(flip=0.5, zoom_min=0.4, zoom_max=2.5, shift=0.4, rotation=45.0, drop_area=0.3)
    packed = augmentation.events(events(seed), rng, width=WIDTH, height=HEIGHT)
    placement = augmentation.place(Placement(0.5, 0.5), WIDTH // 2, HEIGHT // 2, rng)
    out = np.empty((1, 2, HEIGHT // 2, WIDTH // 2), np.uint8)
    HistogramEncoder().encode(packed, start_us=5_000, slice_us=1_000, out=out, placement=placement)
    left, top, right, bottom = placement.boxes(np.array([[10, 8, 30, 20]], np.float32))[0]
    _, _, rows, columns = np.nonzero(out)
    assert np.all((columns >= np.floor(left - 1e-3)) & (columns <= right + 1e-3))
    assert np.all((rows >= np.floor(top - 1e-3)) & (rows <= bottom + 1e-3))


@given(st.integers(0, 1_000))
def test_a_rotation_is_about_the_centre_and_keeps_lengths(seed: int) -> None:
    placement = Augmentation(rotation=45.0).place(Placement(), WIDTH, HEIGHT, np.random.default_rng(seed))
    matrix = np.array([[placement.scale_x, placement.shear_x], [placement.shear_y, placement.scale_y]])
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(2), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1)
    assert abs(np.arctan2(placement.shear_y, placement.scale_x)) <= np.pi / 4
    center = np.array([[WIDTH / 2, HEIGHT / 2] * 2], np.float32)
    np.testing.assert_allclose(placement.boxes(center), center, atol=1e-4)


@given(st.integers(0, 1_000))
def test_flipping_twice_is_the_identity(seed: int) -> None:
    base = Placement(0.5, 0.5)
    flip = Augmentation(flip=1.0)
    once = flip.place(base, WIDTH, HEIGHT, np.random.default_rng(seed))
    twice = flip.place(once, WIDTH, HEIGHT, np.random.default_rng(seed))
    assert twice.geometry == pytest.approx(base.geometry)


@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize("seed", range(10))
def test_what_is_left_out_is_a_part_and_the_rest_stays_as_it_was(name: str, seed: int) -> None:
    packed = events(seed)
    augmentation = Augmentation(**{name: LOSSES[name]})
    kept = augmentation.events(packed, np.random.default_rng(seed), width=WIDTH, height=HEIGHT)
    assert len(kept) <= len(packed)
    assert np.isin(kept, packed).all()
    assert np.all(np.diff(kept.astype(np.int64)) >= 0)


def test_a_time_drop_leaves_out_one_stretch_and_an_area_drop_one_rectangle() -> None:
    packed = np.unique(events(0, 5_000))
    lost = np.setdiff1d(
        packed, Augmentation(drop_time=0.9).events(packed, np.random.default_rng(3), width=48, height=32)
    )
    inside = (packed >> np.uint64(25) >= lost[0] >> np.uint64(25)) & (
        packed >> np.uint64(25) <= lost[-1] >> np.uint64(25)
    )
    np.testing.assert_array_equal(packed[inside], lost)
    kept = Augmentation(drop_area=0.9).events(packed, np.random.default_rng(3), width=48, height=32)
    lost = np.setdiff1d(packed, kept)
    (lx, ly), (kx, ky) = (
        ((e >> np.uint64(1)) & np.uint64(4095), (e >> np.uint64(13)) & np.uint64(4095)) for e in (lost, kept)
    )
    assert len(lost)
    assert not np.any((kx >= lx.min()) & (kx <= lx.max()) & (ky >= ly.min()) & (ky <= ly.max()))


@given(st.integers(0, 1_000), st.integers(1, 3_000))
def test_jittered_events_stay_ordered_near_and_within_the_window(seed: int, jitter: int) -> None:
    packed = events(seed)
    moved = Augmentation(time_jitter_us=jitter).events(packed, np.random.default_rng(seed), width=WIDTH, height=HEIGHT)
    pixels, shift = np.uint64(2**25 - 1), np.uint64(25)
    np.testing.assert_array_equal(np.sort(moved & pixels), np.sort(packed & pixels))
    t, before = (moved >> shift).astype(np.int64), (packed >> shift).astype(np.int64)
    assert np.all(np.diff(t) >= 0)
    assert t[0] >= before[0]
    assert t[-1] <= before[-1]
    assert np.abs(t - before).max() <= jitter  # sorting both keeps the largest distance


def test_no_events_are_no_trouble() -> None:
    every = Augmentation(**LOSSES, time_jitter_us=5, noise=0.5, polarity_flip=1.0, rotation=5.0)
    assert len(every.events(np.empty(0, np.uint64), np.random.default_rng(0), width=WIDTH, height=HEIGHT)) == 0


@given(st.integers(0, 1_000))
def test_what_is_off_draws_no_random_numbers(seed: int) -> None:
    # The draws of augment=light in their order, which trained results depend on.
    light = Augmentation(flip=0.5, zoom_min=0.8, zoom_max=1.25, shift=0.1, event_drop=0.1)
    rng, oracle = np.random.default_rng(seed), np.random.default_rng(seed)
    packed = events(seed)
    kept = light.events(packed, rng, width=WIDTH, height=HEIGHT)
    share = oracle.uniform(0.0, 0.1)
    np.testing.assert_array_equal(kept, packed[oracle.random(len(packed)) >= share])
    placement = light.place(Placement(), WIDTH, HEIGHT, rng)
    mirror = -1.0 if oracle.random() < 0.5 else 1.0
    zoom = float(np.exp(oracle.uniform(np.log(0.8), np.log(1.25))))
    oracle.uniform(-0.1, 0.1, 2)
    assert (placement.scale_x, placement.scale_y) == (mirror * zoom, zoom)
    assert placement.seed == oracle.integers(1, 2**63)
    assert (placement.shear_x, placement.shear_y) == (0.0, 0.0)
