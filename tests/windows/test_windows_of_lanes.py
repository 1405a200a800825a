"""What lanes show: recordings without gap or overlap, under one augmentation, scored where their labels are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stored import END_US, HEIGHT, WIDTH, boxes_at, part, random_events, store

from spikeyolo.errors import ConfigError
from spikeyolo.windows.augment import Augmentation
from spikeyolo.windows.data import EventData
from spikeyolo.windows.dataset import WindowDataset
from spikeyolo.windows.encoders import HistogramEncoder
from spikeyolo.windows.parts import Part
from spikeyolo.windows.placement import Placement
from spikeyolo.windows.rules import WindowRules
from spikeyolo.windows.serving.lanes import LaneSampler, MixedSampler, RecordingSampler
from spikeyolo.windows.serving.loader import WindowLoader
from spikeyolo.windows.serving.sampler import Draw

LABELS = (10_000, 20_300, 30_000, 40_000)  # µs; the second lies within a slice
RULES = WindowRules(slice_duration_us=1000, time_steps=3, max_samples_per_file=2)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Part]:
    folder = tmp_path_factory.mktemp("lanes")
    recordings = [store(folder / f"{seed}.zarr", random_events(seed=seed)) for seed in range(3)]
    return [
        part(recordings[0], boxes_at(LABELS, track=7)),
        part(recordings[1], None),
        part(recordings[2], boxes_at(LABELS), start_us=20_500, end_us=29_000),
    ]


def shown(dataset: WindowDataset, draws: list[Draw]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.concatenate([dataset[draw].frames for draw in draws])


def test_the_windows_of_a_recording_joined_are_the_recording(parts: list[Part]) -> None:
    dataset = WindowDataset(parts, rules=RULES, encoder=HistogramEncoder(), cut="lanes")
    assert dataset.recordings_of_lanes.tolist() == [0] * 33 + [2] * 2  # one without labels is nothing to follow
    expected = np.empty((99, 2, HEIGHT, WIDTH), np.uint8)
    HistogramEncoder().encode(parts[0].recording.packed(0, 99_000), start_us=0, slice_us=1000, out=expected)
    np.testing.assert_array_equal(shown(dataset, [Draw(0, index, 0, True) for index in range(33)]), expected)


def test_the_boxes_of_windows_one_behind_the_other_are_those_of_one_long_window(parts: list[Part]) -> None:
    dataset = WindowDataset(parts[:1], rules=RULES, encoder=HistogramEncoder(), cut="lanes")
    long = WindowRules(slice_duration_us=1000, time_steps=99)
    (whole,) = [WindowDataset(parts[:1], rules=long, encoder=HistogramEncoder(), cut="lanes")[0, 0]]
    samples = [dataset[Draw(0, index, 0, True)] for index in range(33)]
    joined = np.concatenate([3 * i + sample.boxes.step for i, sample in enumerate(samples)])
    between = (joined >= 9) & (joined < 40)  # beyond the labels a longer window holds them on for longer
    inside = (whole.boxes.step >= 9) & (whole.boxes.step < 40)
    np.testing.assert_array_equal(joined[between], whole.boxes.step[inside])
    boxes = np.concatenate([sample.boxes.xyxy for sample in samples])
    np.testing.assert_allclose(boxes[between], whole.boxes.xyxy[inside], atol=1e-4)


def test_a_lane_is_under_one_augmentation_until_it_begins_afresh(parts: list[Part]) -> None:
    turned = Augmentation(flip=0.5, shift=0.3, polarity_flip=0.5, drop_area=0.3)
    dataset = WindowDataset(parts[:1], rules=RULES, encoder=HistogramEncoder(), augmentation=turned, cut="lanes")
    long = WindowRules(slice_duration_us=1000, time_steps=99)
    one = WindowDataset(parts[:1], rules=long, encoder=HistogramEncoder(), augmentation=turned, cut="lanes")
    different = 0
    for epoch in range(6):
        lane = shown(dataset, [Draw(epoch, index, 0, True) for index in range(33)])
        np.testing.assert_array_equal(lane, one[Draw(epoch, 0, 0)].frames)
        alone = shown(dataset, [Draw(epoch, index) for index in range(33)])
        different += not np.array_equal(alone, lane)
    assert different == 6
    other = shown(dataset, [Draw(0, index, 1, True) for index in range(33)])
    assert not np.array_equal(other, shown(dataset, [Draw(0, index, 0, True) for index in range(33)]))


class Watched(HistogramEncoder):
    """Keeps where each window was placed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Placement] = []

    def encode(self, packed: Any, **how: Any) -> None:
        self.seen.append(how["placement"])
        super().encode(packed, **how)


def test_a_lane_is_placed_once_however_many_events_its_windows_have(parts: list[Part]) -> None:
    encoder = Watched()
    placed = Augmentation(
        flip=0.5, zoom_min=0.5, zoom_max=2.0, shift=0.3, rotation=20.0, event_drop=0.9, noise=0.5, contrast=0.5
    )
    dataset = WindowDataset(parts[:1], rules=RULES, encoder=encoder, augmentation=placed, cut="lanes")
    for index in range(33):
        dataset[Draw(0, index, 0, True)]
    assert len(set(encoder.seen)) == 1
    for index in range(33):
        dataset[Draw(0, index)]
    assert len(set(encoder.seen)) == 34


@pytest.mark.parametrize("setting", [{"event_drop": 0.9}, {"contrast": 0.9}, {"noise": 1.0}])
def test_how_much_of_an_augmentation_happens_is_the_same_all_along_a_lane(
    parts: list[Part], setting: dict[str, float]
) -> None:
    dataset = WindowDataset(
        parts[:1], rules=RULES, encoder=HistogramEncoder(), augmentation=Augmentation(**setting), cut="lanes"
    )
    plain = WindowDataset(parts[:1], rules=RULES, encoder=HistogramEncoder(), cut="lanes")

    def left(draws: list[Draw]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        events = [dataset[draw].frames.sum(dtype=np.int64) / plain[draw].frames.sum(dtype=np.int64) for draw in draws]
        return np.array(events)

    lanes = [left([Draw(epoch, index, 0, True) for index in range(33)]) for epoch in range(8)]
    alone = left([Draw(1, index) for index in range(33)])
    within = max(lane.std() for lane in lanes)
    assert within < 0.7 * alone.std()
    assert np.std([lane.mean() for lane in lanes]) > within / 2  # and another along another lane


def test_what_happens_to_each_event_differs_from_window_to_window(parts: list[Part]) -> None:
    events = parts[0].recording.packed(0, 3000)
    drop = Augmentation(event_drop=0.9)
    first, second = (
        drop.events(events, np.random.default_rng(seed), np.random.default_rng(5), width=WIDTH, height=HEIGHT)
        for seed in (1, 2)
    )
    assert 0 < len(first) < len(events)
    assert not np.array_equal(first, second)


def test_validation_covers_a_recording_to_its_last_whole_slice_and_shows_nothing_beyond_its_part(
    parts: list[Part],
) -> None:
    dataset = WindowDataset(parts[2:], rules=RULES, encoder=HistogramEncoder(), cut="whole")
    assert [dataset.window(index).end_us for index in range(len(dataset))] == [23_500, 26_500, 29_500]
    frames = dataset[Draw(0, 2, 0, True)].frames
    assert frames[:2].any()
    expected = np.empty((1, 2, HEIGHT, WIDTH), np.uint8)
    HistogramEncoder().encode(parts[2].recording.packed(28_500, 29_000), start_us=28_500, slice_us=1000, out=expected)
    np.testing.assert_array_equal(frames[2:], expected)  # the rest of it belongs to another split


class Given:
    """A data set of one role for all, whose recordings are open already."""

    def __init__(self, parts: list[Part]) -> None:
        self.parts = parts

    def recordings(self, role: str, *, progress: object = None) -> list[Path]:
        return []


def data(parts: list[Part], monkeypatch: pytest.MonkeyPatch, **settings: object) -> EventData:
    rules = {"slice_duration_us": 1000, "time_steps": 3, "batch_size": 4, **settings}
    built = EventData(dataset=Given(parts), classes=["car"], store="unused", encoder=HistogramEncoder(), **rules)  # type: ignore[arg-type]
    monkeypatch.setattr(built, "parts", lambda role, progress=None: parts)
    return built


def test_streaming_and_mixed_serve_lanes_in_training_and_whole_recordings_in_validation(
    parts: list[Part], monkeypatch: pytest.MonkeyPatch
) -> None:
    streaming = data(parts, monkeypatch, sampling="streaming")
    train = streaming.train_loader(augmentation=None, seed=0)
    assert isinstance(train.sampler, LaneSampler)
    assert train.sampler.batch_size == 4
    batch = next(train.epoch(0))
    assert batch.follows == (False,) * 4
    val = streaming.val_loader()
    assert isinstance(val.sampler, RecordingSampler)
    assert sum(len(batch.windows) for batch in val.epoch(0)) == len(val.dataset)
    mixed = data(parts, monkeypatch, sampling="mixed", batch_size=5).train_loader(augmentation=None, seed=0)
    assert isinstance(mixed.sampler, MixedSampler)
    for batch in mixed.epoch(1):
        assert batch.follows[2:] == (None,) * (len(batch.windows) - 2)
        assert None not in batch.follows[:2]
    ends = {w.end_us for batch in mixed.epoch(1) for w in batch.windows[2:] if w.recording == 0}
    assert ends >= set(LABELS)  # those that stand alone are the usual ones
    uniform = data(parts, monkeypatch).train_loader(augmentation=None, seed=0)
    assert {batch.follows for batch in uniform.epoch(0)} == {()}


def test_a_shorter_epoch_has_whole_batches_and_workers_serve_the_same(
    parts: list[Part], monkeypatch: pytest.MonkeyPatch
) -> None:
    shorter: dict[str, Any] = {"samples_per_epoch": 9}
    assert len(data(parts, monkeypatch, sampling="streaming", **shorter).train_loader(augmentation=None, seed=3)) == 3
    here = data(parts, monkeypatch, sampling="mixed", **shorter)
    loader = here.train_loader(augmentation=Augmentation(shift=0.2, event_drop=0.5), seed=3)
    assert len(loader) == 3
    batches = list(loader.epoch(2))
    assert [len(batch.windows) for batch in batches] == [4, 4, 4]
    workers = WindowLoader(loader.dataset, loader.sampler, workers=1)
    try:
        for one, other in zip(batches, workers.epoch(2), strict=True):
            assert (one.windows, one.follows) == (other.windows, other.follows)
            assert bool((one.frames == other.frames).all())
            assert bool((one.targets.xyxy == other.targets.xyxy).all())
    finally:
        workers.close()


def test_recordings_shorter_than_a_window_are_counted_and_refused_where_all_are(
    parts: list[Part], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    data(parts, monkeypatch, sampling="streaming", time_steps=20, batch_size=2).train_loader(augmentation=None, seed=0)
    assert "train: 1 of 2 recordings are shorter than a window of 20 × 1000 µs and not followed" in caplog.text
    long = data(parts, monkeypatch, sampling="streaming", time_steps=101)
    with pytest.raises(ConfigError, match=r"^train: none of 2 labelled recordings is as long as a window of 101 × "):
        long.train_loader(augmentation=None, seed=0)
    assert END_US < 101 * 1000
    validated = data(parts, monkeypatch, sampling="streaming", time_steps=101).val_loader().dataset
    assert len(validated) == 2  # a last window may be longer than what is left


def test_what_cannot_be_followed_is_refused_in_one_sentence(parts: list[Part], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"^data.slicing: found by_count with data.sampling=mixed, .* expected "):
        data(parts, monkeypatch, sampling="mixed", slicing="by_count")
    with pytest.raises(ConfigError, match=r"^data.batch_size: found 1 with data.sampling=mixed; expected at least 2"):
        data(parts, monkeypatch, sampling="mixed", batch_size=1)
    with pytest.raises(ConfigError, match=r"^data.batch_size: found 64 lanes; expected at most the 35 windows "):
        data(parts, monkeypatch, sampling="streaming", batch_size=64).train_loader(augmentation=None, seed=0)
