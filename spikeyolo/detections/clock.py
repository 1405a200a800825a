"""Whose clock the times of other programs' tables are on; those of ours count from each recording's first event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from spikeyolo.detections.table import DetectionTable
from spikeyolo.detections.truth import Looks
from spikeyolo.errors import DetectionError

Clock = Literal["start", "camera"]  # as of labels: from the first event, or as the events file counts
OFFSETS = "time_offset_us"  # in the metadata of a table of ours: recording → what was taken off its file's times, µs
Timed = TypeVar("Timed", DetectionTable, Looks)


def from_camera(table: DetectionTable, offsets_us: Mapping[str, int]) -> DetectionTable:
    """A table of the cameras' clocks on ours, with its looks.

    Args:
        table: of another program.
        offsets_us: by recording, what was taken off the times of its events file, µs.

    Raises:
        DetectionError: of one of its recordings that is not known.
    """
    offsets = _offsets(table, offsets_us)
    looks = table.metadata.get("looks")
    metadata = dict(table.metadata)
    if isinstance(looks, dict):
        metadata["looks"] = {
            name: [t_us - offsets_us[name] for t_us in times] for name, times in looks.items() if name in offsets_us
        }
    return replace(table, t_us=table.t_us - offsets, metadata=metadata)


def to_camera(item: Timed, offsets_us: Mapping[str, int]) -> Timed:
    """A table or looks of ours on the cameras' clocks, as label files and other programs have them.

    Raises:
        DetectionError: what was taken off one of its recordings is not known.
    """
    return replace(item, t_us=item.t_us + _offsets(item, offsets_us))


def is_ours(metadata: Mapping[str, Any]) -> bool:
    """Whether a table with these metadata is one of ours, whose times count from the first event."""
    return "spikeyolo" in metadata or OFFSETS in metadata


def _offsets(item: DetectionTable | Looks, offsets_us: Mapping[str, int]) -> npt.NDArray[np.int64]:
    """One a row."""
    used = {item.recordings[i] for i in np.unique(item.recording)}
    unknown = sorted(used - offsets_us.keys())
    if unknown:
        raise DetectionError(
            f"clock: found camera, but the table does not tell at which time of its camera {unknown[0]} begins; "
            "expected a table that fresh=true made anew, or clock=start"
        )
    return np.array([offsets_us.get(name, 0) for name in item.recordings] or [0], np.int64)[item.recording]
