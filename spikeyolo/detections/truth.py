"""Truth of any number of recordings: the true boxes, and the times at which somebody looked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from spikeyolo.detections.table import DetectionTable
from spikeyolo.errors import DetectionError


@dataclass(frozen=True, eq=False)
class Looks:
    """Times of recordings, in any order.

    Attributes:
        recordings: names; ``recording`` counts in them. May name recordings without a time.
        recording: ``[L]`` int64, index of the recording.
        t_us: ``[L]`` int64, µs from the recording's start.
    """

    recordings: tuple[str, ...]
    recording: npt.NDArray[np.int64]
    t_us: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.t_us)

    @classmethod
    def of(cls, table: DetectionTable) -> Looks:
        """Each time that has a row in the table, once."""
        rows = np.unique(np.column_stack((table.recording, table.t_us)), axis=0)
        return cls(table.recordings, rows[:, 0], rows[:, 1])

    @classmethod
    def named(cls, times: Mapping[str, Sequence[int]], recordings: Sequence[str] = ()) -> Looks:
        """From the times of recordings by name, beside which there may be others without a time."""
        names = tuple(dict.fromkeys([*recordings, *times]))
        found = [np.unique(np.array(times.get(name, ()), np.int64)) for name in names]
        recording = np.repeat(np.arange(len(names), dtype=np.int64), [len(one) for one in found])
        return cls(names, recording, np.concatenate([*found, np.empty(0, np.int64)]))

    @staticmethod
    def by_name(places: Iterable[tuple[str, int]]) -> dict[str, list[int]]:
        """Times by recording, as metadata hold them, from pairs of both."""
        times: dict[str, set[int]] = {}
        for name, t_us in places:
            times.setdefault(name, set()).add(int(t_us))
        return {name: sorted(found) for name, found in times.items()}

    def hold(self, table: DetectionTable | Looks) -> npt.NDArray[np.bool_]:
        """``[M]``, which rows of a table, or other looks, lie at one of the times."""
        index = {name: i for i, name in enumerate(self.recordings)}
        recording = np.array([index.get(name, -1) for name in table.recordings] or [0], np.int64)[table.recording]
        times, t_us = np.unique(np.concatenate((self.t_us, table.t_us)), return_inverse=True)
        looked = self.recording * len(times) + t_us[: len(self)]
        held: npt.NDArray[np.bool_] = np.isin(recording * len(times) + t_us[len(self) :], looked) & (recording >= 0)
        return held


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """What detections are scored against.

    Attributes:
        boxes: one row a true box, score 1; its ``recordings`` may name some without a box.
        looks: every time at which truth was looked at, with or without boxes. Detections at other times are neither
            right nor wrong.
        tags: of recordings, by name, as in ``{"night_0031": ("night",)}``.
        events: ``[M]`` int64, number of events in each box; None where nobody counted.
    """

    boxes: DetectionTable
    looks: Looks
    tags: Mapping[str, Sequence[str]] = field(default_factory=dict)
    events: npt.NDArray[np.int64] | None = None

    @classmethod
    def of(cls, boxes: DetectionTable) -> GroundTruth:
        """Truth that was looked at wherever it has a box."""
        return cls(boxes, Looks.of(boxes))

    def check(self, source: str) -> None:
        """Raise one sentence if the parts contradict one another.

        Raises:
            DetectionError: a box lies at a time at which nobody looked, two boxes of one track lie at one time, or
                columns differ in length.
        """
        boxes = self.boxes
        boxes.check(source)
        if self.events is not None and len(self.events) != len(boxes):
            raise DetectionError(f"{source}: events has {len(self.events)} rows; expected {len(boxes)}")
        unseen = np.flatnonzero(~self.looks.hold(boxes))
        if len(unseen):
            row = int(unseen[0])
            raise DetectionError(
                f"{source}: {boxes.recordings[boxes.recording[row]]} has a box at {boxes.t_us[row]} µs, at which "
                "nobody looked; expected a look"
            )
        order = np.lexsort((boxes.track_id, boxes.t_us, boxes.recording))
        order = order[boxes.track_id[order] >= 0]
        columns = (boxes.recording, boxes.t_us, boxes.track_id)
        twice = np.flatnonzero(np.all([np.diff(column[order]) == 0 for column in columns], axis=0))
        if len(twice):
            row = int(order[twice[0]])
            raise DetectionError(
                f"{source}: {boxes.recordings[boxes.recording[row]]} has two boxes of track {boxes.track_id[row]} at "
                f"{boxes.t_us[row]} µs; expected one"
            )
