"""What the ``data`` group hands on to the windows: unknown beginnings, the sampler, and sensors of odd sizes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored import store

from spikeyolo.errors import RecordingError
from spikeyolo.events.datasets import Etram
from spikeyolo.events.labels import LabelRules
from spikeyolo.events.store import Recording
from spikeyolo.events.types import Boxes, Events
from spikeyolo.windows.data import EventData
from spikeyolo.windows.dataset import WindowDataset
from spikeyolo.windows.encoders import HistogramEncoder
from spikeyolo.windows.parts import Part
from spikeyolo.windows.rules import WindowRules

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import etram_set


def data(root: Path, store: Path, sampling: Literal["uniform", "balanced"] = "uniform", skip_us: int = 0) -> EventData:
    for number, folder in enumerate(("train_h5_1", "val_h5_1")):
        (root / folder).mkdir(parents=True, exist_ok=True)
        events, boxes = etram_set.film(number)
        if not (root / folder / "a.h5").exists():
            etram_set.write_events(root / folder / "a.h5", events)
            np.save(root / folder / "a_bbox.npy", etram_set.label_rows(boxes))
    return EventData(
        dataset=Etram(
            root=str(root), classes=etram_set.CLASSES, val_labels=LabelRules(skip_first_us=skip_us, clip_to_frame=True)
        ),
        classes=etram_set.CLASSES,
        store=str(store),
        encoder=HistogramEncoder(),
        slice_duration_us=1000,
        time_steps=3,
        batch_size=4,
        sampling=sampling,
    )


def test_no_validation_window_ends_in_the_beginning_that_the_label_rule_skips(tmp_path: Path) -> None:
    skip_us = etram_set.DURATION_US // 2
    whole = data(tmp_path / "set", tmp_path / "store").val_loader().dataset
    skipping = data(tmp_path / "set", tmp_path / "store", skip_us=skip_us).val_loader().dataset
    train = data(tmp_path / "set", tmp_path / "store", skip_us=skip_us).train_loader(augmentation=None, seed=0).dataset
    start = whole.parts[0].recording.start_us
    ends = [skipping.window(index).end_us for index in range(len(skipping))]
    assert min(ends) >= start + skip_us
    assert min(whole.window(index).end_us for index in range(len(whole))) < start + skip_us
    assert min(train.window(index).end_us for index in range(len(train))) < start + skip_us


def test_the_test_loader_serves_every_window_of_the_test_split_once_in_order(tmp_path: Path) -> None:
    served = data(tmp_path / "set", tmp_path / "store")
    with pytest.raises(RecordingError, match="no recordings of split 'test'"):
        served.test_loader()
    events, boxes = etram_set.film(2)
    etram_set.write_events(tmp_path / "set" / "test_h5_1" / "a.h5", events)
    np.save(tmp_path / "set" / "test_h5_1" / "a_bbox.npy", etram_set.label_rows(boxes))
    served = data(tmp_path / "set", tmp_path / "store")
    served.check(("test",))
    loader = served.test_loader()
    assert [part.name for part in loader.dataset.parts] == ["test_h5_1/a"]
    windows = [window for batch in loader.epoch(0) for window in batch.windows]
    assert windows == [loader.dataset.window(index) for index in range(len(loader.dataset))]


def test_balanced_sampling_serves_training_and_leaves_validation_in_order(tmp_path: Path) -> None:
    balanced = data(tmp_path / "set", tmp_path / "store", "balanced")
    train = balanced.train_loader(augmentation=None, seed=1)
    whole = [batch.windows for batch in train.epoch(2)]
    assert sum(len(windows) for windows in whole) == len(train.dataset)
    assert [batch.windows for batch in train.epoch(2, first_batch=1)] == whole[1:]
    assert train.sampler.balance is not None
    val = balanced.val_loader()
    windows = [window for batch in val.epoch(0) for window in batch.windows]
    assert windows == [val.dataset.window(index) for index in range(len(val.dataset))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("odd")


@given(
    width=st.sampled_from([7, 33, 101]),
    height=st.sampled_from([5, 21, 63]),
    downsample=st.integers(1, 5),
    seed=st.integers(0, 3),
)
def test_frames_and_boxes_of_odd_sensors_keep_every_event_in_its_box(
    folder: Path, width: int, height: int, downsample: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    left, top = int(generator.integers(0, width - 2)), int(generator.integers(0, height - 2))
    right, bottom = int(generator.integers(left + 1, width + 1)), int(generator.integers(top + 1, height + 1))
    count = 300
    x = generator.integers(left, right, count).astype(np.uint16)
    y = generator.integers(top, bottom, count).astype(np.uint16)
    x[:2], y[:2] = [left, right - 1], [top, bottom - 1]  # the box is tight
    name = folder / f"{width}-{height}-{seed}.zarr"
    events = Events(np.arange(count), x, y, np.ones(count, np.uint8), width, height)
    recording = Recording.open(name) if name.exists() else store(name, events)
    corners = np.array([[left, top, right, bottom]], np.float32)
    boxes = Boxes(np.array([count]), corners, np.zeros(1, np.int64), np.zeros(1, np.int64), np.ones(1, np.float32))
    windows = WindowDataset(
        [Part(recording, boxes, 0, count, "odd")],
        rules=WindowRules(count // 3, 3, targets="last", negative_share=0.0),
        encoder=HistogramEncoder(downsample=downsample),
    )
    sample = windows[0, 0]
    assert sample.frames.shape[2:] == (-(-height // downsample), -(-width // downsample))
    assert int(sample.frames.sum()) == count or int(sample.frames.max()) == 255
    assert np.allclose(sample.boxes.xyxy, corners / downsample, rtol=1e-6)
    rows, columns = np.nonzero(sample.frames.sum(axis=(0, 1)))
    x0, y0, x1, y1 = sample.boxes.xyxy[0]
    assert columns.min() == np.floor(x0)
    assert rows.min() == np.floor(y0)
    assert columns.max() == np.ceil(x1) - 1
    assert rows.max() == np.ceil(y1) - 1


def test_validation_windows_are_as_recorded_in_every_epoch(tmp_path: Path) -> None:
    windows = data(tmp_path / "set", tmp_path / "store").val_loader().dataset
    for index in range(len(windows)):
        first, later = windows[0, index], windows[7, index]
        at = first.window
        packed = windows.parts[at.recording].recording.packed(at.start_us, at.end_us)
        slice_us = (at.end_us - at.start_us) // len(first.frames)
        recorded = HistogramEncoder().encode(
            packed, start_us=at.start_us, slice_us=slice_us, out=np.empty_like(first.frames)
        )
        np.testing.assert_array_equal(first.frames, recorded)
        np.testing.assert_array_equal(later.frames, recorded)
        np.testing.assert_array_equal(later.boxes.xyxy, first.boxes.xyxy)
