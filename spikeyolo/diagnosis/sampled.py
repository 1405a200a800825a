"""Some recordings of a data set in place of all: what is not looked at is neither read nor converted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from spikeyolo.events.datasets import Source
from spikeyolo.events.labels import LabelCorrection
from spikeyolo.events.labels.units import TimeUnit
from spikeyolo.events.splits import Role
from spikeyolo.events.store import Recording
from spikeyolo.windows.data import EventData, Progress, RecordedSet, StoredSet
from spikeyolo.windows.slicing import spread

MOST = {"train": 24, "val": 8, "test": 8}  # recordings of a role


class SampledFiles:
    """Files of a set, spread evenly over its list; those with labels are preferred.

    Args:
        inner: the set.

    Attributes:
        found: recordings there are, by role.
        lenient: boxes that cannot be are left out, where otherwise the file is refused.
        correction: of all labels; None takes the set's own.
        unit: of all label times; None takes the set's own.
    """

    def __init__(self, inner: RecordedSet) -> None:
        self.inner = inner
        self.found: dict[str, int] = {}
        self.lenient = False
        self.correction: LabelCorrection | None = None
        self.unit: TimeUnit | None = None
        self._chosen: dict[str, list[Source]] = {}

    def sources(self, role: Role) -> list[Source]:
        """The chosen recordings of a role, in their order."""
        if role not in self._chosen:
            every = self.inner.sources(role)
            labelled = [item for item in every if item.labels is not None] or every
            self.found[role] = len(every)
            self._chosen[role] = [labelled[index] for index in spread(len(labelled), MOST[role]).tolist()]
        chosen = self._chosen[role]
        if self.correction is not None:
            chosen = [replace(item, rules=replace(item.rules, correction=self.correction)) for item in chosen]
        if self.unit is not None:
            chosen = [replace(item, rules=replace(item.rules, time_unit=self.unit)) for item in chosen]
        if self.lenient:
            chosen = [replace(item, rules=replace(item.rules, drop_invalid_boxes=True)) for item in chosen]
        return chosen


class SampledStore:
    """Stored recordings of a set, spread evenly over its list.

    Args:
        inner: the set.

    Attributes:
        found: recordings there are, by role.
    """

    def __init__(self, inner: StoredSet) -> None:
        self.inner = inner
        self.found: dict[str, int] = {}

    def recordings(self, role: Role, *, progress: Progress | None = None) -> Sequence[Path | Recording]:
        """The chosen recordings of a role, in their order."""
        every = self.inner.recordings(role, progress=progress)
        self.found[role] = len(every)
        return [every[index] for index in spread(len(every), MOST[role]).tolist()]


def sample(data: EventData) -> SampledFiles | SampledStore:
    """Let a data set be a sample of itself; returns the sample."""
    taken: SampledFiles | SampledStore
    if isinstance(data.dataset, RecordedSet):
        taken = SampledFiles(data.dataset)
    else:
        taken = SampledStore(data.dataset)
    data.dataset = taken
    return taken
