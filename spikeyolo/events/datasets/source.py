"""One recording of a data set: its files, the split it belongs to, and how events and labels are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from annotated_types import Interval, Len

from spikeyolo.events.cleaning import EventRules
from spikeyolo.events.filters import EventFilters
from spikeyolo.events.formats.tables.time_unit import TimeUnit
from spikeyolo.events.labels import LabelRules
from spikeyolo.events.splits import Role

Side = Annotated[int, Interval(ge=1, le=4096)]
SensorSize = Annotated[Sequence[Side], Len(2, 2)]


@dataclass(frozen=True)
class Source:
    """One recording of a split, as its lab keeps it.

    Attributes:
        events: the file.
        labels: its label file; None where it has none.
        name: unique within the split.
        split: the split's name.
        start_us, end_us: the part of the recording that belongs to the split, µs from its first event; None for its
            start and end.
        rules: how its labels are cleaned.
        folder: URL of the folder in which events and labels lie; None where they are paths on this machine.
        versions: ETag and size of each file behind a URL, where the store tells them.
        event_rules: how its events are cleaned.
        size: sensor width and height, px, where the file names none.
        filters: which of its events are left out.
        time_unit: of its times, where the file is text or names its columns otherwise; None guesses.
        remote_bytes: size of the events file behind a URL, where the store tells it.
    """

    events: Path
    labels: Path | None
    name: str
    split: str
    start_us: int | None = None
    end_us: int | None = None
    rules: LabelRules = field(default_factory=LabelRules)
    folder: str | None = None
    versions: dict[str, str] | None = None
    event_rules: EventRules = field(default_factory=EventRules)
    size: tuple[int, int] | None = None
    filters: EventFilters = field(default_factory=EventFilters)
    time_unit: TimeUnit | None = None
    remote_bytes: int | None = None

    @property
    def size_bytes(self) -> int:
        """Of the events file; 0 where nothing tells."""
        if self.folder is not None:
            return self.remote_bytes or 0
        try:
            return self.events.stat().st_size
        except OSError:  # converting it will say what is wrong
            return 0

    def address(self, file: Path) -> str:
        """Where one of its files lies, in words."""
        return str(file) if self.folder is None else f"{self.folder}/{file}"


def rules_of_roles(train: LabelRules | None, val: LabelRules | None) -> dict[Role, LabelRules]:
    """Label rules by role: what is tested is judged as what validates."""
    judged = val or LabelRules()
    return {"train": train or LabelRules(), "val": judged, "test": judged}


def sensor_size(size: Sequence[int] | None) -> tuple[int, int] | None:
    """Width and height, px, as a configuration lists them."""
    return None if size is None else (size[0], size[1])
