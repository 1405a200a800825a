"""Labels stand inside the picture and, where there is room, not over one another."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from spikeyolo.report.pictures.labels import label_corners


@given(
    arrays(float, st.tuples(st.integers(0, 30), st.just(2)), elements=st.floats(-20, 320)),
    st.floats(10, 60),
    st.floats(5, 12),
)
def test_every_label_lies_inside_the_picture(places: np.ndarray, width: float, height: float) -> None:
    boxes = np.concatenate((places, places + 15), axis=1)
    corners = label_corners(boxes, np.tile([width, height], (len(boxes), 1)), width=300, height=200)
    assert corners.shape == (len(boxes), 2)
    assert (corners >= 0).all()
    assert (corners + np.array([width, height]) <= np.array([300, 200]) + 1e-9).all()


@given(st.integers(2, 12))
def test_labels_of_boxes_at_one_place_do_not_cover_one_another(count: int) -> None:
    boxes = np.tile([100.0, 80.0, 140.0, 120.0], (count, 1))
    corners = label_corners(boxes, np.tile([30.0, 8.0], (count, 1)), width=300, height=200)
    apart = np.abs(corners[:, None] - corners[None])
    separate = (apart[..., 0] >= 30 - 1e-9) | (apart[..., 1] >= 8 - 1e-9)
    assert separate[~np.eye(count, dtype=bool)].all()


def test_a_label_stands_above_its_box_or_below_where_it_is_asked_to() -> None:
    box = np.array([[100.0, 80.0, 140.0, 120.0]])
    size = np.array([[30.0, 8.0]])
    assert label_corners(box, size, width=300, height=200).tolist() == [[100.0, 72.0]]
    assert label_corners(box, size, width=300, height=200, below=[True]).tolist() == [[100.0, 120.0]]


def test_a_label_larger_than_the_picture_starts_at_its_corner() -> None:
    corners = label_corners(np.array([[5.0, 5, 9, 9]]), np.array([[90.0, 20.0]]), width=50, height=10)
    assert corners.tolist() == [[0.0, 0.0]]
