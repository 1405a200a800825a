"""Events into frames: what an encoder is, where pixels land, and the encoder that counts.

Events reach an encoder packed (``t<<25 | y<<13 | x<<1 | p``), straight from the store, and geometry (flip, zoom,
shift, rotation, down-sampling) is applied where an event is scattered, so that no intermediate image exists.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Protocol

import numpy as np
import numpy.typing as npt
from annotated_types import Ge

from spikeyolo.errors import ConfigError
from spikeyolo.windows.encoders import scatter

Geometry = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Placement:
    """Where a point of the sensor lands in the frame, px.

    ``frame_x = scale_x · x + shear_x · y + offset_x`` and ``frame_y = shear_y · x + scale_y · y + offset_y``.

    Attributes:
        scale_x, scale_y: 0.5 for a frame of half the sensor's width; negative flips.
        offset_x, offset_y: px of the frame.
        seed: for spreading the events of a magnified pixel over the frame pixels it covers; 0 does not spread.
        shear_x, shear_y: not 0 where the frame is rotated.
    """

    scale_x: float = 1.0
    scale_y: float = 1.0
    offset_x: float = 0.0
    offset_y: float = 0.0
    seed: int = 0
    shear_x: float = 0.0
    shear_y: float = 0.0

    @property
    def geometry(self) -> Geometry:
        """Scales, offsets and shears, each x then y, as the scattering loops take them."""
        p = self
        return tuple(map(float, (p.scale_x, p.scale_y, p.offset_x, p.offset_y, p.shear_x, p.shear_y)))  # type: ignore[return-value]

    def boxes(self, xyxy: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Boxes ``[M, 4]`` in px of the sensor, carried to px of the frame; not clipped.

        A rotated box becomes the smallest upright box around its corners.
        """
        x = xyxy[:, [0, 2]] * np.float32(self.scale_x) + np.float32(self.offset_x)
        y = xyxy[:, [1, 3]] * np.float32(self.scale_y) + np.float32(self.offset_y)
        hull = np.stack([x.min(axis=1), y.min(axis=1), x.max(axis=1), y.max(axis=1)], axis=1)
        if self.shear_x != 0 or self.shear_y != 0:
            # The extremes over the corners part into those of each term.
            x = xyxy[:, [1, 3]] * np.float32(self.shear_x)
            y = xyxy[:, [0, 2]] * np.float32(self.shear_y)
            hull += np.stack([x.min(axis=1), y.min(axis=1), x.max(axis=1), y.max(axis=1)], axis=1)
        return hull

    def sensor_boxes(self, xyxy: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The way back from :meth:`boxes`; of a rotated frame, the upright box around the box turned back."""
        determinant = self.scale_x * self.scale_y - self.shear_x * self.shear_y
        scale_x, scale_y = self.scale_y / determinant, self.scale_x / determinant
        shear_x, shear_y = -self.shear_x / determinant, -self.shear_y / determinant
        inverse = Placement(
            scale_x=scale_x,
            scale_y=scale_y,
            offset_x=-(scale_x * self.offset_x + shear_x * self.offset_y),
            offset_y=-(shear_y * self.offset_x + scale_y * self.offset_y),
            shear_x=shear_x,
            shear_y=shear_y,
        )
        return inverse.boxes(xyxy)


class Encoder(Protocol):
    """What the ``data/encoder`` group builds: packed events to frames ``[T, C, H, W]`` uint8."""

    @property
    def channels(self) -> int:
        """C."""

    def frame_size(self, width: int, height: int) -> tuple[int, int]:
        """``(W, H)`` of the frame of a sensor of ``width`` × ``height`` px."""

    def placement(self) -> Placement:
        """Where the sensor's pixels land without augmentation."""

    def encode(
        self,
        packed: npt.NDArray[np.uint64],
        *,
        start_us: int,
        slice_us: int,
        out: npt.NDArray[np.uint8],
        placement: Placement | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Fill ``out`` ``[T, C, H, W]`` uint8 from time-sorted packed events ``[N]`` and return it."""


@dataclass(frozen=True, eq=False)
class Slices:
    """The events of a window, cut into slices, as the scattering loops take them.

    Attributes:
        packed: the events ``[N]``, time-sorted.
        rows: ``[T + 1]``; slice k has the events ``rows[k]`` to ``rows[k + 1] - 1``.
        start_us, slice_us: slice k begins at ``start_us + k·slice_us``.
        tables: see :func:`scatter.tables`.
    """

    packed: npt.NDArray[np.uint64]
    rows: npt.NDArray[np.intp]
    start_us: int
    slice_us: int
    tables: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]


class SliceEncoder(ABC):
    """An encoder whose frames each hold the events of one slice, and of no other.

    Args:
        downsample: side of the square of sensor pixels that one frame pixel gathers.
    """

    channels: int = 2

    def __init__(self, *, downsample: Annotated[int, Ge(1)] = 1) -> None:
        if downsample < 1:
            raise ConfigError(f"downsample: found {downsample}; expected 1 or more")
        self.downsample = downsample

    def frame_size(self, width: int, height: int) -> tuple[int, int]:
        """``(W, H)`` of the frame of a sensor of ``width`` × ``height`` px."""
        return -(-width // self.downsample), -(-height // self.downsample)

    def placement(self) -> Placement:
        """Where the sensor's pixels land without augmentation."""
        return Placement(1.0 / self.downsample, 1.0 / self.downsample)

    def encode(
        self,
        packed: npt.NDArray[np.uint64],
        *,
        start_us: int,
        slice_us: int,
        out: npt.NDArray[np.uint8],
        placement: Placement | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Fill ``out`` ``[T, C, H, W]`` uint8 from time-sorted packed events ``[N]`` and return it.

        Slice k takes the events with ``start_us + k·slice_us <= t < start_us + (k+1)·slice_us``; events outside
        the window or outside the frame are left out.

        Raises:
            ValueError: ``out`` has another number of channels, or does not lie in memory in one piece.
        """
        steps, channels, height, width = out.shape
        if channels != self.channels:
            raise ValueError(f"out: found {channels} channels; expected {self.channels}")
        if not out.flags.c_contiguous:
            raise ValueError("out: found memory in pieces; expected a contiguous array")
        where = placement or self.placement()
        geometry = where.geometry
        rows = scatter.edges(packed, start_us, slice_us, steps)
        if where.seed or where.shear_x or where.shear_y:
            packed = scatter.moved(packed[rows[0] : rows[-1]], geometry, np.uint64(where.seed), width, height)
            rows, geometry = scatter.edges(packed, start_us, slice_us, steps), Placement().geometry
        out.fill(0)
        self._scatter(Slices(packed, rows, start_us, slice_us, scatter.tables(geometry, width, height)), out)
        return out

    @abstractmethod
    def _scatter(self, slices: Slices, out: npt.NDArray[np.uint8]) -> None:
        """Write the events into ``out``, which is zero."""


class HistogramEncoder(SliceEncoder):
    """Counts of OFF (channel 0) and ON (channel 1) events of each slice, saturating at 255.

    The two-channel event count image of Maqueda et al., CVPR 2018 (arXiv 1804.01310).

    Args:
        downsample: side of the square of sensor pixels that one frame pixel gathers.
    """

    def _scatter(self, slices: Slices, out: npt.NDArray[np.uint8]) -> None:
        scatter.histogram(slices.packed, slices.rows, out, *slices.tables)
