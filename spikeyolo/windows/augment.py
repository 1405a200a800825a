"""Augmentation: frozen descriptions of how events and boxes are changed together, drawn with an explicit Generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
from annotated_types import Gt, Interval

from spikeyolo.errors import ConfigError
from spikeyolo.windows.encode import Placement

_POLARITY = np.uint64(1)
_TIME_SHIFT = np.uint64(25)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What may happen to a training window; every draw changes events and boxes alike.

    Attributes:
        flip: probability of a mirror image, left to right.
        zoom_min, zoom_max: magnification about the frame's centre, drawn uniformly on a logarithmic scale.
        shift: largest translation, as a share of the frame's side.
        event_drop: largest share of events that is left out.
        polarity_flip: probability that ON and OFF change places.
        noise: largest number of added background events, as a share of the window's events.
        min_visible: share of a box's area that must stay in the frame for the box to stay a target.
    """

    flip: Annotated[float, Interval(ge=0, le=1)] = 0.0
    zoom_min: Annotated[float, Gt(0)] = 1.0
    zoom_max: Annotated[float, Gt(0)] = 1.0
    shift: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    event_drop: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    polarity_flip: Annotated[float, Interval(ge=0, le=1)] = 0.0
    noise: Annotated[float, Interval(ge=0, le=1)] = 0.0
    min_visible: Annotated[float, Interval(ge=0, le=1)] = 0.25

    def __post_init__(self) -> None:
        if self.zoom_min > self.zoom_max:
            raise ConfigError(f"augment.zoom_min: found {self.zoom_min}; expected at most zoom_max ({self.zoom_max})")

    def place(self, base: Placement, width: int, height: int, generator: np.random.Generator) -> Placement:
        """Draw the geometry of one window for a frame of ``width`` × ``height`` px."""
        flip = generator.random() < self.flip
        zoom = float(np.exp(generator.uniform(np.log(self.zoom_min), np.log(self.zoom_max))))
        shift_x, shift_y = generator.uniform(-self.shift, self.shift, 2) * (width, height)
        mirror = -1.0 if flip else 1.0
        # About the frame's centre c: frame' = mirror·zoom·(frame − c) + c + shift.
        return Placement(
            scale_x=mirror * zoom * base.scale_x,
            scale_y=zoom * base.scale_y,
            offset_x=mirror * zoom * (base.offset_x - width / 2) + width / 2 + float(shift_x),
            offset_y=zoom * (base.offset_y - height / 2) + height / 2 + float(shift_y),
            seed=int(generator.integers(1, 2**63)) if zoom != 1.0 else 0,
        )

    def events(
        self, packed: npt.NDArray[np.uint64], generator: np.random.Generator, *, width: int, height: int
    ) -> npt.NDArray[np.uint64]:
        """Change packed events ``[N]`` (dropped, noise added, polarity flipped); they stay ordered by time."""
        if self.event_drop > 0 and len(packed):
            share = generator.uniform(0.0, self.event_drop)
            packed = packed[generator.random(len(packed)) >= share]
        if self.noise > 0 and len(packed):
            packed = self._with_noise(packed, generator, width, height)
        if self.polarity_flip > 0 and generator.random() < self.polarity_flip:
            packed = packed ^ _POLARITY
        return packed

    def _with_noise(
        self, packed: npt.NDArray[np.uint64], generator: np.random.Generator, width: int, height: int
    ) -> npt.NDArray[np.uint64]:
        count = int(len(packed) * generator.uniform(0.0, self.noise))
        first, last = int(packed[0] >> _TIME_SHIFT), int(packed[-1] >> _TIME_SHIFT)
        t = generator.integers(first, last + 1, count, dtype=np.uint64)
        x = generator.integers(0, width, count, dtype=np.uint64)
        y = generator.integers(0, height, count, dtype=np.uint64)
        p = generator.integers(0, 2, count, dtype=np.uint64)
        noise = (t << _TIME_SHIFT) | (y << np.uint64(13)) | (x << np.uint64(1)) | p
        return np.sort(np.concatenate([packed, noise]))

    def visible(
        self, xyxy: npt.NDArray[np.float32], width: int, height: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Boxes clipped to the frame ``[M, 4]`` px, and which of them are visible enough to stay ``[M]``."""
        clipped = clip(xyxy, width, height)
        area = (xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1])
        seen = (clipped[:, 2] - clipped[:, 0]) * (clipped[:, 3] - clipped[:, 1])
        return clipped, (seen > 0) & (seen >= self.min_visible * area)


def clip(xyxy: npt.NDArray[np.float32], width: int, height: int) -> npt.NDArray[np.float32]:
    """Boxes ``[M, 4]`` px, cut at the frame's border."""
    limits = np.array([width, height, width, height], np.float32)
    return np.clip(xyxy, np.float32(0), limits)
