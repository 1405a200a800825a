"""Events in boxes are those that a plain comparison counts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeyolo.evaluation.inside import count_inside
from spikeyolo.events import packing

SIDE = 12  # px
# On pixels, between them, and outside the sensor.
EDGE = st.one_of(st.integers(-2, SIDE + 3), st.floats(-2, SIDE + 3, width=32))
SPAN = st.tuples(EDGE, EDGE).map(sorted)


def plainly(x: npt.NDArray[np.int64], y: npt.NDArray[np.int64], xyxy: npt.NDArray[np.float32]) -> list[int]:
    return [
        int(((x >= left) & (x < right) & (y >= top) & (y < bottom)).sum()) for left, top, right, bottom in xyxy.tolist()
    ]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, SIDE - 1), st.integers(0, SIDE - 1)), max_size=60),
    st.lists(st.tuples(SPAN, SPAN), min_size=1, max_size=6),
)
def test_events_in_boxes_are_those_of_the_plain_count(
    places: list[tuple[int, int]], boxes: list[tuple[list[float], list[float]]]
) -> None:
    x, y = np.array(places, np.int64).reshape(-1, 2).T
    nothing = np.zeros(len(x), np.int64)
    xyxy = np.array([(left, top, right, bottom) for (left, right), (top, bottom) in boxes], np.float32)
    assert count_inside(packing.words(nothing, x, y, nothing + 1), xyxy).tolist() == plainly(x, y, xyxy)


def test_the_last_pixel_of_the_largest_sensor_is_counted() -> None:
    last = np.array([packing.MAX_SIDE - 1])
    box = np.array([[4094.5, 0, 4096, 4096], [0, 0, 4095, 4096]], np.float32)
    assert count_inside(packing.words(last, last, last, last * 0), box).tolist() == [1, 0]
