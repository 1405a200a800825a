"""Time surfaces: how recent a pixel's last event is."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import numpy.typing as npt
from annotated_types import Gt

from spikeyolo.errors import ConfigError
from spikeyolo.windows.encoders import scatter
from spikeyolo.windows.encoders.base import Downsample, SliceEncoder, Slices


class TimeSurfaceEncoder(SliceEncoder):
    """``255 · exp(−age / decay)`` of the last OFF (channel 0) and ON (channel 1) event of each pixel in the slice.

    The exponential time surface of HOTS (Lagorce et al., TPAMI 2017) and HATS (Sironi et al., CVPR 2018,
    arXiv 1803.07913), read at the slice's end, from which the age counts. Rounded, and at least 1, so that 0 means
    that the slice has no event there.

    Args:
        decay_us: time in which a value falls to 1/e, µs; null takes half a slice.
        downsample: side of the square of sensor pixels that one frame pixel gathers, or ``auto``.
    """

    def __init__(self, *, decay_us: Annotated[float, Gt(0)] | None = None, downsample: Downsample = 1) -> None:
        super().__init__(downsample=downsample)
        if decay_us is not None and not decay_us > 0:
            raise ConfigError(f"decay_us: found {decay_us}; expected more than 0, or null")
        self.decay_us = decay_us

    def _scatter(self, slices: Slices, out: npt.NDArray[np.uint8]) -> None:
        decay_us = slices.slice_us / 2 if self.decay_us is None else float(self.decay_us)
        scatter.time_surface(
            slices.packed, slices.rows, out, *slices.tables, slices.start_us, slices.slice_us, decay_us
        )
