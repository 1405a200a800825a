"""Lines, frames and words on a picture ``[rows, columns, 3]`` of uint8; what leaves the picture is cut off."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import matplotlib
import numba
import numpy as np
import numpy.typing as npt
from PIL import ImageFont

from spikeyolo.events.types import Array
from spikeyolo.report.video.palette import Rgb

Pixels = npt.NDArray[np.uint8]

PLATE = (3, 1)  # px by which a label's plate is wider and higher than its words, on each side
_DRAWN, _PERIOD = 5, 9  # of a dashed line: px of a dash, and from one to the next


def outline(
    picture: Pixels, xyxy: npt.NDArray[np.floating], colour: Rgb, *, thickness: int = 1, dashed: bool = False
) -> None:
    """The frame of a box, its lines just inside the box's edges.

    Args:
        xyxy: left, top, right, bottom, px of the picture; rounded.
        thickness: of the lines, px.
        dashed: leave gaps, counted from the box's left upper corner.
    """
    left, top, right, bottom = (round(float(value)) for value in xyxy)
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    _outline(picture, left, top, right, bottom, colour, thickness, dashed)


@numba.njit(nogil=True, cache=True)
def _outline(
    picture: Array, left: int, top: int, right: int, bottom: int, colour: Rgb, thickness: int, dashed: bool
) -> None:
    rows, columns = picture.shape[0], picture.shape[1]
    for row in range(max(top, 0), min(bottom, rows)):
        across = row < top + thickness or row >= bottom - thickness
        if not across and dashed and (row - top) % _PERIOD >= _DRAWN:
            continue
        column = max(left, 0)
        while column < min(right, columns):
            if not across and left + thickness <= column < right - thickness:
                column = right - thickness  # nothing is drawn inside
                continue
            if not (across and dashed and (column - left) % _PERIOD >= _DRAWN):
                for k in range(3):
                    picture[row, column, k] = colour[k]
            column += 1


def fill(picture: Pixels, left: int, top: int, width: int, height: int, colour: Rgb) -> None:
    """A filled rectangle."""
    picture[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)] = colour


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont:
    # matplotlib's own, so that films look alike on every machine
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


@lru_cache(maxsize=4096)
def word(text: str, size: int) -> Pixels:
    """How much ink each pixel of a line of text has, ``[size + 2, width]`` in 0..255."""
    font = _font(size)
    ink = font.getmask(text, mode="L", anchor="ls")
    left, top, _, _ = font.getbbox(text, anchor="ls")
    columns, rows = ink.size
    drawn = np.array(ink, np.uint8).reshape(rows, columns)
    height, baseline = size + 2, round(0.84 * size)
    width = max(round(font.getlength(text)), round(left) + columns, 1)
    mask = np.zeros((height, width), np.uint8)
    start = baseline + round(top)
    above, below = max(-start, 0), max(start + rows - height, 0)
    kept = drawn[above : rows - below, : width - max(round(left), 0)]
    mask[max(start, 0) : max(start, 0) + len(kept), max(round(left), 0) : max(round(left), 0) + kept.shape[1]] = kept
    mask.setflags(write=False)
    return mask


def write(picture: Pixels, mask: Pixels, left: int, top: int, colour: Rgb) -> None:
    """Text, as :func:`word` gives it, with its upper left corner there."""
    _stamp(picture, mask, left, top, colour, colour, 0, 0, 0.0)


def write_on_plate(picture: Pixels, mask: Pixels, left: int, top: int, colour: Rgb, plate: Rgb) -> None:
    """The same on a plate, :data:`PLATE` px larger on each side, through which a little of the picture is seen."""
    _stamp(picture, mask, left, top, colour, plate, *PLATE, 0.78)


@numba.njit(nogil=True, cache=True)
def _stamp(
    picture: Array,
    mask: Array,
    left: int,
    top: int,
    colour: Rgb,
    plate: Rgb,
    wider: int,
    higher: int,
    opacity: float,
) -> None:
    rows, columns = picture.shape[0], picture.shape[1]
    height, width = mask.shape
    for row in range(max(-higher, -top), min(height + higher, rows - top)):
        for column in range(max(-wider, -left), min(width + wider, columns - left)):
            ink = 0.0
            if 0 <= row < height and 0 <= column < width:
                ink = mask[row, column] / 255.0
            for k in range(3):
                value = float(picture[top + row, left + column, k])
                value += opacity * (plate[k] - value)
                value += ink * (colour[k] - value)
                picture[top + row, left + column, k] = np.uint8(value + 0.5)


def trail(
    picture: Pixels,
    points: npt.NDArray[np.float64],
    opacity: npt.NDArray[np.float64],
    colour: Rgb,
    *,
    width: float = 1.6,
) -> None:
    """A smooth line through points ``[P, 2]`` (x, y), ``width`` px wide, whose opacity ``[P]`` (0..1) changes."""
    if len(points) > 1:
        _trail(picture, points, opacity, colour, width / 2)


@numba.njit(nogil=True, cache=True)
def _trail(picture: Array, points: Array, opacity: Array, colour: Rgb, half_width: float) -> None:
    rows, columns = picture.shape[0], picture.shape[1]
    reach = half_width + 1.0
    for i in range(len(points) - 1):
        x0, y0, x1, y1 = points[i, 0], points[i, 1], points[i + 1, 0], points[i + 1, 1]
        dx, dy = x1 - x0, y1 - y0
        squared = dx * dx + dy * dy
        if squared == 0.0:
            continue
        length = np.sqrt(squared)
        for row in range(max(0, int(min(y0, y1) - reach)), min(rows, int(max(y0, y1) + reach) + 1)):
            for column in range(max(0, int(min(x0, x1) - reach)), min(columns, int(max(x0, x1) + reach) + 1)):
                px, py = column + 0.5 - x0, row + 0.5 - y0
                along = (px * dx + py * dy) / squared
                if along < 0.0 or along >= 1.0:
                    continue
                off = abs(px * dy - py * dx) / length
                ink = min(max(half_width + 0.5 - off, 0.0), 1.0)
                ink *= opacity[i] + along * (opacity[i + 1] - opacity[i])
                for k in range(3):
                    value = picture[row, column, k]
                    picture[row, column, k] = np.uint8(value + ink * (colour[k] - value) + 0.5)
