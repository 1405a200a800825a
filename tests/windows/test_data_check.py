"""What is looked at before anything is converted."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import pytest

from spikeyolo.errors import LabelError, RecordingError
from spikeyolo.events.datasets import Etram, SingleRecording
from spikeyolo.windows import data as data_module
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


def test_a_file_in_both_splits_is_refused_before_any_recording_is_converted(root: Path, tmp_path: Path) -> None:
    both = Etram(root=str(root), classes=etram_set.CLASSES, val_split="train")
    with pytest.raises(RecordingError, match="train_h5_1/a of val holds the same events as train_h5_1/a of train"):
        EventData(
            dataset=both, classes=etram_set.CLASSES, store=str(tmp_path / "store"), encoder=HistogramEncoder()
        ).check()
    assert not (tmp_path / "store").exists()


def test_a_copy_of_a_training_recording_is_refused_in_validation(root: Path, tmp_path: Path) -> None:
    (root / "val_h5_1" / "b.h5").write_bytes((root / "train_h5_1" / "a.h5").read_bytes())
    found = data(root, tmp_path / "store")
    found.check()  # by their names they differ
    found.parts("train")
    with pytest.raises(RecordingError, match="val_h5_1/b of val holds the same events as train_h5_1/a of train"):
        found.parts("val")


def test_the_two_parts_of_one_recording_are_apart(root: Path, tmp_path: Path) -> None:
    single = SingleRecording(
        events=str(root / "train_h5_1" / "a.h5"), classes=etram_set.CLASSES, train_until_us=etram_set.DURATION_US // 2
    )
    found = EventData(
        dataset=single, classes=etram_set.CLASSES, store=str(tmp_path / "store"), encoder=HistogramEncoder()
    )
    found.check()
    (train,), (val,) = found.parts("train"), found.parts("val")
    assert train.end_us == val.start_us


def test_memory_that_does_not_hold_all_events_keeps_the_chunks_read_last(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found = EventData(
        dataset=Etram(root=str(root), classes=etram_set.CLASSES),
        classes=etram_set.CLASSES,
        store=str(tmp_path / "store"),
        encoder=HistogramEncoder(),
        cache="ram",
        cache_memory=0.5,
        workers=2,
    )
    assert found.parts("train")[0].recording.cache == "ram"
    events = found.parts("train")[0].recording.num_events
    for memory, cache in ((8 * events * 8, "ram"), (8 * events * 8 - 16, "none")):  # half of it for four processes
        monkeypatch.setattr(data_module, "memory_bytes", lambda memory=memory: memory)
        caplog.clear()
        with caplog.at_level(logging.INFO):
            (part,) = found.parts("train")
        assert part.recording.cache == cache
        assert ("data.cache_memory" in caplog.text) == (cache == "none")
    assert part.recording.count(part.start_us, part.end_us) == events


def test_the_folder_of_mapped_copies_is_said(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = EventData(
        dataset=Etram(root=str(root), classes=etram_set.CLASSES),
        classes=etram_set.CLASSES,
        store=str(tmp_path / "store"),
        encoder=HistogramEncoder(),
        cache="mmap",
        cache_folder=str(tmp_path / "maps"),
    )
    with caplog.at_level(logging.INFO):
        (part,) = found.parts("train")
    assert f"decoded events in {tmp_path}/maps" in caplog.text
    part.recording.rows(0, 10)
    assert len(list((tmp_path / "maps").glob("*.npy"))) == 1
