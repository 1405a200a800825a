"""Which moments of a recording a film shows, and for how many of its frames each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Timeline:
    """Moments ``t``: what is shown then are the events before ``t``.

    Attributes:
        start_us, end_us: of the recording's part that is shown; the first moment is one frame after the start, the last
            one is the end.
        fps: frames a second of the film.
        slow: seconds of the recording in a second of the film: 1 is real time, 0.01 a hundred times slower.
        stops_us: moments that are shown exactly, for ``stop_frames`` frames; those outside are passed over.
        stop_frames: 0 shows none of them.
    """

    start_us: int
    end_us: int
    fps: float
    slow: float
    stops_us: npt.NDArray[np.int64]
    stop_frames: int = 0

    @property
    def frame_us(self) -> float:
        """How much of the recording passes from one frame to the next, µs."""
        return 1e6 * self.slow / self.fps

    @property
    def moments(self) -> int:
        """Moments without the stops."""
        return max(1, math.ceil((self.end_us - self.start_us) / self.frame_us - 1e-9))

    def stops(self) -> npt.NDArray[np.int64]:
        """The stops that are shown, ascending."""
        if not self.stop_frames:
            return np.empty(0, np.int64)
        inside = (self.stops_us > self.start_us) & (self.stops_us <= self.end_us)
        return np.unique(self.stops_us[inside])

    def __len__(self) -> int:
        """Frames of the film."""
        return self.moments + self.stop_frames * len(self.stops())

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Moments, ascending, each with its number of frames."""
        stops, at = self.stops(), 0
        for number in range(1, self.moments + 1):
            moment = min(self.end_us, self.start_us + round(number * self.frame_us))
            while at < len(stops) and stops[at] < moment:
                yield int(stops[at]), self.stop_frames
                at += 1
            stopped = at < len(stops) and stops[at] == moment
            at += stopped
            yield moment, 1 + (self.stop_frames if stopped else 0)
