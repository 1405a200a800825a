"""The parts of stored recordings that a split is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from spikeyolo.errors import ConfigError
from spikeyolo.events import Boxes
from spikeyolo.events.conversion.identity import first_event_us
from spikeyolo.events.labels import selected, without_common_ids
from spikeyolo.events.store import Recording
from spikeyolo.windows.matching import Times


@dataclass(frozen=True, eq=False)
class Part:
    """The part of a stored recording that belongs to one split.

    Attributes:
        recording: the open recording.
        boxes: its labels in px of the sensor; None where it has no label file, which is not the same as no box.
        start_us, end_us: µs; windows lie wholly inside.
        name: what messages call it.
        left_out_us: times at which annotators looked and a rule left out every box, µs: what they show is not known.
        labels_from_us: µs; objects before this time are not known (evaluation rules skip a recording's beginning),
            so that no window ends and no time step is supervised before it. None: all are known.
        looks_us: times at which the label file says what is to be seen, also where that is nothing, µs; None where it
            lists objects alone.
    """

    recording: Recording
    boxes: Boxes | None
    start_us: int
    end_us: int
    name: str
    labels_from_us: int | None = None
    left_out_us: npt.NDArray[np.int64] | None = None
    looks_us: npt.NDArray[np.int64] | None = None

    @property
    def inside(self) -> Boxes:
        """The labels at times of this part; none where it has no label file."""
        if self.boxes is None:
            return Boxes.empty()
        first = np.searchsorted(self.boxes.t, self.start_us, side="left")
        return self.boxes[int(first) : int(np.searchsorted(self.boxes.t, self.end_us, side="right"))]

    @property
    def counted(self) -> int:
        """How many labels this part has; one at its very start is counted by the part before, whose last window ends
        there."""
        t = self.inside.t
        return int(np.count_nonzero(t > self.start_us)) if self.start_us > self.recording.start_us else len(t)


def stored_parts(recordings: Sequence[Recording], classes: tuple[str, ...]) -> list[Part]:
    """Whole recordings as they were stored, with the labels of selected classes and what the rules of their conversion
    left out; track ids are kept where they name objects in this set."""
    notes = [recording.attributes.get("notes") or {} for recording in recordings]
    shared = {track_id for note in notes for track_id in note.get("shared_track_ids", ())}
    return [
        Part(
            item,
            selected(without_common_ids(item.boxes, shared), item.classes, classes) if item.labelled else None,
            item.start_us,
            item.end_us,
            item.name,
            labels_from(item, int((note.get("rules") or {}).get("skip_first_us", 0))),
            np.array(note.get("left_out_us", ()), np.int64),
            None if note.get("looks_us") is None else np.array(note["looks_us"], np.int64),
        )
        for item, note in zip(recordings, notes, strict=True)
    ]


def labels_from(recording: Recording, skip_first_us: int) -> int | None:
    """From when on a labelled recording's objects are known, µs, where a rule left out those before."""
    return first_event_us(recording) + skip_first_us if recording.labelled and skip_first_us else None


def absent_classes(parts: Sequence[Part], classes: Sequence[str]) -> list[str]:
    """Names of the classes of which no part has a box."""
    shown = np.zeros(len(classes), np.bool_)
    for part in parts:
        shown[part.inside.class_id] = True
    return [name for name, there in zip(classes, shown.tolist(), strict=True) if not there]


def without_labels(part: Part) -> Part:
    """What a worker needs of it: the labels come to it in the matcher's columns."""
    bare = part.recording.with_boxes(None, part.recording.classes)
    return replace(part, recording=bare, boxes=None, left_out_us=None, looks_us=None)


def used(ends: Times, part: Part) -> Times:
    """Of windows' ends, those at which the part's objects are known."""
    return ends if part.labels_from_us is None else ends[ends >= part.labels_from_us]


def common_sensor(parts: Sequence[Part]) -> tuple[int, int]:
    """Width and height of the sensor of all parts, px.

    Raises:
        ConfigError: there are no parts, or sensors of different sizes.
    """
    if not parts:
        raise ConfigError("the data set has no recordings; expected at least one")
    sizes = {(part.recording.width, part.recording.height): part.name for part in parts}
    if len(sizes) > 1:
        found = ", ".join(f"{width}x{height} px ({name})" for (width, height), name in sizes.items())
        raise ConfigError(f"recordings of different sensors in one data set: {found}; expected one size")
    return next(iter(sizes))
