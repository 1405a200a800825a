"""Where a point of the sensor lands in the encoded frame: one affine map for events and boxes alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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

    def to_sensor(self, xyxy: npt.NDArray[np.float32], width: int, height: int) -> npt.NDArray[np.float32]:
        """Boxes ``[M, 4]`` in px of the frame, carried back to px of a sensor of this size and clipped to it.

        Raises:
            ValueError: the frame is rotated, so that boxes have no way back.
        """
        if self.shear_x != 0 or self.shear_y != 0:
            raise ValueError("a rotated frame; expected one as the encoder places it")
        scale = np.array([self.scale_x, self.scale_y] * 2, np.float32)
        offset = np.array([self.offset_x, self.offset_y] * 2, np.float32)
        sensor: npt.NDArray[np.float32] = (xyxy - offset) / scale
        return np.clip(sensor, np.float32(0), np.array([width, height] * 2, np.float32))
