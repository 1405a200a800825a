"""Event histograms: how many events a pixel has in the slice."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from spikeyolo.windows.encoders import scatter
from spikeyolo.windows.encoders.base import SliceEncoder, Slices


class HistogramEncoder(SliceEncoder):
    """Counts of OFF (channel 0) and ON (channel 1) events of each slice, saturating at 255.

    The two-channel event count image of Maqueda et al., CVPR 2018 (arXiv 1804.01310).

    Args:
        downsample: side of the square of sensor pixels that one frame pixel gathers, or ``auto``.
    """

    def _scatter(self, slices: Slices, out: npt.NDArray[np.uint8]) -> None:
        scatter.histogram(slices.packed, slices.rows, out, *slices.tables)
