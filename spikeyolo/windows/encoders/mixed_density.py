"""Mixed-density stacks: the last polarity in ever shorter ends of the slice."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import numpy.typing as npt
from annotated_types import Interval

from spikeyolo.errors import ConfigError
from spikeyolo.windows.encoders import scatter
from spikeyolo.windows.encoders.base import Downsample, SliceEncoder, Slices


class MixedDensityEncoder(SliceEncoder):
    """Channel k shows the last ``slice_us / 2^k`` of a slice: 1 or 2 where its last event is OFF or ON, 0 without one.

    The mixed-density event stack of Nam et al., "Stereo Depth from Events Cameras: Concentrate and Focus on the
    Future", CVPR 2022. Theirs halves the number of events from stack to stack; here time is halved, as a slice is
    one of time.

    Args:
        stacks: channels.
        downsample: side of the square of sensor pixels that one frame pixel gathers, or ``auto``.
    """

    def __init__(self, *, stacks: Annotated[int, Interval(ge=1, le=16)] = 4, downsample: Downsample = 1) -> None:
        super().__init__(downsample=downsample)
        if not 1 <= stacks <= 16:
            raise ConfigError(f"stacks: found {stacks}; expected 1 to 16")
        self.stacks = stacks
        self.channels = stacks

    def off_on(self, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """In how many stacks a pixel's last event is OFF, and in how many ON, ``[T, 2, H, W]``."""
        return np.stack([(frames == value).sum(axis=1, dtype=np.uint8) for value in (1, 2)], axis=1)

    def _scatter(self, slices: Slices, out: npt.NDArray[np.uint8]) -> None:
        scatter.mixed_density(slices.packed, slices.rows, out, *slices.tables, slices.start_us, slices.slice_us)
