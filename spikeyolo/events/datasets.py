"""Where the recordings, labels, splits and classes of known data sets are; a new data set is one small class here."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Interval, Len

from spikeyolo.errors import ConfigError, RecordingError
from spikeyolo.events.cleaning import EventRules
from spikeyolo.events.filters import EventFilters
from spikeyolo.events.formats.tables.text_table import is_event_text
from spikeyolo.events.formats.tables.time_unit import TimeUnit
from spikeyolo.events.labels import ClassSelection, LabelRules, is_label_name, labels_beside, labels_of_file
from spikeyolo.events.splits import Role, check_share, drawn

log = logging.getLogger(__name__)

Side = Annotated[int, Interval(ge=1, le=4096)]
SensorSize = Annotated[Sequence[Side], Len(2, 2)]
SUFFIXES = (".aedat", ".aedat4", ".bag", ".bin", ".csv", ".dat", ".es", ".h5", ".hdf5", ".raw", ".txt")
TEXT_SUFFIXES = (".csv", ".txt")  # also those of labels and notes: their content decides


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

    def address(self, file: Path) -> str:
        """Where one of its files lies, in words."""
        return str(file) if self.folder is None else f"{self.folder}/{file}"


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


class Etram(SplitFolders):
    """eTraM (Verma et al., CVPR 2024): ``train_h5_1/NAME.h5`` beside ``NAME_bbox.npy``, in numbered folders a split."""

    folders = ("{split}", "{split}_h5_*")
    suffixes = (".h5", ".hdf5")


class Gen1(SplitFolders):
    """Prophesee Gen1 automotive (de Tournemire et al., 2020): ``NAME_td.dat`` beside ``NAME_bbox.npy``."""

    folders = ("{split}", "{split}_*", "detection_dataset_duration_60s_ratio_1.0/{split}")
    suffixes = (".dat", ".h5", ".hdf5")


class Mpx1(SplitFolders):
    """Prophesee 1 megapixel automotive (Perot et al., NeurIPS 2020): ``NAME_td.dat`` beside ``NAME_bbox.npy``."""

    folders = ("{split}", "{split}_*")
    suffixes = (".dat", ".h5", ".hdf5")


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


class DsecDetection(SplitFolders):
    """DSEC-Detection (Gehrig and Scaramuzza, Nature 2024): ``train/SEQUENCE/events/left/events.h5``.

    Args:
        val_sequences: sequences of the train folder that make the split ``val``.
    """

    _EVENTS: ClassVar[str] = "events/left/events.h5"
    _LABELS: ClassVar[str] = "object_detections/left/tracks.npy"

    def __init__(
        self,
        *,
        root: str,
        classes: Sequence[str],
        train_split: str = "train",
        val_split: str = "val",
        test_split: str = "test",
        val_sequences: Sequence[str],
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
        self.val_sequences = tuple(val_sequences)

    def sources(self, role: Role) -> list[Source]:
        """The recordings of a role, in order of their names.

        Raises:
            RecordingError: there is no such folder, or no sequence of this role in it.
        """
        split = self.splits[role]
        folder = self.root / ("train" if split == "val" else split)
        sequences = sorted(path.parents[2] for path in folder.glob(f"*/{self._EVENTS}"))
        if split in ("train", "val"):
            sequences = [path for path in sequences if (path.name in self.val_sequences) == (split == "val")]
        if not sequences:
            raise RecordingError(
                f"{folder}: no sequences of split {split!r}; expected {folder.name}/SEQUENCE/{self._EVENTS}"
            )
        return checked(
            [
                Source(
                    path / self._EVENTS,
                    path / self._LABELS if (path / self._LABELS).is_file() else None,
                    f"{split}/{path.name}",
                    split,
                    **self._reading(role),
                )
                for path in sequences
            ]
        )


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
            raise RecordingError(f"{self.events}: no such recording; expected an events file, or a folder of them")
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


def rules_of_roles(train: LabelRules | None, val: LabelRules | None) -> dict[Role, LabelRules]:
    """Label rules by role: what is tested is judged as what validates."""
    judged = val or LabelRules()
    return {"train": train or LabelRules(), "val": judged, "test": judged}


def sensor_size(size: Sequence[int] | None) -> tuple[int, int] | None:
    """Width and height, px, as a configuration lists them."""
    return None if size is None else (size[0], size[1])


def find_recordings(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """Files with one of these suffixes in the folder and those below it, in order; texts where they hold events."""
    return recordings_among(folder.rglob("*"), suffixes)


def recordings_among(paths: Iterable[Path], suffixes: Iterable[str]) -> list[Path]:
    """The files with one of these suffixes, in order; texts where they hold events."""
    wanted = tuple(suffixes)
    found = (path for path in paths if path.suffix.lower() in wanted and not is_label_name(path))
    files = sorted(path for path in found if path.is_file())
    return [path for path in files if path.suffix.lower() not in TEXT_SUFFIXES or is_event_text(path)]


def checked(sources: list[Source]) -> list[Source]:
    """The sources, if their names differ and the missing labels have been said.

    Raises:
        RecordingError: two have the same name.
    """
    seen: dict[str, str] = {}
    for source in sources:
        if source.name in seen:
            raise RecordingError(
                f"{source.address(source.events)} and {seen[source.name]} are two recordings of the name "
                f"{source.name!r} in split {source.split!r}; expected one: rename or remove the other"
            )
        seen[source.name] = source.address(source.events)
    unlabelled = [source for source in sources if source.labels is None]
    if unlabelled:
        log.warning(
            "%s%d of %d recordings have no label file beside them (the first: %s)",
            f"{sources[0].split}: " if sources[0].split else "",
            len(unlabelled),
            len(sources),
            unlabelled[0].address(unlabelled[0].events),
        )
    return sources
