"""How much boxes overlap."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def overlaps(first: npt.NDArray[np.floating], second: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Intersection over union ``[M, N]`` of boxes ``[M, 4]`` and ``[N, 4]``."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(-1)
    area, other = (np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(-1) for boxes in (first, second))
    union = area[:, None] + other[None] - common
    shared: npt.NDArray[np.float64] = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return shared
