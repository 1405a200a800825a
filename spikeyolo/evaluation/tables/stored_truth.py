"""What is true of a split, read back: boxes and looks of the scored step of each window, or of any of its steps."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spikeyolo.detections import DetectionTable, GroundTruth, Looks
from spikeyolo.detections.exchange import read_any
from spikeyolo.errors import ConfigError, DetectionError

_HOURS = re.compile(r"(?<![a-z])(day|night)(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class StoredTruth:
    """The table of what is true of a split, ours or another program's.

    Attributes:
        table: one row a true box and time step.
        path: of the file.
    """

    table: DetectionTable
    path: Path

    @classmethod
    def read(cls, path: Path, *, classes: Sequence[str] | None = None) -> StoredTruth:
        """Read a table of truth in any known format.

        Args:
            path: of the file or folder.
            classes: names, where the file holds none.

        Raises:
            DetectionError: it cannot be read as such a table, or holds no box.
        """
        table = read_any(path, classes=classes)
        if not len(table):
            raise DetectionError(f"{path}: holds no true box, so that nothing can be scored")
        return cls(table, path)

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the file tells of its making."""
        return self.table.metadata

    @property
    def steps(self) -> int:
        """T, where every step's looks are known; else 0."""
        looks = self.metadata.get("step_looks") or ()
        return len(looks) if len(looks) > 1 else 0

    @property
    def scored_step(self) -> int | None:
        """The time step of a window that is scored; None: whichever stands at a look."""
        step = self.metadata.get("scored_step")
        return step if isinstance(step, int) else None

    def scored(self, events: npt.NDArray[np.int64] | None = None) -> GroundTruth:
        """What is scored: the last step of each window, or whatever stands at a look; without looks in the file (which
        another program wrote), every time that has a box."""
        looks = self.metadata.get("looks")
        truth = self._at(self.scored_step, looks if isinstance(looks, dict) else None)
        return replace(truth, events=events)

    def at_step(self, step: int) -> GroundTruth:
        """The same at one time step of each window."""
        return self._at(step, self.metadata["step_looks"][step])

    def _at(self, step: int | None, times: Mapping[str, Sequence[int]] | None) -> GroundTruth:
        boxes = of_step(self.table, step)
        if times is None:
            return replace(GroundTruth.of(boxes), tags=hours(boxes.recordings))
        names = tuple(dict.fromkeys([*self.metadata.get("recordings", ()), *times, *boxes.recordings]))
        looks = Looks.named(times, names)
        # Of whole recordings more is known than is scored.
        return GroundTruth(boxes[looks.hold(boxes)], looks, tags=hours(names))

    def scale(self) -> tuple[float, float]:
        """By what px of the sensor become px of the encoded frame.

        Raises:
            ConfigError: the file does not tell.
        """
        try:
            x, y = self.metadata["scale"]
        except (KeyError, ValueError, TypeError) as error:
            raise ConfigError(f"pixels=frame: {self.path} does not tell the frame's size; expected sensor") from error
        return float(x), float(y)


def ran_at(found: DetectionTable, stored: StoredTruth, truth: GroundTruth) -> Looks | None:
    """When a detector ran: at the truth's looks where both were made together, or as its own table tells; None where
    only its rows do."""
    made, of_truth = (table.metadata.get("identity") or {} for table in (found, stored.table))
    together = all(made.get(key) == of_truth.get(key) for key in ("data", "windows"))
    if together and made.get("data") is not None:  # tables of predict tell of no data set
        return truth.looks
    times = found.metadata.get("looks")
    return Looks.named(times) if isinstance(times, dict) else None


def own_step(found: DetectionTable, stored: StoredTruth) -> int | None:
    """The time step of a window whose detections are scored, as the network that found them has it: it may have been
    run on windows of more steps than the truth was made with. Of another program's table the truth's own; None: all."""
    told = found.metadata
    if "scored_step" in told:  # a table of truth
        return StoredTruth(found, stored.path).scored_step
    windows = (told.get("identity") or {}).get("windows") or {}
    if "windows" in windows:
        return None if windows["windows"] == "every" else int(windows["time_steps"]) - 1
    return None if "time_steps" in told else stored.scored_step  # of predict one step ends at a time


def of_step(table: DetectionTable, step: int | None) -> DetectionTable:
    """The rows of a table that a step made; those of an unknown step too. None: all."""
    return table if step is None else table[(table.step == step) | (table.step < 0)]


def in_frame(table: DetectionTable, scale: tuple[float, float]) -> DetectionTable:
    """The same boxes in px of the encoded frame."""
    return replace(table, xywh=table.xywh * np.array([*scale, *scale], np.float32))


def hours(names: Sequence[str]) -> dict[str, Sequence[str]]:
    """``day`` and ``night`` of recordings whose names tell it, as eTraM's do (``val_2/val_night_007_td``)."""
    found = {name: _HOURS.findall(name) for name in names}
    return {name: (told[-1].lower(),) for name, told in found.items() if told}
