"""The bar below a film: time, event rate, how much slower than the recording it runs, and how far it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from spikeyolo.report.video.drawing import Pixels, fill, outline, word, write
from spikeyolo.report.video.palette import Palette

_SPACE = 3  # words keep so many halves of their size from one another


class Bar:
    """Draws the bar.

    Args:
        palette: its colours.
        size: of words, px.
        start_us, end_us: of the recording's part that is shown, µs.
        title: at the right: how much slower it is than real time, or what it is.
        marks_us: times of labels, drawn as ticks.
        legend: what a dashed box is, as ``truth``; None where there is none.
        busy: whether events come by the million a second.
    """

    def __init__(
        self,
        palette: Palette,
        *,
        size: int,
        start_us: int,
        end_us: int,
        title: str,
        marks_us: Sequence[int] | npt.NDArray[np.int64] = (),
        legend: str | None = None,
        busy: bool = True,
    ) -> None:
        self._palette, self._size = palette, size
        self._start_us, self._span_us = start_us, max(end_us - start_us, 1)
        self._title, self._legend, self._busy = word(title, size), legend, busy
        self._marks = (np.asarray(marks_us, np.float64) - start_us) / self._span_us
        self._decimals = 3 if self._span_us > 5_000_000 else 4 if self._span_us > 500_000 else 6
        self.height = 2 * size + 4

    def draw(self, out: Pixels, t_us: int, events_a_second: float) -> None:
        """The bar at a moment, into ``out`` ``[height, columns, 3]``.

        Args:
            t_us: of the moment, µs.
            events_a_second: the rate of events.
        """
        palette, columns = self._palette, out.shape[1]
        out[:] = palette.ground
        out[:2] = palette.faint
        marks = (self._marks[(self._marks >= 0) & (self._marks <= 1)] * (columns - 1)).astype(int)
        out[:4, marks] = palette.muted
        done = min(max((t_us - self._start_us) / self._span_us, 0.0), 1.0)
        out[:2, : round(done * columns)] = palette.on
        top = 2 + (self.height - 2 - self._size - 2) // 2
        space = _SPACE * self._size // 2
        rate = f"{events_a_second / 1e6:.2f} Mev/s" if self._busy else f"{events_a_second / 1e3:.1f} kev/s"
        time = word(f"{t_us / 1e6:.{self._decimals}f} s", self._size)
        write(out, time, space // 2, top, palette.text)
        left, right = space // 2 + time.shape[1] + space, columns - space // 2
        if left + self._title.shape[1] <= right:
            right -= self._title.shape[1]
            write(out, self._title, right, top, palette.muted)
            right -= space
        ink = word(rate, self._size)
        room = max(ink.shape[1], 7 * self._size)  # what follows stands still when digits come and go
        if left + room <= right:
            write(out, ink, left, top, palette.muted)
            left += room + space
        self._draw_legend(out, left, right, top)

    def _draw_legend(self, out: Pixels, left: int, right: int, top: int) -> None:
        palette, size = self._palette, self._size
        items = [("ON", palette.on, False), ("OFF", palette.off, False)]
        if self._legend is not None:
            items.append((self._legend, palette.truth, True))
        for text, colour, dashed in items:
            ink = word(text, size)
            sign = 2 * size if dashed else size - 4
            if left + sign + 4 + ink.shape[1] > right:
                return
            if dashed:
                outline(out, np.array([left, top + 2, left + sign, top + size]), colour, dashed=True)
            else:
                fill(out, left, top + 4, sign, size - 4, colour)
            write(out, ink, left + sign + 4, top, palette.muted)
            left += sign + 4 + ink.shape[1] + size
