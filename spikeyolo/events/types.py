"""Boundary types of the house: columns of events, boxes and detections, with their units and invariants."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from spikeyolo.errors import LabelError, RecordingError

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Events:
    """A stretch of events, ordered by time.

    Attributes:
        t: ``[N]`` int64, µs from the recording's first event, non-decreasing.
        x: ``[N]`` uint16, column, 0 at the left, smaller than ``width``.
        y: ``[N]`` uint16, row, 0 at the top, smaller than ``height``.
        p: ``[N]`` uint8, 1 where brightness rose (ON), 0 where it fell (OFF).
        width, height: the sensor, in pixels.
    """

    t: npt.NDArray[np.int64]
    x: npt.NDArray[np.uint16]
    y: npt.NDArray[np.uint16]
    p: npt.NDArray[np.uint8]
    width: int
    height: int

    def __len__(self) -> int:
        return len(self.t)

    @classmethod
    def empty(cls, width: int, height: int) -> Events:
        return cls(
            np.empty(0, np.int64), np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, np.uint8), width, height
        )

    @classmethod
    def concatenate(cls, parts: list[Events]) -> Events:
        """Join stretches of one recording; the sensor is the first part's.

        Raises:
            RecordingError: there is no part, or the sensors differ.
        """
        if not parts:
            raise RecordingError("no events to join: expected at least one part")
        width, height = parts[0].width, parts[0].height
        if any((part.width, part.height) != (width, height) for part in parts):
            raise RecordingError(f"parts come from different sensors: expected {width}x{height} in all of them")
        t, x, y, p = (np.concatenate([getattr(part, name) for part in parts]) for name in "txyp")
        return cls(t, x, y, p, width, height)

    def check(self, source: str) -> None:
        """Raise one sentence if an invariant is broken.

        Raises:
            RecordingError: columns differ in length, times decrease, or a pixel lies outside the sensor.
        """
        lengths = {name: len(getattr(self, name)) for name in "txyp"}
        if len(set(lengths.values())) > 1:
            raise RecordingError(f"{source}: columns differ in length ({lengths}); expected one row an event")
        if not len(self):
            return
        backwards = np.flatnonzero(self.t[1:] < self.t[:-1])
        if len(backwards):
            i = int(backwards[0])
            raise RecordingError(
                f"{source}: time decreases at event {i + 1} ({self.t[i]} µs, then {self.t[i + 1]} µs); "
                "expected non-decreasing times"
            )
        outside = np.flatnonzero((self.x >= self.width) | (self.y >= self.height))
        if len(outside):
            i = int(outside[0])
            raise RecordingError(
                f"{source}: event {i} lies at x={self.x[i]}, y={self.y[i]}, outside the sensor of "
                f"{self.width}x{self.height} px ({len(outside)} such events)"
            )
        if self.p.max() > 1:
            raise RecordingError(f"{source}: polarity {int(self.p.max())} found; expected 0 (OFF) or 1 (ON)")


@dataclass(frozen=True, eq=False)
class Boxes:
    """Labelled boxes of one recording (or of one window), ordered by time.

    Attributes:
        t: ``[M]`` int64, µs on the clock of the events.
        xyxy: ``[M, 4]`` float32, px: left, top, right, bottom.
        class_id: ``[M]`` int64, index into the class list.
        track_id: ``[M]`` int64, the object's identity; -1 where unknown.
        confidence: ``[M]`` float32 in 0..1; 1 for boxes drawn by hand.
    """

    t: npt.NDArray[np.int64]
    xyxy: npt.NDArray[np.float32]
    class_id: npt.NDArray[np.int64]
    track_id: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.t)

    def __post_init__(self) -> None:
        lengths = {field.name: len(getattr(self, field.name)) for field in fields(self)}
        if len(set(lengths.values())) > 1:
            raise LabelError(f"columns of boxes differ in length: {lengths}")
        if self.xyxy.shape != (len(self.t), 4):
            raise LabelError(f"boxes have shape {self.xyxy.shape}; expected [{len(self.t)}, 4]")

    @classmethod
    def empty(cls) -> Boxes:
        return cls(
            np.empty(0, np.int64),
            np.empty((0, 4), np.float32),
            np.empty(0, np.int64),
            np.empty(0, np.int64),
            np.empty(0, np.float32),
        )

    def __getitem__(self, rows: Array | slice) -> Boxes:
        """The chosen rows (mask, indices or slice), in that order."""
        return Boxes(self.t[rows], self.xyxy[rows], self.class_id[rows], self.track_id[rows], self.confidence[rows])


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector found in one window, best first.

    Attributes:
        step: ``[M]`` int64, the time step of the window that made the detection.
        xyxy: ``[M, 4]`` float32, px of the encoded frame.
        score: ``[M]`` float32 in 0..1, descending.
        class_id: ``[M]`` int64.
        embedding: ``[M, E]`` float32 of unit length, or None where the head has no such branch.
    """

    step: npt.NDArray[np.int64]
    xyxy: npt.NDArray[np.float32]
    score: npt.NDArray[np.float32]
    class_id: npt.NDArray[np.int64]
    embedding: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.score)
