"""The colours of a film, on dark or on light ground."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

from matplotlib.colors import to_rgb

from spikeyolo.report.pictures import canvas

Rgb = tuple[int, int, int]
_GOLDEN = 0.6180339887498949  # turns of the colour wheel from one track to the next: no two near ones for long


@dataclass(frozen=True)
class Palette:
    """Colours as ``(red, green, blue)`` in 0..255.

    Attributes:
        ground: where no event is.
        on, off: of an event at this moment, where brightness rose, and where it fell.
        text, muted: of words, and of words that matter less.
        faint: of lines between things.
        truth: of true boxes.
        series: of classes, and of the first tracks.
        vivid: saturation and value (0..1) of the further tracks.
    """

    ground: Rgb
    on: Rgb
    off: Rgb
    text: Rgb
    muted: Rgb
    faint: Rgb
    truth: Rgb
    series: tuple[Rgb, ...]
    vivid: tuple[float, float]

    def of_class(self, class_id: int) -> Rgb:
        """The colour of a class."""
        return self.series[class_id % len(self.series)]

    def of_track(self, track_id: int) -> Rgb:
        """The colour of a track: the same in all pictures, and another for the next ids."""
        if track_id < len(self.series):
            return self.series[track_id]
        red, green, blue = colorsys.hsv_to_rgb(track_id * _GOLDEN % 1.0, *self.vivid)
        return round(255 * red), round(255 * green), round(255 * blue)


def _rgb(colour: str) -> Rgb:
    red, green, blue = to_rgb(colour)
    return round(255 * red), round(255 * green), round(255 * blue)


DARK = Palette(
    ground=_rgb(canvas.BACKGROUND),
    on=_rgb(canvas.ON),
    off=_rgb(canvas.OFF),
    text=_rgb(canvas.TEXT),
    muted=_rgb("#9aa4b0"),
    faint=_rgb(canvas.FAINT),
    truth=_rgb(canvas.TRUTH),
    series=tuple(_rgb(colour) for colour in canvas.SERIES),
    vivid=(0.55, 1.0),
)
LIGHT = Palette(
    ground=_rgb("#ffffff"),
    on=_rgb("#d9480f"),
    off=_rgb("#1c6fd1"),
    text=_rgb("#1c2128"),
    muted=_rgb("#57606a"),
    faint=_rgb("#c3c9d0"),
    truth=_rgb("#24292f"),
    series=tuple(
        _rgb(colour)
        for colour in ("#0a8f5b", "#d6275a", "#7a3fc4", "#8a7400", "#0b7f93", "#b5520a", "#4d7327", "#a914c9")
    ),
    vivid=(0.85, 0.68),
)
