"""What is looked at before anything is converted."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from spikeyolo.errors import LabelError, RecordingError
from spikeyolo.events.datasets import Etram
from spikeyolo.windows.data import EventData
from spikeyolo.windows.encoders import HistogramEncoder

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import etram_set


def data(root: Path, store: Path) -> EventData:
    return EventData(
        dataset=Etram(root=str(root), classes=etram_set.CLASSES),
        classes=etram_set.CLASSES,
        store=str(store),
        encoder=HistogramEncoder(),
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, folder in enumerate(("train_h5_1", "val_h5_1")):
        events, boxes = etram_set.film(number)
        etram_set.write_events(tmp_path / "set" / folder / "a.h5", events)
        np.save(tmp_path / "set" / folder / "a_bbox.npy", etram_set.label_rows(boxes))
    return tmp_path / "set"


def test_a_sound_set_passes_and_converts_nothing(root: Path, tmp_path: Path) -> None:
    data(root, tmp_path / "store").check()
    assert not (tmp_path / "store").exists()


def test_a_bad_validation_label_file_is_found_before_any_recording_is_converted(root: Path, tmp_path: Path) -> None:
    path = root / "val_h5_1" / "a_bbox.npy"
    rows = np.load(path)
    rows["class_id"][0] = 9
    np.save(path, rows)
    with pytest.raises(LabelError, match=r"a_bbox\.npy"):
        data(root, tmp_path / "store").check()
    assert not (tmp_path / "store").exists()


def test_a_missing_validation_folder_is_found_before_any_recording_is_converted(root: Path, tmp_path: Path) -> None:
    (root / "val_h5_1").rename(root / "other")
    with pytest.raises(RecordingError, match="val_h5_"):
        data(root, tmp_path / "store").check()
    assert not (tmp_path / "store").exists()
