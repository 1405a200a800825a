"""Sets without a box, or without one of a class: refused for training, said for validation."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pytest
from stored import boxes_at, random_events

from spikeyolo.errors import LabelError
from spikeyolo.events.store import RecordingWriter
from spikeyolo.events.types import Boxes
from spikeyolo.windows.data import EventData
from spikeyolo.windows.encoders import HistogramEncoder

CLASSES = ("car", "bus")


class Written:
    """A stored set: one recording a role."""

    def __init__(self, folder: Path, **boxes: Boxes) -> None:
        self.folder, self.boxes = folder, boxes

    def recordings(self, role: str, *, progress: object = None) -> Sequence[Path]:
        path = self.folder / f"{role}.zarr"
        events = random_events()
        with RecordingWriter(path, width=events.width, height=events.height, classes=CLASSES) as writer:
            writer.append(events)
            writer.set_boxes(self.boxes[role])
            writer.seal()
        return [path]


def data(folder: Path, *, train: Boxes, val: Boxes) -> EventData:
    return EventData(
        dataset=Written(folder, train=train, val=val),
        classes=CLASSES,
        store=str(folder),
        encoder=HistogramEncoder(),
        slice_duration_us=1000,
    )


CARS = boxes_at(range(10_000, 90_000, 5_000))


def test_a_training_set_without_any_box_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"^train: none of 1 recordings has a box; expected .* of car, bus"):
        data(tmp_path, train=Boxes.empty(), val=CARS).train_loader(augmentation=None, seed=0)


@pytest.mark.parametrize(
    ("val", "said"),
    [
        (CARS, ["val: no box of bus in 1 recordings: val/ap/bus, val/ap50/bus will not be defined"]),
        (Boxes.empty(), ["val: 1 recordings without any box: val/map50, val/map … will not be defined"]),
    ],
)
def test_a_validation_set_without_a_class_says_which_figures_will_not_be_defined(
    val: Boxes, said: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        data(tmp_path, train=CARS, val=val).val_loader()
    assert caplog.messages == said


def test_a_training_set_without_a_class_says_that_it_cannot_be_learnt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        data(tmp_path, train=CARS, val=CARS).train_loader(augmentation=None, seed=0)
    assert caplog.messages == ["train: no box of bus in 1 recordings: they cannot be learnt"]
