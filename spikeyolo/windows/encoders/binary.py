"""Binary event images: whether a pixel has an event in the slice."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from spikeyolo.windows.encoders import scatter
from spikeyolo.windows.encoders.base import SliceEncoder, Slices


class BinaryEncoder(SliceEncoder):
    """1 where at least one OFF (channel 0) or ON (channel 1) event lies in the slice, 0 elsewhere.

    Frames of spikes: the binary event image of Cohen et al., "Spatial and temporal downsampling in event-based
    visual classification", 2018, for each polarity; a network's first layer then needs no multiplication.

    Args:
        downsample: side of the square of sensor pixels that one frame pixel gathers, or ``auto``.
    """

    def _scatter(self, slices: Slices, out: npt.NDArray[np.uint8]) -> None:
        scatter.binary(slices.packed, slices.rows, out, *slices.tables)
