"""Augmentation: frozen descriptions of how events and boxes are changed together, drawn with an explicit Generator."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Gt, Interval

from spikeyolo.errors import ConfigError
from spikeyolo.events import packing
from spikeyolo.windows.placement import Placement

_POLARITY = np.uint64(packing.POLARITY)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What may happen to a training window; every draw changes events and boxes alike.

    What is 0 draws nothing, so that a setting added later leaves the others' random numbers as they were. Leaving
    out events evenly, by area and by time follows EventDrop (Gu et al., IJCAI 2021, arXiv 2106.05836).

    Attributes:
        flip: probability of a mirror image, left to right.
        zoom_min, zoom_max: magnification about the frame's centre, drawn uniformly on a logarithmic scale.
        shift: largest translation, as a share of the frame's side.
        rotation: largest turn about the frame's centre, degrees, either way; boxes become the upright boxes around.
        event_drop: largest share of events that is left out, evenly.
        drop_area: largest share of the sensor's area, one rectangle, whose events are left out.
        drop_time: largest share of the window's time, one stretch, whose events are left out.
        contrast: largest share of ON, and another of OFF, events that is left out, as if each contrast threshold of
            the sensor were higher (Stoffregen et al., ECCV 2020).
        time_jitter_us: largest displacement of each event's time, µs; none leaves the span of the window's events.
        polarity_flip: probability that ON and OFF change places.
        noise: largest number of added background events, as a share of the window's events.
        min_visible: share of a box's area that must stay in the frame for the box to stay a target.
    """

    flip: Annotated[float, Interval(ge=0, le=1)] = 0.0
    zoom_min: Annotated[float, Gt(0)] = 1.0
    zoom_max: Annotated[float, Gt(0)] = 1.0
    shift: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    rotation: Annotated[float, Interval(ge=0, le=45)] = 0.0
    event_drop: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    drop_area: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    drop_time: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    contrast: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    time_jitter_us: Annotated[int, Ge(0)] = 0
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
        angle = float(np.deg2rad(generator.uniform(-self.rotation, self.rotation))) if self.rotation > 0 else 0.0
        # About the frame's centre c: frame' = mirror·zoom·(frame − c) + c + shift.
        upright = Placement(
            scale_x=mirror * zoom * base.scale_x,
            scale_y=zoom * base.scale_y,
            offset_x=mirror * zoom * (base.offset_x - width / 2) + width / 2 + float(shift_x),
            offset_y=zoom * (base.offset_y - height / 2) + height / 2 + float(shift_y),
            seed=int(generator.integers(1, 2**63)) if zoom != 1.0 or angle != 0.0 else 0,
        )
        return _turned(upright, angle, width / 2 + float(shift_x), height / 2 + float(shift_y)) if angle else upright

    def events(
        self,
        packed: npt.NDArray[np.uint64],
        generator: np.random.Generator,
        settings: np.random.Generator | None = None,
        *,
        width: int,
        height: int,
    ) -> npt.NDArray[np.uint64]:
        """Change packed events ``[N]`` of a sensor of ``width`` × ``height`` px; they stay ordered by time.

        Args:
            packed: of one window.
            generator: draws what happens to each event.
            settings: draws how much of it happens and where: windows that follow one another each get a new generator
                of one seed. None: the same generator.
            width, height: of the sensor.
        """
        settings = generator if settings is None else settings
        if self.event_drop > 0 and len(packed):
            share = settings.uniform(0.0, self.event_drop)
            packed = packed[generator.random(len(packed)) >= share]
        if self.drop_area > 0:
            packed = packed[~_inside_rectangle(packed, settings.uniform(0.0, self.drop_area), settings, width, height)]
        if self.drop_time > 0 and len(packed):
            packed = packed[~_inside_stretch(packed, settings.uniform(0.0, self.drop_time), generator)]
        if self.contrast > 0:
            shares = settings.uniform(0.0, self.contrast, 2)
            packed = packed[generator.random(len(packed)) >= shares[(packed & _POLARITY).astype(np.intp)]]
        if self.time_jitter_us > 0 and len(packed):
            packed = self._jittered(packed, generator)
        if self.noise > 0 and len(packed):
            packed = self._with_noise(packed, settings.uniform(0.0, self.noise), generator, width, height)
        if self.polarity_flip > 0 and settings.random() < self.polarity_flip:
            packed = packed ^ _POLARITY
        return packed

    def _jittered(self, packed: npt.NDArray[np.uint64], generator: np.random.Generator) -> npt.NDArray[np.uint64]:
        t = packing.times(packed)
        moved = t + generator.integers(-self.time_jitter_us, self.time_jitter_us, len(t), endpoint=True)
        moved = np.clip(moved, t[0], t[-1]).astype(np.uint64)
        return np.sort((moved << np.uint64(packing.TIME_SHIFT)) | (packed & np.uint64(packing.PIXEL)))

    def _with_noise(
        self, packed: npt.NDArray[np.uint64], share: float, generator: np.random.Generator, width: int, height: int
    ) -> npt.NDArray[np.uint64]:
        count = int(len(packed) * share)
        first, last = packing.times(packed[[0, -1]]).tolist()
        t = generator.integers(first, last + 1, count, dtype=np.uint64)
        x = generator.integers(0, width, count, dtype=np.uint64)
        y = generator.integers(0, height, count, dtype=np.uint64)
        p = generator.integers(0, 2, count, dtype=np.uint64)
        return np.sort(np.concatenate([packed, packing.words(t, x, y, p)]))

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


def _turned(placement: Placement, angle: float, center_x: float, center_y: float) -> Placement:
    """The upright ``placement``, turned by ``angle`` rad about a point of the frame, px."""
    cos, sin = math.cos(angle), math.sin(angle)
    x, y = placement.offset_x - center_x, placement.offset_y - center_y
    return Placement(
        scale_x=cos * placement.scale_x,
        scale_y=cos * placement.scale_y,
        offset_x=cos * x - sin * y + center_x,
        offset_y=sin * x + cos * y + center_y,
        seed=placement.seed,
        shear_x=-sin * placement.scale_y,
        shear_y=sin * placement.scale_x,
    )


def _inside_rectangle(
    packed: npt.NDArray[np.uint64], share: float, generator: np.random.Generator, width: int, height: int
) -> npt.NDArray[np.bool_]:
    """Which events ``[N]`` lie in a random rectangle with ``share`` of the sensor's area and the sensor's shape."""
    side_x, side_y = math.sqrt(share) * width, math.sqrt(share) * height
    left, top = generator.uniform(0.0, width - side_x), generator.uniform(0.0, height - side_y)
    x, y = packing.columns(packed), packing.rows(packed)
    inside: npt.NDArray[np.bool_] = (x >= left) & (x < left + side_x) & (y >= top) & (y < top + side_y)
    return inside


def _inside_stretch(
    packed: npt.NDArray[np.uint64], share: float, generator: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Which time-sorted events ``[N]`` lie in a random stretch with ``share`` of the time that they span."""
    t = packing.times(packed)
    first, last = int(t[0]), int(t[-1])
    begin = generator.uniform(first, last - share * (last - first))
    inside: npt.NDArray[np.bool_] = (t >= begin) & (t < begin + share * (last - first))
    return inside
