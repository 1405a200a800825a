"""Events appear at their pixel, in the colour of their sign, and fade as exp(-age / decay)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikeyolo.events.types import Events
from spikeyolo.report.video import DARK, LIGHT, Palette
from spikeyolo.report.video.picture import EventPicture


def events(*rows: tuple[int, int, int, int], width: int = 8, height: int = 6) -> Events:
    """Events from rows of t, x, y, p."""
    t, x, y, p = np.array(rows).T if rows else np.empty((4, 0))
    return Events(t.astype(np.int64), x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8), width, height)


def drawn(picture: EventPicture, t_us: int) -> np.ndarray:
    out = np.full((*picture.shape, 3), 77, np.uint8)
    picture.draw(t_us, out)
    return out


@pytest.mark.parametrize("palette", [DARK, LIGHT])
def test_an_event_shows_at_its_pixel_in_the_colour_of_its_sign_and_nowhere_else(palette: Palette) -> None:
    picture = EventPicture(8, 6, decay_us=1000.0, palette=palette)
    picture.add(events((10, 2, 1, 1), (10, 7, 5, 0)))
    seen = drawn(picture, 10)
    assert tuple(seen[1, 2]) == palette.on
    assert tuple(seen[5, 7]) == palette.off
    seen[1, 2] = seen[5, 7] = palette.ground
    assert (seen == palette.ground).all()


@given(st.integers(0, 12_000), st.sampled_from([0, 1]), st.sampled_from([DARK, LIGHT]), st.integers(0, 10**12))
def test_an_event_fades_exponentially(age: int, polarity: int, palette: Palette, t_us: int) -> None:
    picture = EventPicture(8, 6, decay_us=2000.0, palette=palette)
    picture.add(events((t_us, 3, 3, polarity)))
    colour, ground = np.array(palette.on if polarity else palette.off, float), np.array(palette.ground, float)
    expected = ground + np.exp(-age / 2000.0) * (colour - ground)
    assert np.abs(drawn(picture, t_us + age)[3, 3] - expected).max() <= 1.6


def test_the_last_event_of_a_pixel_is_the_one_that_is_seen() -> None:
    picture = EventPicture(8, 6, decay_us=1000.0, palette=DARK)
    picture.add(events((10, 2, 1, 1), (20, 2, 1, 0)))
    assert tuple(drawn(picture, 20)[1, 2]) == DARK.off


@pytest.mark.parametrize("magnify", [1, 2, 3])
def test_a_magnified_pixel_is_a_square_of_picture_pixels(magnify: int) -> None:
    picture = EventPicture(8, 6, decay_us=1000.0, palette=DARK, magnify=magnify)
    picture.add(events((10, 2, 1, 1)))
    seen = drawn(picture, 10)
    assert seen.shape == (6 * magnify, 8 * magnify, 3)
    lit = (seen == DARK.on).all(-1)
    expected = np.zeros_like(lit)
    expected[magnify : 2 * magnify, 2 * magnify : 3 * magnify] = True
    assert (lit == expected).all()


def test_a_shrunk_picture_shows_the_last_event_of_each_block_and_covers_sensors_that_do_not_divide() -> None:
    picture = EventPicture(7, 5, decay_us=1000.0, palette=DARK, shrink=2)
    picture.add(events((10, 2, 2, 1), (11, 3, 3, 0), (12, 6, 4, 1), width=7, height=5))
    seen = drawn(picture, 12)
    assert seen.shape == (3, 4, 3)
    assert seen[1, 1, 2] > seen[1, 1, 0]  # blue: OFF was last
    assert tuple(seen[2, 3]) == DARK.on
