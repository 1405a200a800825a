"""Where published data sets keep recordings, labels and splits; another one is one small class here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from spikeyolo.errors import RecordingError
from spikeyolo.events.cleaning import EventRules
from spikeyolo.events.datasets.files import checked
from spikeyolo.events.datasets.folders import SplitFolders
from spikeyolo.events.datasets.source import SensorSize, Source
from spikeyolo.events.filters import EventFilters
from spikeyolo.events.formats.tables.time_unit import TimeUnit
from spikeyolo.events.labels import LabelRules
from spikeyolo.events.splits import Role


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
