"""One recording, or a folder of them, of which each is cut into a part that trains and parts that judge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from annotated_types import Ge

from spikeyolo.errors import ConfigError, RecordingError
from spikeyolo.events.cleaning import EventRules
from spikeyolo.events.datasets.files import SUFFIXES, checked, find_recordings
from spikeyolo.events.datasets.source import SensorSize, Source, rules_of_roles, sensor_size
from spikeyolo.events.filters import EventFilters
from spikeyolo.events.formats.tables.time_unit import TimeUnit
from spikeyolo.events.labels import ClassSelection, LabelRules, labels_of_file
from spikeyolo.events.splits import Role


class SingleRecording:
    """One recording, or a folder of them: the first part of each trains, the rest validates and tests.

    Args:
        events: the file, or a folder of files.
        classes: names, in the order of class ids; where the rules name the files' classes, a selection of those.
        train_until_us: where training ends and validation begins, µs from the recording's start.
        test_from_us: where validation ends and the test begins, µs from the recording's start; None tests nothing.
        labels: the label file, or a folder of them; None looks for ``NAME_bbox.npy`` and the like beside each file.
        train_labels, val_labels: label rules of training, and of validation and test.
        event_rules: how events are cleaned; None takes the defaults.
        size: sensor width and height, px, of files that name none.
        filters: which events are left out; None leaves out none.
        time_unit: of times in text and HDF5 columns of other names; None takes s for fractions, else µs.

    Raises:
        ConfigError: a label file is named for a folder, a class of the class list is none of the files', or the test
            begins before validation does.
    """

    def __init__(
        self,
        *,
        events: str,
        classes: Sequence[str],
        train_until_us: Annotated[int, Ge(1)],
        test_from_us: Annotated[int, Ge(1)] | None = None,
        labels: str | None = None,
        train_labels: LabelRules | None = None,
        val_labels: LabelRules | None = None,
        event_rules: EventRules | None = None,
        size: SensorSize | None = None,
        filters: EventFilters | None = None,
        time_unit: TimeUnit | None = None,
    ) -> None:
        self.events = Path(events)
        self.classes = tuple(classes)
        self.train_until_us = train_until_us
        self.test_from_us = test_from_us
        if test_from_us is not None and test_from_us <= train_until_us:
            raise ConfigError(
                f"data.test_from_us: found {test_from_us}; expected more than data.train_until_us ({train_until_us}), "
                "so that some of each recording validates"
            )
        self.labels = None if labels is None else Path(labels)
        self.rules = rules_of_roles(train_labels, val_labels)
        self.event_rules = event_rules or EventRules()
        self.size = sensor_size(size)
        self.filters = filters or EventFilters()
        self.time_unit = time_unit
        for rules in self.rules.values():
            ClassSelection(self.classes, rules)
        if self.labels is not None and self.events.is_dir() and not self.labels.is_dir():
            raise ConfigError(
                f"labels: found {labels} for the folder {events}; expected labels beside each recording, "
                "or a folder of them"
            )

    def sources(self, role: Role) -> list[Source]:
        """The recordings; each is named in every role, with the part that belongs to the role.

        Raises:
            ConfigError: nothing was set aside for the test.
            RecordingError: there is no such file, or no recording in the folder.
        """
        if self.events.is_dir():
            files = find_recordings(self.events, SUFFIXES)
            expected = f"files *{{{','.join(SUFFIXES)}}}"
            if not files:
                raise RecordingError(f"{self.events}: a folder without recordings; expected {expected}")
        elif self.events.is_file():
            files = [self.events]
        else:
            raise RecordingError(
                f"{self.events}: no such recording in {self.events.absolute().parent}; expected an events file, or a "
                "folder of them"
            )
        if role == "test" and self.test_from_us is None:
            raise ConfigError("data.test_from_us must be given: where each recording's test begins, µs from its start")
        spans: dict[Role, tuple[int | None, int | None]] = {
            "train": (None, self.train_until_us),
            "val": (self.train_until_us, self.test_from_us),
            "test": (self.test_from_us, None),
        }
        start, end = spans[role]
        return checked(
            [
                Source(
                    file,
                    labels_of_file(file, self.labels, self.events if self.events.is_dir() else None),
                    file.stem,
                    role,
                    start,
                    end,
                    rules=self.rules[role],
                    event_rules=self.event_rules,
                    size=self.size,
                    filters=self.filters,
                    time_unit=self.time_unit,
                )
                for file in files
            ]
        )
