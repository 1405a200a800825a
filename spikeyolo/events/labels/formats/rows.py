"""What every reader of a label format hands on: the file's own columns, nothing checked against a recording yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from spikeyolo.events.labels.tracks import NO_TRACK
from spikeyolo.events.labels.units import BoxUnit, TimeUnit
from spikeyolo.events.types import Array


@dataclass(frozen=True, eq=False)
class LabelRows:
    """Boxes as a label file has them, in its order.

    Attributes:
        t: ``[M]`` times, numbers of any type, as written.
        xywh: ``[M, 4]`` float64: left, top, width, height, px, or fractions of the frame.
        category: ``[M]`` classes, ids (numbers of any type) or names.
        track_id: ``[M]`` int64; -1 where the file has none.
        confidence: ``[M]`` float32; 1 where the file has none.
        names: of the classes by id, where the file states them.
        first_class: id of the first class in this format.
        time_unit, box_unit: where the format or the file states them.
        frame_us: how long a frame lasts, µs, where the file states it and its times are numbers of frames.
        first_frame: number of the first frame in this format.
        image_size: width and height of the images on which the boxes were drawn, px, where the file states them.
        left_out: rule → boxes that the format itself marks as not to be used, and that are not among the rows.
        looks: ``[L]`` times at which the file says what is to be seen, also where that is nothing, as written; None
            where the format lists objects alone.
    """

    t: Array
    xywh: npt.NDArray[np.float64]
    category: Array
    track_id: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float32]
    names: Mapping[int, str] | None = None
    first_class: int = 0
    time_unit: TimeUnit | None = None
    box_unit: BoxUnit | None = None
    frame_us: float | None = None
    first_frame: int = 0
    image_size: tuple[int, int] | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    looks: Array | None = None

    def __len__(self) -> int:
        return len(self.t)


def numbers(values: Sequence[int | float]) -> Array:
    """``[M]`` int64 where all are whole and fit, float64 otherwise: large times keep their last digit."""
    if all(isinstance(value, int) and abs(value) < 2**63 for value in values):
        return np.array(values, np.int64)
    return np.array(values, np.float64)


def confidences(values: Sequence[float] | None, count: int) -> npt.NDArray[np.float32]:
    """``[M]``; 1 where a file has none."""
    return np.ones(count, np.float32) if values is None else np.array(values, np.float32)


def tracks(values: Sequence[int | float] | None, count: int) -> Array:
    """``[M]`` as written; -1 where a file has none."""
    return np.full(count, NO_TRACK, np.int64) if values is None else numbers(values)
