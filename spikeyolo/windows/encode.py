"""Events into frames: the hot loop. One pass over time-sorted events, counts saturating in uint8.

Events reach this loop packed (``t<<25 | y<<13 | x<<1 | p``), straight from the store, and geometry (flip, zoom,
shift, down-sampling) is applied where an event is scattered, so that no intermediate image exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numba
import numpy as np
import numpy.typing as npt
from annotated_types import Ge

from spikeyolo.errors import ConfigError


@dataclass(frozen=True)
class Placement:
    """Where a sensor pixel lands in the frame: ``frame = scale · sensor + offset`` along each axis, in px.

    Attributes:
        scale_x, scale_y: 0.5 for a frame of half the sensor's width; negative flips.
        offset_x, offset_y: px of the frame.
        seed: for spreading the events of a magnified pixel over the frame pixels it covers; 0 does not spread.
    """

    scale_x: float = 1.0
    scale_y: float = 1.0
    offset_x: float = 0.0
    offset_y: float = 0.0
    seed: int = 0

    def boxes(self, xyxy: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Boxes ``[M, 4]`` in px of the sensor, carried to px of the frame; not clipped."""
        x = xyxy[:, [0, 2]] * np.float32(self.scale_x) + np.float32(self.offset_x)
        y = xyxy[:, [1, 3]] * np.float32(self.scale_y) + np.float32(self.offset_y)
        return np.stack([x.min(axis=1), y.min(axis=1), x.max(axis=1), y.max(axis=1)], axis=1)

    def sensor_boxes(self, xyxy: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The inverse of :meth:`boxes`."""
        inverse = Placement(
            1.0 / self.scale_x, 1.0 / self.scale_y, -self.offset_x / self.scale_x, -self.offset_y / self.scale_y
        )
        return inverse.boxes(xyxy)


class HistogramEncoder:
    """Counts of OFF (channel 0) and ON (channel 1) events of each slice, saturating at 255.

    Args:
        downsample: side of the square of sensor pixels that one frame pixel gathers.
    """

    channels = 2

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
        """Fill ``out`` ``[T, 2, H, W]`` uint8 from time-sorted packed events ``[N]`` and return it.

        Slice k takes the events with ``start_us + k·slice_us <= t < start_us + (k+1)·slice_us``; events outside
        the window or outside the frame are left out.
        """
        p = placement or self.placement()
        out.fill(0)
        _histogram(packed, start_us, slice_us, out, p.scale_x, p.scale_y, p.offset_x, p.offset_y, np.uint64(p.seed))
        return out


@numba.njit(nogil=True, cache=True, boundscheck=False)
def _histogram(
    packed: Any, start_us: Any, slice_us: Any, out: Any, sx: Any, sy: Any, ox: Any, oy: Any, seed: Any
) -> None:
    steps, _, height, width = out.shape
    edge = start_us + slice_us
    step = 0
    state = seed
    for i in range(packed.shape[0]):
        event = packed[i]
        t = np.int64(event >> np.uint64(25))
        if t < start_us:
            continue
        while t >= edge:
            step += 1
            edge += slice_us
            if step >= steps:
                return
        x = np.float64((event >> np.uint64(1)) & np.uint64(0xFFF))
        y = np.float64((event >> np.uint64(13)) & np.uint64(0xFFF))
        u = 0.5
        v = 0.5
        if seed != 0:
            # One xorshift64 step (Marsaglia 2003) places the event within its magnified pixel.
            state ^= state << np.uint64(13)
            state ^= state >> np.uint64(7)
            state ^= state << np.uint64(17)
            u = np.float64(state & np.uint64(0xFFFF)) / 65536.0
            v = np.float64((state >> np.uint64(16)) & np.uint64(0xFFFF)) / 65536.0
        column = np.floor((x + u) * sx + ox)
        row = np.floor((y + v) * sy + oy)
        if column < 0.0 or row < 0.0 or column >= width or row >= height:
            continue
        p = np.int64(event & np.uint64(1))
        r = np.int64(row)
        c = np.int64(column)
        if out[step, p, r, c] != 255:
            out[step, p, r, c] += np.uint8(1)
