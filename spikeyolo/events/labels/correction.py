"""What is mended of label files that are wrong as a whole: their clock, the order of their numbers, their frame.

``python -m spikeyolo.doctor`` finds which of these a set needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from annotated_types import Gt, Len

BoxColumns = Literal["xywh", "cxcywh", "xyxy", "yxhw"]
Factors = Annotated[Sequence[Annotated[float, Gt(0)]], Len(2, 2)]
Offset = Annotated[Sequence[float], Len(2, 2)]


@dataclass(frozen=True, kw_only=True)
class LabelCorrection:
    """A change of all labels of a set, before anything is checked or cleaned.

    Attributes:
        time_shift_us: added to label times, µs.
        columns: what the four numbers of a box are: ``xywh`` (left, top, width, height), ``cxcywh`` (centre),
            ``xyxy`` (left, top, right, bottom), ``yxhw`` (top, left, height, width).
        flip: ``x``: columns were counted from the right; ``y``: rows from the bottom.
        scale: factors of columns and rows, for boxes drawn in another frame; None leaves them.
        offset_px: added to columns and rows at last, px; None adds nothing.
    """

    time_shift_us: int = 0
    columns: BoxColumns = "xywh"
    flip: Literal["none", "x", "y"] = "none"
    scale: Factors | None = None
    offset_px: Offset | None = None

    @property
    def none(self) -> bool:
        """Whether it changes nothing."""
        return self == LabelCorrection()

    def of(self, xywh: npt.NDArray[np.float64], *, width: int, height: int) -> npt.NDArray[np.float64]:
        """Boxes ``[M, 4]`` (left, top, width, height, px) out of the four numbers that a file has of each.

        Args:
            width, height: of the frame in which they are drawn, px.
        """
        a, b, c, d = xywh.T
        if self.columns == "cxcywh":
            a, b = a - c / 2, b - d / 2
        elif self.columns == "xyxy":
            c, d = c - a, d - b
        elif self.columns == "yxhw":
            a, b, c, d = b, a, d, c
        sx, sy = (1.0, 1.0) if self.scale is None else (float(value) for value in self.scale)
        a, b, c, d = a * sx, b * sy, c * sx, d * sy
        if self.flip == "x":
            a = width - a - c
        elif self.flip == "y":
            b = height - b - d
        dx, dy = (0.0, 0.0) if self.offset_px is None else (float(value) for value in self.offset_px)
        return np.stack([a + dx, b + dy, c, d], axis=1)
