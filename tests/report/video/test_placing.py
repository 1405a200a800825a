"""Labels lie inside the picture, never upon one another, and stay on their side of a box."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from spikeyolo.report.video.overlap import overlaps
from spikeyolo.report.video.placing import Follower, LabelPlacer

SIZES = np.array([[90.0, 14.0], [20.0, 14.0]])


def rectangles(forms: np.ndarray, corners: np.ndarray) -> np.ndarray:
    shown = forms >= 0
    return np.concatenate((corners[shown], corners[shown] + SIZES[forms[shown]]), axis=1)


@given(
    st.sampled_from([(304, 240), (346, 260), (1280, 720), (80, 20)]),
    arrays(float, st.tuples(st.integers(1, 40), st.just(2)), elements=st.floats(-0.2, 1.2)),
    arrays(float, (40, 2), elements=st.floats(-8, 8)),
)
def test_labels_lie_inside_the_picture_and_never_upon_one_another(
    size: tuple[int, int], places: np.ndarray, steps: np.ndarray
) -> None:
    width, height = size
    corner = np.array([[0.0, 0.0, 60.0, 18.0]])
    placer = LabelPlacer(width=width, height=height, taken=corner)
    start = places * np.array([width, height])
    for picture in range(6):
        low = start + picture * steps[: len(start)]
        boxes = np.concatenate((low, low + 25.0), axis=1)
        forms, corners = placer.place(range(len(boxes)), boxes, np.tile(SIZES, (len(boxes), 1, 1)))
        found = rectangles(forms, corners)
        assert (found >= 0).all()
        assert (found <= np.array([width, height, width, height])).all()
        everything = np.concatenate((corner, found))
        low, high = (
            np.maximum(everything[:, None, :2], everything[None, :, :2]),
            np.minimum(everything[:, None, 2:], everything[None, :, 2:]),
        )
        common = np.clip(high - low, 0, None).prod(-1)
        assert common[~np.eye(len(everything), dtype=bool)].sum() == 0


def test_a_label_moves_with_its_box_and_not_around_it() -> None:
    placer = LabelPlacer(width=600, height=400)
    relative = []
    for picture in range(60):
        box = np.array([[100.0 + 3 * picture, 100 + picture, 160 + 3 * picture, 150 + picture]])
        forms, corners = placer.place(["car"], box, SIZES[None])
        assert forms.tolist() == [0]
        relative.append(tuple(corners[0] - box[0, :2]))
    assert set(relative) == {(0, -14)}


def test_where_two_boxes_pass_the_label_that_was_there_first_stays_and_the_other_jumps_twice_at_most() -> None:
    placer = LabelPlacer(width=600, height=400)
    sides: dict[int, list[tuple[float, float]]] = {0: [], 1: []}
    for picture in range(100):
        first = np.array([200.0, 200, 260, 240])
        second = np.array([50.0 + 4 * picture, 205, 110 + 4 * picture, 245])
        forms, corners = placer.place([0, 1], np.stack([first, second]), np.tile(SIZES, (2, 1, 1)))
        assert (forms == 0).all()
        for key, box in enumerate((first, second)):
            sides[key].append(tuple(corners[key] - box[:2]))
    assert len(set(sides[0])) == 1
    jumps = sum(a != b for a, b in pairwise(sides[1]))
    assert 1 <= jumps <= 2


def test_forty_objects_that_wander_have_their_labels_nearly_always_and_these_seldom_jump() -> None:
    generator = np.random.default_rng(0)
    width, height, count, pictures = 912, 720, 40, 150
    size = generator.uniform(40, 110, (count, 2))
    span = np.array([width, height]) - size
    start, speed = generator.uniform(0, 1, (count, 2)) * span, generator.uniform(-3, 3, (count, 2))
    placer = LabelPlacer(width=width, height=height)
    states, jumps, left_out = [None] * count, 0, 0
    for picture in range(pictures):
        low = span - np.abs((start + speed * picture) % (2 * span) - span)
        boxes = np.concatenate((low, low + size), axis=1)
        forms, _ = placer.place(range(count), boxes, np.tile(SIZES, (count, 1, 1)))
        now = [(placer._places[key].form, placer._places[key].spot) for key in range(count)]
        jumps += sum(before is not None and before != after for before, after in zip(states, now, strict=True))
        states, left_out = now, left_out + int((forms < 0).sum())
    assert left_out / (count * pictures) < 0.02
    assert jumps / (count * pictures) < 0.02  # less than one jump in 50 pictures (1.7 s) a label


def test_a_label_that_had_to_be_short_does_not_change_its_form_with_every_gap() -> None:
    placer = LabelPlacer(width=200, height=60)
    wall = np.array([0.0, 0.0, 165.0, 1.0])
    forms = []
    for picture in range(100):
        # an older label that leaves room for the long form in every second picture, and for the short one in all
        sizes = np.stack([np.array([[200.0, 30.0] if picture % 2 else [165.0, 60.0]] * 2), SIZES])
        taken = placer.place(["wall", "car"], np.stack([wall, np.array([170.0, 40, 190, 59])]), sizes)
        forms.append(int(taken[0][1]))
    changes = sum(a != b for a, b in pairwise(forms))
    assert set(forms) == {0, 1}
    assert changes <= 10  # it tries anew every 20 pictures


def test_a_label_that_fits_nowhere_is_left_out_and_comes_back() -> None:
    placer = LabelPlacer(width=100, height=20, taken=np.array([[0, 0, 100, 20]]))
    forms, _ = placer.place(["a"], np.array([[10.0, 5, 20, 10]]), SIZES[None])
    assert forms.tolist() == [-1]
    narrow = LabelPlacer(width=30, height=40)
    assert narrow.place(["a"], np.array([[10.0, 15, 20, 20]]), SIZES[None])[0].tolist() == [1]


def test_boxes_keep_their_names_by_track_or_by_overlap() -> None:
    follower = Follower()
    boxes = np.array([[0.0, 0, 10, 10], [50, 0, 60, 10], [100, 0, 110, 10]])
    classes, none = np.array([0, 0, 1]), np.array([-1, -1, 5])
    first = follower.names(boxes, classes, none)
    assert len(set(first)) == 3
    assert first[2] == 5
    moved = boxes[[1, 0, 2]] + 2
    assert follower.names(moved, classes[[1, 0, 2]], none) == [first[1], first[0], 5]
    other_class = follower.names(moved, 1 - classes[[1, 0, 2]], none)
    assert other_class[0] not in first


def test_overlap_is_intersection_over_union() -> None:
    found = overlaps(np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 0, 3, 2], [0, 0, 2, 2], [5, 5, 6, 6], [1, 1, 1, 1]]))
    assert np.allclose(found, [[1 / 3, 1.0, 0.0, 0.0]])
