"""Where tracked boxes are expected: a Kalman filter in px and px/s for many boxes at once, or simply the last box.

Every side of a box (centre x, centre y, width, height) is a filter of its own with position and velocity, so that the
2 × 2 covariances of all boxes are three arrays. Kalman, "A New Approach to Linear Filtering and Prediction Problems",
1960; the noise is that of Bar-Shalom et al., "Estimation with Applications to Tracking and Navigation", 2001, 6.2.2.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

SIZE_CHANGE = 0.1  # the sides of a box change so much more slowly than its centre moves
LEAST = 1.0  # no side counts as shorter, px


class Motion(Protocol):
    """State of the boxes of all tracks, row by row.

    Attributes:
        limit: pairs of a higher cost are never the same object.
    """

    limit: float

    def __len__(self) -> int: ...

    def advance(self, dt_us: int) -> None:
        """To another time, so many µs later."""

    def cost(self, rows: Index, cxcywh: Floats) -> Floats:
        """``[P]``, how badly each box ``[P, 4]`` fits the track of its row; 0 is perfect."""

    def centres(self, rows: Index) -> Floats:
        """``[P, 2]``, where the tracks are expected, px."""

    def correct(self, rows: Index, cxcywh: Floats) -> None:
        """The tracks were seen there, each row at most once."""

    def add(self, cxcywh: Floats) -> None:
        """New tracks, after the last row."""

    def keep(self, rows: npt.NDArray[np.bool_]) -> None:
        """Forget the others."""


class ConstantVelocity:
    """A Kalman filter for constant velocity, disturbed by white noise of acceleration.

    The noise grows with time and not with steps: two steps of dt are one of 2·dt, exactly. All of it is relative to
    the size of the box, the root of its area.

    The cost is minus twice the logarithm of a detection's likelihood, up to a constant: its squared distance in
    standard deviations, plus what is lost by being unsure (a track that was lost for long does not take a detection
    from one that fits it well).

    Args:
        box_noise: standard deviation of detected sides, in box sizes.
        initial_speed: standard deviation of a new track's velocity, in box sizes a second.
        speed_change: standard deviation of what a velocity changes within one second, in box sizes a second.
        turn: and, as a share of the speed, on the way of one box size: what is twice as fast turns in half the time.
        gate: standard deviations up to which a detection may be of a track.
    """

    def __init__(
        self, *, box_noise: float, initial_speed: float, speed_change: float, turn: float, gate: float
    ) -> None:
        self.limit = gate * gate
        self._noise = box_noise**2
        self._initial = initial_speed**2 * np.array([1, 1, SIZE_CHANGE**2, SIZE_CHANGE**2])
        self._change, self._turn = speed_change**2, turn**2
        self._sides = np.array([1, 1, SIZE_CHANGE**2, SIZE_CHANGE**2])
        self.position = np.empty((0, 4))  # px
        self.velocity = np.empty((0, 4))  # px/s
        self._pp, self._pv, self._vv = (np.empty((0, 4)) for _ in range(3))  # px², px²/s, px²/s²

    def __len__(self) -> int:
        return len(self.position)

    def advance(self, dt_us: int) -> None:
        """See :class:`Motion`."""
        dt = 1e-6 * dt_us
        area, way = _squared_size(self.position), self.velocity[:, :2]
        speed = np.sqrt((way * way).sum(axis=1, keepdims=True))
        change = (self._change * area + self._turn * speed**3 / np.sqrt(area)) * self._sides  # px²/s³
        self.position += self.velocity * dt
        np.maximum(self.position[:, 2:], LEAST, out=self.position[:, 2:])
        self._pp += (2 * self._pv + self._vv * dt) * dt + change * (dt**3 / 3)
        self._pv += self._vv * dt + change * (dt * dt / 2)
        self._vv += change * dt

    def cost(self, rows: Index, cxcywh: Floats) -> Floats:
        """See :class:`Motion`."""
        noise = _squared_size(self.position) * self._noise
        spread = self._pp + noise
        unsure = np.log(spread / noise).sum(axis=1)
        away = cxcywh - self.position[rows]
        distance: Floats = (away * away / spread[rows]).sum(axis=1) + unsure[rows]
        return distance

    def centres(self, rows: Index) -> Floats:
        """See :class:`Motion`."""
        return self.position[rows, :2]

    def correct(self, rows: Index, cxcywh: Floats) -> None:
        """See :class:`Motion`."""
        position, pp, pv = self.position[rows], self._pp[rows], self._pv[rows]
        spread = pp + _squared_size(position) * self._noise
        away = cxcywh - position
        of_position, of_velocity = pp / spread, pv / spread
        self.position[rows] = position + of_position * away
        self.velocity[rows] += of_velocity * away
        self._pp[rows] = pp - of_position * pp
        self._pv[rows] = pv - of_position * pv
        self._vv[rows] -= of_velocity * pv

    def add(self, cxcywh: Floats) -> None:
        """See :class:`Motion`."""
        size = _squared_size(cxcywh)
        zero = np.zeros_like(cxcywh)
        self.position = np.concatenate((self.position, cxcywh))
        self.velocity = np.concatenate((self.velocity, zero))
        self._pp = np.concatenate((self._pp, zero + size * self._noise))
        self._pv = np.concatenate((self._pv, zero))
        self._vv = np.concatenate((self._vv, size * self._initial))

    def keep(self, rows: npt.NDArray[np.bool_]) -> None:
        """See :class:`Motion`."""
        self.position, self.velocity = self.position[rows], self.velocity[rows]
        self._pp, self._pv, self._vv = self._pp[rows], self._pv[rows], self._vv[rows]


class LastBox:
    """Boxes stay where they were seen; the cost is 1 - IoU.

    Args:
        min_iou: a box that overlaps less is of another object.
    """

    def __init__(self, *, min_iou: float) -> None:
        self.limit = 1 - min_iou
        self.position = np.empty((0, 4))

    def __len__(self) -> int:
        return len(self.position)

    def advance(self, dt_us: int) -> None:
        """See :class:`Motion`."""

    def cost(self, rows: Index, cxcywh: Floats) -> Floats:
        """See :class:`Motion`."""
        own = self.position[rows]
        low = np.maximum(own[:, :2] - own[:, 2:] / 2, cxcywh[:, :2] - cxcywh[:, 2:] / 2)
        high = np.minimum(own[:, :2] + own[:, 2:] / 2, cxcywh[:, :2] + cxcywh[:, 2:] / 2)
        shared = np.maximum(high - low, 0).prod(axis=1)
        union = own[:, 2:].prod(axis=1) + cxcywh[:, 2:].prod(axis=1) - shared
        cost: Floats = 1 - shared / np.maximum(union, 1e-12)
        return cost

    def centres(self, rows: Index) -> Floats:
        """See :class:`Motion`."""
        return self.position[rows, :2]

    def correct(self, rows: Index, cxcywh: Floats) -> None:
        """See :class:`Motion`."""
        self.position[rows] = cxcywh

    def add(self, cxcywh: Floats) -> None:
        """See :class:`Motion`."""
        self.position = np.concatenate((self.position, cxcywh))

    def keep(self, rows: npt.NDArray[np.bool_]) -> None:
        """See :class:`Motion`."""
        self.position = self.position[rows]


def _squared_size(cxcywh: Floats) -> Floats:
    """``[M, 1]``, px²: the area."""
    return np.maximum(cxcywh[:, 2:3] * cxcywh[:, 3:4], LEAST)
