"""Data sets that keep each split in folders of its own, and recordings in folders of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Interval

from spikeyolo.errors import RecordingError
from spikeyolo.events.cleaning import EventRules
from spikeyolo.events.datasets.files import SUFFIXES, checked, find_recordings
from spikeyolo.events.datasets.source import SensorSize, Source, rules_of_roles, sensor_size
from spikeyolo.events.filters import EventFilters
from spikeyolo.events.formats.tables.time_unit import TimeUnit
from spikeyolo.events.labels import ClassSelection, LabelRules, labels_beside
from spikeyolo.events.splits import Role, check_share, drawn


class SplitFolders:
    """Base of data sets that keep each split in folders of its own, labels beside the events.

    Args:
        root: the folder that holds the splits' folders.
        classes: names, in the order of class ids; where the rules name the files' classes, a selection of those.
        train_split, val_split, test_split: which folders train, validate and test.
        train_labels, val_labels: label rules of training, and of validation and test.
        event_rules: how events are cleaned; None takes the defaults.
        size: sensor width and height, px, of files that name none.
        filters: which events are left out; None leaves out none.
        time_unit: of times in text and HDF5 columns of other names; None takes s for fractions, else µs.

    Raises:
        ConfigError: a class of the class list is none of the data set's.
    """

    folders: ClassVar[tuple[str, ...]] = ("{split}",)
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES

    def __init__(
        self,
        *,
        root: str,
        classes: Sequence[str],
        train_split: str = "train",
        val_split: str = "val",
        test_split: str = "test",
        train_labels: LabelRules | None = None,
        val_labels: LabelRules | None = None,
        event_rules: EventRules | None = None,
        size: SensorSize | None = None,
        filters: EventFilters | None = None,
        time_unit: TimeUnit | None = None,
    ) -> None:
        self.root = Path(root)
        self.classes = tuple(classes)
        self.splits: dict[Role, str] = {"train": train_split, "val": val_split, "test": test_split}
        self.rules = rules_of_roles(train_labels, val_labels)
        self.event_rules = event_rules or EventRules()
        self.size = sensor_size(size)
        self.filters = filters or EventFilters()
        self.time_unit = time_unit
        for rules in self.rules.values():
            ClassSelection(self.classes, rules)

    def sources(self, role: Role) -> list[Source]:
        """The recordings of a role, in order of their names.

        Raises:
            RecordingError: there is no such folder, no recording in it, or two recordings of one name.
        """
        split = self.splits[role]
        patterns = self._patterns(split)
        if not self.root.is_dir():
            raise RecordingError(f"{self.root}: no such folder; expected one that holds {' or '.join(patterns)}")
        folders = self._folders(split)
        found = [
            Source(file, self._labels(file), self._name(folder, file), split, **self._reading(role))
            for folder in folders
            for file in find_recordings(folder, self.suffixes)
        ]
        if not found:
            where = f"none in {', '.join(folder.name for folder in folders)}" if folders else "no such folder"
            raise RecordingError(
                f"{self.root}: no recordings of split {split!r} ({where}); expected files "
                f"*{{{','.join(self.suffixes)}}} in {' or '.join(patterns)}"
            )
        return checked(found)

    def _reading(self, role: Role) -> dict[str, Any]:
        """How the recordings and labels of a role are read."""
        return {
            "rules": self.rules[role],
            "event_rules": self.event_rules,
            "size": self.size,
            "filters": self.filters,
            "time_unit": self.time_unit,
        }

    def _patterns(self, split: str) -> list[str]:
        return [pattern.format(split=split) for pattern in self.folders]

    def _folders(self, split: str) -> list[Path]:
        found = {folder for pattern in self._patterns(split) for folder in self.root.glob(pattern)}
        return sorted(folder for folder in found if folder.is_dir())

    def _labels(self, events: Path) -> Path | None:
        return labels_beside(events)

    def _name(self, folder: Path, events: Path) -> str:
        return events.relative_to(self.root).with_suffix("").as_posix()


class RecordingFolders(SplitFolders):
    """Recordings of any known format in ``train/`` and ``val/`` (or ``train_1/``, …), or in one folder without splits.

    Args:
        root: the folder that holds the splits' folders, or the recordings.
        classes: names, in the order of class ids.
        train_split, val_split, test_split: which folders train, validate and test.
        val_share: share of the training recordings that validates instead, where there is no folder for it.
        split_seed: draws them.
        train_labels, val_labels, event_rules, size, filters, time_unit: see :class:`SplitFolders`.
    """

    folders = ("{split}", "{split}_*")

    def __init__(
        self,
        *,
        root: str,
        classes: Sequence[str],
        train_split: str = "train",
        val_split: str = "val",
        test_split: str = "test",
        val_share: Annotated[float, Interval(gt=0, lt=1)] | None = None,
        split_seed: Annotated[int, Ge(0)] = 0,
        train_labels: LabelRules | None = None,
        val_labels: LabelRules | None = None,
        event_rules: EventRules | None = None,
        size: SensorSize | None = None,
        filters: EventFilters | None = None,
        time_unit: TimeUnit | None = None,
    ) -> None:
        super().__init__(
            root=root,
            classes=classes,
            train_split=train_split,
            val_split=val_split,
            test_split=test_split,
            train_labels=train_labels,
            val_labels=val_labels,
            event_rules=event_rules,
            size=size,
            filters=filters,
            time_unit=time_unit,
        )
        self.val_share = val_share
        self.split_seed = split_seed

    def sources(self, role: Role) -> list[Source]:
        """The recordings of a role, in order of their names.

        Raises:
            RecordingError: there is no recording of this role, or two of one name.
            ConfigError: ``val_share`` is given, and there is a folder that validates.
        """
        split, folders = self.splits[role], {name: self._folders(name) for name in self.splits.values()}
        if self.val_share is None or role == "test":
            if role != "test" and not folders[split] and find_recordings(self.root, self.suffixes):
                raise RecordingError(
                    f"{self.root}: no folder of split {split!r}; expected {' or '.join(self._patterns(split))}, or "
                    "data.val_share=0.2 to draw the validation recordings"
                )
            return super().sources(role)
        train, val = self.splits["train"], self.splits["val"]
        check_share(train, val, {name for name, found in folders.items() if found})
        tests = set(folders[self.splits["test"]])  # below the root: not to be drawn from
        files = [
            file
            for folder in folders[train] or [self.root]
            for file in find_recordings(folder, self.suffixes)
            if not tests & set(file.parents)
        ]
        by_name = {self._name(self.root, file): file for file in files}
        drawn_names = drawn(list(by_name), self.val_share, self.split_seed, where=str(self.root))
        return checked(
            [
                Source(file, self._labels(file), name, split, **self._reading(role))
                for name, file in by_name.items()
                if (name in drawn_names) == (role == "val")
            ]
        )
