"""What every reader of a label format hands on: the file's own columns, nothing checked against a recording yet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spikeyolo.events.types import Array


@dataclass(frozen=True, eq=False)
class LabelRows:
    """Boxes as a label file has them, in its order.

    Attributes:
        t: ``[M]`` times, numbers of any type, as written.
        xywh: ``[M, 4]`` float64: left, top, width, height, px.
        category: ``[M]`` class ids, numbers of any type.
        track_id: ``[M]`` int64; -1 where the file has none.
        confidence: ``[M]`` float32; 1 where the file has none.
    """

    t: Array
    xywh: npt.NDArray[np.float64]
    category: Array
    track_id: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.t)
