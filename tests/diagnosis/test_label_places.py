"""Foliage, lamps and boxes drawn too small are no fault of the labels: what boxes follow counts, not where they lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from stored import store

from spikeyolo.diagnosis.finding import Finding
from spikeyolo.diagnosis.labels.check import check_labels
from spikeyolo.diagnosis.labels.density import Stretch
from spikeyolo.diagnosis.labels.places import moments
from spikeyolo.diagnosis.labels.stretches import cut
from spikeyolo.diagnosis.written import Written
from spikeyolo.events.types import Boxes, Events

SIDE, END_US = 96, 2_000_000
LEFT, TOP, SIZE = 5, 66, 20  # of the box at first
TRAVEL = 66  # px to the right and back
Places = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]


def left(t: np.ndarray) -> np.ndarray:
    """Of the object's box, px: it goes to the right and comes back, so that no shift in time is like another place."""
    return LEFT + TRAVEL * np.sin(np.pi * t / END_US) ** 2


def outline(generator: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Places on the object's four sides, and a third all over it, from its corner, px."""
    along, across = generator.uniform(0, SIZE, (2, count))
    side = generator.integers(0, 6, count)
    first, last = np.full(count, 0.5), np.full(count, SIZE - 1.0)
    x = np.choose(side, [first, last, along, along, along, along])
    y = np.choose(side, [along, along, first, last, across, across])
    return x, y


def street(
    folder: Path, *, made: int = 20_000, foliage: int = 0, noise: int = 0, drawn: float = 1.0, lies: float = 0.0
) -> list[Written]:
    """An object that moves, below what stands.

    Args:
        made: events of the object.
        noise: events all over the sensor.
        foliage: events in the rows above it, mirrored at the middle, all along.
        drawn: size of the boxes, as a share of the object's, about its middle.
        lies: the boxes are so much lower than the object, px.
    """
    generator = np.random.default_rng(0)
    t = np.sort(generator.integers(0, END_US, made + foliage + noise))
    t[0], t[-1] = 0, END_US - 1
    dx, dy = outline(generator, len(t))
    x, y = left(t) + dx, TOP + dy
    waving, dark, _ = np.split(generator.permutation(len(t)), [foliage, foliage + noise])
    x[waving], y[waving] = generator.uniform(0, SIDE, foliage), generator.uniform(8, 32, foliage)
    x[dark], y[dark] = generator.uniform(0, SIDE, (2, noise))
    p = generator.integers(0, 2, len(t)).astype(np.uint8)
    events = Events(t, x.astype(np.uint16), y.astype(np.uint16), p, SIDE, SIDE)
    looks = np.arange(10_000, END_US, 10_000)
    corner, end = SIZE * (1 - drawn) / 2, SIZE * (1 + drawn) / 2
    x0 = left(looks)
    top = np.full(len(looks), TOP + lies)
    xyxy = np.stack([x0 + corner, top + corner, x0 + end, top + end], axis=1).astype(np.float32)
    rows = len(looks)
    boxes = Boxes(looks, xyxy, np.zeros(rows, np.int64), np.zeros(rows, np.int64), np.ones(rows, np.float32))
    return [Written("a", store(folder / "a.zarr", events), boxes)]


def found(recordings: list[Written]) -> list[Finding]:
    return check_labels(recordings, current=None, origin="files", steps_us=10_000).section.findings


def stretch(folder: Path) -> list[Stretch]:
    return cut(street(folder), bin_us=1000)


def test_boxes_that_would_lie_on_foliage_if_they_were_flipped_are_not_flipped(tmp_path: Path) -> None:
    assert [one.sentence for one in found(street(tmp_path, foliage=200_000))] == []


def test_boxes_that_follow_few_of_the_events_are_not_unrelated(tmp_path: Path) -> None:
    assert [one.sentence for one in found(street(tmp_path, foliage=500_000))] == []


def test_boxes_are_held_against_what_moves_under_the_noise_of_a_night(tmp_path: Path) -> None:
    night = {"made": 4000, "noise": 300_000}
    assert found(street(tmp_path / "a", **night)) == []
    upside_down = street(tmp_path / "b", **night, lies=SIDE - SIZE - 2.0 * TOP)
    assert [one.name for one in found(upside_down)] == ["flipped"]


def test_boxes_drawn_too_small_lie_not_beside_their_objects(tmp_path: Path) -> None:
    assert [one.sentence for one in found(street(tmp_path, drawn=0.8))] == []


def test_boxes_beside_their_objects_are_found_where_nothing_else_moves(tmp_path: Path) -> None:
    (one,) = found(street(tmp_path, lies=10.0))
    assert one.name == "offset"


def test_boxes_that_follow_have_the_events_and_those_of_another_moment_do_not(tmp_path: Path) -> None:
    seen = moments(stretch(tmp_path))
    assert seen.told
    assert seen.ratio > 10


def test_boxes_and_those_of_the_other_moment_cover_equal_places(tmp_path: Path) -> None:
    everywhere = np.random.default_rng(1)
    recordings = street(tmp_path)
    e = recordings[0].recording.slice(0, END_US)
    x, y = everywhere.integers(0, SIDE, (2, len(e))).astype(np.uint16)
    even = store(tmp_path / "even.zarr", Events(e.t, x, y, e.p, SIDE, SIDE))
    seen = moments(cut([Written("a", even, recordings[0].boxes)], bin_us=1000))
    assert seen.told
    assert seen.ratio == pytest.approx(1.0, abs=0.1)
