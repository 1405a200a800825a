"""An eTraM-shaped data set that nobody has tuned on: streets by day and night, made on first use in eTraM's layout."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import h5py
import numpy as np
from annotated_types import Ge

from experiments.etram_like import street
from spikeyolo.errors import RecordingError
from spikeyolo.events.datasets import Etram
from spikeyolo.events.datasets.source import Source
from spikeyolo.events.splits import Role
from spikeyolo.events.types import Boxes, Events

ROLES: tuple[Role, ...] = ("train", "val", "test")  # the order is part of each recording's seed
VERSION = 1  # raised whenever the same seed would give other recordings
LABEL = [("t", "<i8"), *((name, "<f4") for name in "xywh"), ("class_id", "<u4"), ("track_id", "<u4"),
         ("class_confidence", "<f4")]  # fmt: skip


class EtramLike(Etram):
    """Recordings of 2 s at 304×240 px with boxes at 30 Hz, every third by night.

    Args:
        root: where sets are made; this one lives in ``{root}/version1_seed0/{train,val,test}_h5_1/NAME.h5``.
        train_recordings, val_recordings, test_recordings: of each split.
        seed: of everything random.
        others: see :class:`Etram`.
    """

    def __init__(
        self,
        *,
        root: str,
        classes: Sequence[str],
        train_recordings: Annotated[int, Ge(1)] = 16,
        val_recordings: Annotated[int, Ge(1)] = 4,
        test_recordings: Annotated[int, Ge(1)] = 6,
        seed: Annotated[int, Ge(0)] = 0,
        **others: Any,
    ) -> None:
        super().__init__(root=str(Path(root) / f"version{VERSION}_seed{seed}"), classes=classes, **others)
        self.counts = {"train": train_recordings, "val": val_recordings, "test": test_recordings}
        self.seed = seed

    def sources(self, role: Role) -> list[Source]:
        """The recordings of a role; those that are missing are made first.

        Raises:
            RecordingError: they cannot be written.
        """
        expected = [self.path(role, number) for number in range(self.counts[role])]
        for number, path in enumerate(expected):
            if not path.exists():
                self._write(role, number, path)
        return [source for source in super().sources(role) if source.events in expected]

    def path(self, role: Role, number: int) -> Path:
        light = "night" if is_night(number) else "day"
        return self.root / f"{self.splits[role]}_h5_1" / f"{role}_{light}_{number:04d}.h5"

    def simulate(self, role: Role, number: int) -> tuple[Events, Boxes]:
        """One recording, whatever the others are."""
        generator = np.random.default_rng([self.seed, ROLES.index(role), number])
        scene = street.draw_street(generator, night=is_night(number))
        return scene.film(generator), scene.boxes()

    def _write(self, role: Role, number: int, path: Path) -> None:
        events, boxes = self.simulate(role, number)
        labels = path.with_name(f"{path.stem}_bbox.npy")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # A folder of this process: another one may be making the same recording.
            with tempfile.TemporaryDirectory(prefix="partial-", dir=self.root) as folder:
                partial, partial_labels = Path(folder) / path.name, Path(folder) / labels.name
                np.save(partial_labels, label_rows(boxes))
                with h5py.File(partial, "w") as file:
                    group = file.create_group("events")
                    for name, dtype in (("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")):
                        group.create_dataset(name, data=getattr(events, name).astype(dtype), compression="gzip")
                    group["width"], group["height"] = events.width, events.height
                partial_labels.replace(labels)  # first: a recording that is there has its labels
                partial.replace(path)
        except OSError as error:
            raise RecordingError(f"{path}: cannot be written ({error.strerror}); set data.root") from error


def is_night(number: int) -> bool:
    """Every third recording is filmed by night."""
    return number % 3 == 2


def label_rows(boxes: Boxes) -> np.ndarray[Any, np.dtype[np.void]]:
    """Boxes as eTraM's rows."""
    rows = np.zeros(len(boxes), LABEL)
    rows["t"], rows["class_id"], rows["track_id"], rows["class_confidence"] = boxes.t, boxes.class_id, boxes.track_id, 1
    rows["x"], rows["y"] = boxes.xyxy[:, 0], boxes.xyxy[:, 1]
    rows["w"], rows["h"] = (boxes.xyxy[:, 2:] - boxes.xyxy[:, :2]).T
    return rows
