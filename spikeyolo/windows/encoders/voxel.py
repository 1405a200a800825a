"""Voxel grids: events shared by bins of time within the slice."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import numpy.typing as npt
from annotated_types import Interval

from spikeyolo.errors import ConfigError
from spikeyolo.windows.encoders import scatter
from spikeyolo.windows.encoders.base import Downsample, SliceEncoder, Slices


class VoxelEncoder(SliceEncoder):
    """Each event shared, linearly in time, by the two nearest of a slice's bins.

    Zhu et al., CVPR 2019 (arXiv 1812.08156): bin b takes ``max(0, 1 − |b − t*|)`` of an event with
    ``t* = (bins − 1) · (t − start of the slice) / slice_us``. Theirs are signed sums; here the polarities have bins
    of their own, so that they do not cancel: channels 0 … bins−1 are OFF's, bins … 2·bins−1 ON's.
    Shares are rounded to 1/``unit``; a value of ``unit`` is one event, and values saturate at 255.

    Args:
        bins: of one slice, for each polarity.
        unit: sum of what one event adds to its two bins.
        downsample: side of the square of sensor pixels that one frame pixel gathers, or ``auto``.
    """

    def __init__(
        self,
        *,
        bins: Annotated[int, Interval(ge=1, le=64)] = 3,
        unit: Annotated[int, Interval(ge=1, le=255)] = 16,
        downsample: Downsample = 1,
    ) -> None:
        super().__init__(downsample=downsample)
        if bins < 1:
            raise ConfigError(f"bins: found {bins}; expected 1 or more")
        if not 1 <= unit <= 255:
            raise ConfigError(f"unit: found {unit}; expected 1 to 255")
        self.bins = bins
        self.unit = unit
        self.channels = 2 * bins

    def _scatter(self, slices: Slices, out: npt.NDArray[np.uint8]) -> None:
        scatter.voxel(slices.packed, slices.rows, out, *slices.tables, slices.start_us, slices.slice_us, self.unit)
