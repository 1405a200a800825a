"""Events into frames: what an encoder is, and what all that cut a window into slices have in common.

Events reach an encoder packed (``t<<25 | y<<13 | x<<1 | p``), straight from the store, and geometry (flip, zoom,
shift, rotation, down-sampling) is applied where an event is scattered, so that no intermediate image exists.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, Self

import numpy as np
import numpy.typing as npt
from annotated_types import Ge

from spikeyolo.errors import ConfigError
from spikeyolo.windows.encoders import scatter
from spikeyolo.windows.placement import Placement

Downsample = Annotated[int, Ge(1)] | Literal["auto"]
LARGEST_SIDE = 640  # px of the frame that "auto" makes of a large sensor


class Encoder(Protocol):
    """What the ``data/encoder`` group builds: packed events to frames ``[T, C, H, W]`` uint8."""

    @property
    def channels(self) -> int:
        """C."""

    def frame_size(self, width: int, height: int) -> tuple[int, int]:
        """``(W, H)`` of the frame of a sensor of ``width`` × ``height`` px."""

    def placement(self) -> Placement:
        """Where the sensor's pixels land without augmentation."""

    def for_sensor(self, width: int, height: int) -> Self:
        """This encoder with whatever depends on the sensor's size (px) decided."""

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

    def off_on(self, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """How much OFF and ON is in each pixel of frames ``[T, C, H, W]``, for pictures: ``[T, 2, H, W]`` uint8."""


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
        downsample: side of the square of sensor pixels that one frame pixel gathers; ``auto`` takes the smallest whose
            frames have no side above ``LARGEST_SIDE`` px, and has to be decided by :meth:`for_sensor`.
    """

    channels: int = 2

    def __init__(self, *, downsample: Downsample = 1) -> None:
        if downsample != "auto" and downsample < 1:
            raise ConfigError(f"downsample: found {downsample}; expected 1 or more, or auto")
        self.downsample = downsample

    def for_sensor(self, width: int, height: int) -> Self:
        """This encoder, its ``downsample`` a number."""
        if self.downsample != "auto":
            return self
        decided = copy.copy(self)
        decided.downsample = -(-max(width, height) // LARGEST_SIDE)
        return decided

    def frame_size(self, width: int, height: int) -> tuple[int, int]:
        """``(W, H)`` of the frame of a sensor of ``width`` × ``height`` px."""
        return -(-width // self._factor), -(-height // self._factor)

    def placement(self) -> Placement:
        """Where the sensor's pixels land without augmentation."""
        return Placement(1.0 / self._factor, 1.0 / self._factor)

    @property
    def _factor(self) -> int:
        if self.downsample == "auto":
            raise ValueError("downsample=auto: the sensor's size is not known yet; expected for_sensor(width, height)")
        return self.downsample

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

    def off_on(self, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Sums of the first half of the channels, OFF's, and of the second, ON's, ``[T, 2, H, W]``; saturating."""
        steps, channels, height, width = frames.shape
        halves = frames.reshape(steps, 2, channels // 2, height, width)
        sums: npt.NDArray[np.uint8] = np.minimum(halves.sum(axis=2, dtype=np.uint32), 255).astype(np.uint8)
        return sums

    @abstractmethod
    def _scatter(self, slices: Slices, out: npt.NDArray[np.uint8]) -> None:
        """Write the events into ``out``, which is zero."""
