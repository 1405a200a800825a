"""Every augmentation changes something, and the box that held the events still does."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikeyolo.events import packing
from spikeyolo.windows.augment import Augmentation
from spikeyolo.windows.encoders import HistogramEncoder
from spikeyolo.windows.placement import Placement

WIDTH, HEIGHT = 48, 32
# What each setting must change: the events (their number, times, polarity or place) or where they land.
CHANGES = {
    "flip": ({"flip": 1.0}, "place"),
    "zoom_min": ({"zoom_min": 0.5}, "place"),
    "zoom_max": ({"zoom_max": 2.0}, "place"),
    "shift": ({"shift": 0.3}, "place"),
    "rotation": ({"rotation": 10.0}, "place"),
    "event_drop": ({"event_drop": 0.5}, "fewer"),
    "drop_area": ({"drop_area": 0.5}, "fewer"),
    "drop_time": ({"drop_time": 0.5}, "fewer"),
    "contrast": ({"contrast": 0.5}, "fewer"),
    "time_jitter_us": ({"time_jitter_us": 50}, "times"),
    "polarity_flip": ({"polarity_flip": 1.0}, "polarity"),
    "noise": ({"noise": 0.5}, "more"),
}


def events(seed: int) -> packing.Packed:
    """Events in a rectangle of the sensor, [10, 30) × [8, 20)."""
    rng = np.random.default_rng(seed)
    columns = [rng.integers(low, high, 2_000) for low, high in ((0, 1_000), (10, 30), (8, 20), (0, 2))]
    return np.sort(packing.words(*columns))


def test_no_setting_is_left_out_of_the_law() -> None:
    assert set(CHANGES) == {field.name for field in fields(Augmentation)} - {"min_visible"}


@pytest.mark.parametrize("name", CHANGES)
def test_every_augmentation_changes_what_it_says_and_nothing_else(name: str) -> None:
    settings, what = CHANGES[name]
    seen = set()
    for seed in range(5):
        rng, packed = np.random.default_rng(seed), events(seed)
        changed = Augmentation(**settings).events(packed, rng, width=WIDTH, height=HEIGHT)  # type: ignore[arg-type]
        placement = Augmentation(**settings).place(Placement(), WIDTH, HEIGHT, rng)  # type: ignore[arg-type]
        if placement.geometry != Placement().geometry:
            seen.add("place")
        if len(changed) != len(packed):
            seen.add("fewer" if len(changed) < len(packed) else "more")
            kept, whole = sorted((changed, packed), key=len)
            assert np.isin(kept, whole).all()
        else:
            seen |= {"times"} if (packing.times(changed) != packing.times(packed)).any() else set()
            seen |= {"polarity"} if np.sum(changed & np.uint64(1)) != np.sum(packed & np.uint64(1)) else set()
    assert seen == {what}


def test_contrast_leaves_out_on_and_off_by_shares_of_their_own() -> None:
    shares = []
    for seed in range(20):
        packed = events(seed)
        kept = Augmentation(contrast=0.9).events(packed, np.random.default_rng(seed), width=WIDTH, height=HEIGHT)
        shares.append([np.sum((kept & np.uint64(1)) == p) / np.sum((packed & np.uint64(1)) == p) for p in (0, 1)])
    off, on = np.array(shares).T
    assert off.min() < 0.3
    assert on.min() < 0.3
    assert np.abs(off - on).max() > 0.3


@given(st.integers(0, 10_000))
def test_a_box_holds_its_events_under_all_augmentations_together(seed: int) -> None:
    every = {key: value for settings, _ in CHANGES.values() for key, value in settings.items()} | {"noise": 0.0}
    rng = np.random.default_rng(seed)
    packed = Augmentation(**every).events(events(seed), rng, width=WIDTH, height=HEIGHT)  # type: ignore[arg-type]
    placement = Augmentation(**every).place(Placement(), WIDTH, HEIGHT, rng)  # type: ignore[arg-type]
    out = np.empty((1, 2, HEIGHT, WIDTH), np.uint8)
    HistogramEncoder().encode(packed, start_us=0, slice_us=1_000, out=out, placement=placement)
    left, top, right, bottom = placement.boxes(np.array([[10, 8, 30, 20]], np.float32))[0]
    _, _, rows, columns = np.nonzero(out)
    assert np.all((columns >= np.floor(left - 1e-3)) & (columns <= right + 1e-3))
    assert np.all((rows >= np.floor(top - 1e-3)) & (rows <= bottom + 1e-3))
