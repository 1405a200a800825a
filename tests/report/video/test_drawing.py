"""Lines and words are where they should be, pixel by pixel, and never outside the picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikeyolo.report.video.drawing import outline, trail, word, write, write_on_plate

WHITE = (255, 255, 255)


def blank(rows: int = 30, columns: int = 40) -> np.ndarray:
    return np.zeros((rows, columns, 3), np.uint8)


def test_an_outline_is_the_boxes_edge() -> None:
    picture = blank()
    outline(picture, np.array([5.2, 3.0, 15.0, 11.4]), WHITE)
    expected = np.zeros((30, 40), bool)
    expected[3:11, 5:15] = True
    expected[4:10, 6:14] = False
    assert (picture[..., 0].astype(bool) == expected).all()


def test_a_thick_outline_grows_inwards() -> None:
    picture = blank()
    outline(picture, np.array([5, 3, 15, 11]), WHITE, thickness=2)
    expected = np.zeros((30, 40), bool)
    expected[3:11, 5:15] = True
    expected[5:9, 7:13] = False
    assert (picture[..., 0].astype(bool) == expected).all()


def test_a_dashed_outline_has_gaps_of_4_after_dashes_of_5() -> None:
    picture = blank()
    outline(picture, np.array([2, 4, 32, 24]), WHITE, dashed=True)
    top = picture[4, 2:32, 0] > 0
    assert top.tolist() == [i % 9 < 5 for i in range(30)]
    left = picture[4:24, 2, 0] > 0
    assert left[1:-1].tolist() == [i % 9 < 5 for i in range(1, 19)]


@given(
    st.tuples(*[st.floats(-60, 100)] * 4),
    st.integers(1, 3),
    st.booleans(),
)
def test_what_leaves_the_picture_is_cut_off_and_the_rest_stays(
    box: tuple[float, float, float, float], thickness: int, dashed: bool
) -> None:
    large = np.zeros((300, 300, 3), np.uint8)
    small = large[120:150, 120:160].copy()
    xyxy = np.array([min(box[0], box[2]), min(box[1], box[3]), max(box[0], box[2]), max(box[1], box[3])]).round()
    outline(large, xyxy + 120, WHITE, thickness=thickness, dashed=dashed)
    outline(small, xyxy, WHITE, thickness=thickness, dashed=dashed)
    assert (small == large[120:150, 120:160]).all()


@given(st.integers(-80, 80), st.integers(-40, 60), st.sampled_from(["car 0.87", "#12", "Ågé jpq|"]))
def test_words_are_cut_at_the_edge(left: int, top: int, text: str) -> None:
    mask = word(text, 12)
    large = np.zeros((300, 300, 3), np.uint8)
    write(large, mask, left + 120, top + 120, WHITE)
    small = blank()
    write(small, mask, left, top, WHITE)
    assert (small == large[120:150, 120:160]).all()


def test_words_of_one_size_have_one_height_and_digits_one_width() -> None:
    assert {word(text, 12).shape[0] for text in ("a", "jgÅ", "#12 car 0.87")} == {14}
    assert len({word(f"0.{k}{k}", 12).shape[1] for k in range(10)}) == 1
    assert word("car", 12).max() > 200


def test_words_lie_on_a_plate_that_lets_little_through() -> None:
    picture = np.full((30, 120, 3), 255, np.uint8)
    mask = word("car", 12)
    write_on_plate(picture, mask, 10, 8, (255, 0, 0), (0, 0, 0))
    rows = len(mask)
    assert picture[7, 7].tolist() == [56, 56, 56]  # 22 % of white
    assert (picture[6] == 255).all()
    assert (picture[:, 6] == 255).all()
    assert (picture[8 + rows + 1] == 255).all()
    strongest = np.unravel_index(mask.argmax(), mask.shape)
    assert picture[8 + strongest[0], 10 + strongest[1], 0] > 0.7 * float(mask.max())


@pytest.mark.parametrize("slope", [0.0, 0.3, 1.0, 4.0])
def test_a_trail_goes_through_its_points_and_fades_to_its_start(slope: float) -> None:
    picture = blank(60, 60)
    x = np.linspace(5.5, 5.5 + 40 / (1 + slope), 12)
    points = np.stack([x, 5.5 + slope * (x - 5.5)], 1)
    trail(picture, points, np.linspace(0, 1, 12), WHITE)
    lit = picture[..., 0] > 20
    rows, columns = np.nonzero(lit)
    distance = np.abs((columns + 0.5 - 5.5) * slope - (rows + 0.5 - 5.5)) / np.hypot(1, slope)
    assert distance.max() < 1.4
    middles = (points[1:] + points[:-1]) / 2
    light = [picture[int(y), int(x), 0] for x, y in middles]
    assert light[-1] > 140
    assert light[0] < 40
    assert light[8] > light[4] > light[1]


def test_a_trail_of_one_point_is_nothing() -> None:
    picture = blank()
    trail(picture, np.array([[5.0, 5.0]]), np.ones(1), WHITE)
    assert not picture.any()
