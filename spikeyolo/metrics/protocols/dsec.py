"""The rules by which detectors are scored on DSEC-Detection since DAGR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Len

from spikeyolo.metrics.protocols.protocol import Protocol

_GROUPS = {"pedestrian": "pedestrian", "car": "car", "bus": "car", "truck": "car"}
_LEFT_OUT = ("rider", "bicycle", "motorcycle", "train")


@dataclass(frozen=True, kw_only=True)
class Dsec(Protocol):
    """DSEC-Detection, 640x480 (Gehrig and Scaramuzza, Nature 2024): boxes are cut at the car's bonnet, buses and trucks
    are cars, riders, bicycles, motorcycles and trains are none; diagonals up to 30 px and sides up to 20 px, and looks
    without a box, do not count.

    Attributes:
        cut: largest x and y that a box may reach, px: those of the last pixel of a 320x215 image, seen at 640x430.
    """

    name: ClassVar[str] = "dsec"
    source: ClassVar[str] = "doi 10.1038/s41586-024-07409-w"

    min_diagonal: Annotated[float, Ge(0)] = 30.0
    min_side: Annotated[float, Ge(0)] = 20.0
    empty_looks: bool = False
    classes: Sequence[str] | None = ("car", "pedestrian")
    cut: Annotated[Sequence[Annotated[float, Ge(0)]], Len(2, 2)] = (638.0, 428.0)

    def large_enough(self, size: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """``[M]`` bool: diagonal and sides of the box (``[M, 2]``) are *longer* than the limits."""
        enough: npt.NDArray[np.bool_] = (np.square(size).sum(1) > self.min_diagonal**2) & (
            size.min(1, initial=np.inf) > self.min_side
        )
        return enough

    def placed(self, xywh: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """``[M, 4]`` boxes without what lies outside the cut."""
        start = np.clip(xywh[:, :2], 0, self.cut)
        return np.concatenate((start, np.clip(xywh[:, :2] + xywh[:, 2:], 0, self.cut) - start), axis=1)

    def renamed(self, name: str) -> str | None:
        """``car`` for buses and trucks, None for what is not scored."""
        return None if name in _LEFT_OUT else _GROUPS.get(name, name)
