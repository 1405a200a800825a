"""Which boxes a window's time steps are held against."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored import END_US, HEIGHT, WIDTH, boxes_at, part, random_events, store

from spikeyolo.events.store import Recording
from spikeyolo.events.types import Boxes
from spikeyolo.windows.augment import Augmentation
from spikeyolo.windows.dataset import Sample, WindowDataset
from spikeyolo.windows.encoders import HistogramEncoder
from spikeyolo.windows.rules import WindowRules
from spikeyolo.windows.serving.loader import collate

LABELS = list(range(10_000, END_US + 1, 10_000))


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return store(tmp_path_factory.mktemp("store") / "a.zarr", random_events())


def samples(
    recording: Recording,
    boxes: Boxes,
    *,
    downsample: int = 1,
    augmentation: Augmentation | None = None,
    slice_us: int = 1000,
    steps: int = 4,
    **rules: object,
) -> list[Sample]:
    data = WindowDataset(
        [part(recording, boxes)],
        rules=WindowRules(slice_duration_us=slice_us, time_steps=steps, negative_share=0.0, **rules),  # type: ignore[arg-type]
        encoder=HistogramEncoder(downsample=downsample),
        augmentation=augmentation,
    )
    return [data[0, index] for index in range(len(data))]


@pytest.mark.parametrize("downsample", [1, 2, 3, 4])
def test_a_labelled_windows_last_step_has_the_labels_own_box_in_px_of_the_frame(
    recording: Recording, downsample: int
) -> None:
    boxes = boxes_at(LABELS)
    for row, sample in enumerate(samples(recording, boxes, downsample=downsample)):
        assert sample.frames.shape == (4, 2, -(-HEIGHT // downsample), -(-WIDTH // downsample))
        last = sample.boxes.at(3)
        assert last.xyxy.tolist() == [pytest.approx((boxes.xyxy[row] / downsample).tolist())]


@given(downsample=st.integers(1, 6), x=st.integers(0, WIDTH - 1), y=st.integers(0, HEIGHT - 1))
def test_an_event_lies_in_the_frame_where_the_box_around_its_pixel_lies(downsample: int, x: int, y: int) -> None:
    encoder = HistogramEncoder(downsample=downsample)
    width, height = encoder.frame_size(WIDTH, HEIGHT)
    frames = encoder.encode(
        np.array([(5 << 25) | (y << 13) | (x << 1) | 1], np.uint64),
        start_us=0,
        slice_us=10,
        out=np.empty((1, 2, height, width), np.uint8),
    )
    ((_, p, row, column),) = np.argwhere(frames)
    (box,) = encoder.placement().boxes(np.array([[x, y, x + 1, y + 1]], np.float32))
    assert p == 1
    assert column <= box[0] + 1e-6
    assert box[2] <= column + 1 + 1e-6
    assert row <= box[1] + 1e-6
    assert box[3] <= row + 1 + 1e-6


def test_between_two_labels_of_a_track_a_box_moves_in_a_straight_line(recording: Recording) -> None:
    boxes = boxes_at(LABELS)
    for sample in samples(recording, boxes, slice_us=2500, steps=4)[1:]:
        assert sample.boxes.step.tolist() == [0, 1, 2, 3]
        times = sample.window.start_us + 2500 * np.arange(1, 5)
        assert sample.boxes.xyxy[:, 0] == pytest.approx(times / 10_000, abs=1e-5)


def test_a_gap_too_long_is_not_bridged(recording: Recording) -> None:
    sparse = boxes_at([10_000, 90_000])
    bridged = samples(recording, sparse, slice_us=10_000, steps=8, max_label_gap_us=80_000)
    kept = samples(recording, sparse, slice_us=10_000, steps=8, max_label_gap_us=79_999)
    assert bridged[-1].boxes.xyxy[:, 0].tolist() == pytest.approx(list(range(2, 10)))
    # Each label stands for the half of the gap on its side.
    assert set(kept[-1].boxes.xyxy[:, 0].tolist()) == {1.0, 9.0}


@pytest.mark.parametrize(
    ("ahead_us", "buffer", "there"),
    [(0, 0.0, True), (300, 0.0, False), (300, 0.05, False), (300, 0.1, True), (800, 0.2, True), (801, 0.2, False)],
)
def test_a_label_outside_a_window_belongs_to_it_within_the_temporal_buffer(
    ahead_us: int, buffer: float, there: bool, recording: Recording
) -> None:
    """Windows of 4000 µs that slide by 4000 µs; one label ``ahead_us`` after the end of the one that ends at 40 ms."""
    found = samples(recording, boxes_at([40_000 + ahead_us]), slicing="sliding", overlap=0.0, temporal_buffer=buffer)
    by_end = {sample.window.end_us: sample for sample in found}
    assert (3 in by_end[40_000].boxes.step) == there
    assert len(by_end[36_000].boxes) == 0
    # Its own window shows it in the slice that ends near enough to it.
    assert (0 in by_end[44_000].boxes.step) == (1000 - ahead_us <= 4000 * buffer)


def test_with_targets_last_only_the_last_step_is_supervised(recording: Recording) -> None:
    every = samples(recording, boxes_at(LABELS), targets="per_slice")
    last = samples(recording, boxes_at(LABELS), targets="last")
    assert all(sample.supervised.tolist() == [True] * 4 for sample in every)
    for one, other in zip(every, last, strict=True):
        assert other.supervised.tolist() == [False, False, False, True]
        assert other.boxes.step.tolist() == [3]
        assert np.array_equal(other.boxes.xyxy, one.boxes.at(3).xyxy)
        assert np.array_equal(other.frames, one.frames)


def test_classes_and_tracks_go_along(recording: Recording) -> None:
    one, two = boxes_at(LABELS, track=7, class_id=1), boxes_at(LABELS, track=9, class_id=2)
    order = np.argsort(np.concatenate([one.t, two.t]), kind="stable")
    columns = [np.concatenate([getattr(one, n), getattr(two, n)])[order] for n in Boxes.__annotations__]
    for sample in samples(recording, Boxes(*columns)):
        assert sorted(zip(sample.boxes.track_id.tolist(), sample.boxes.class_id.tolist(), strict=True)) == (
            [(7, 1)] * 4 + [(9, 2)] * 4
        )


def test_boxes_without_a_track_are_taken_from_one_look_at_a_time(recording: Recording) -> None:
    boxes = boxes_at(LABELS, track=-1)
    for row, sample in enumerate(samples(recording, boxes, slice_us=2500, steps=4)):
        assert len(set(sample.boxes.step.tolist())) == len(sample.boxes)  # never the same object twice in a step
        assert sample.boxes.at(3).xyxy.tolist() == [boxes.xyxy[row].tolist()]


def test_a_box_pushed_out_of_the_frame_is_no_target(recording: Recording) -> None:
    pushing = Augmentation(shift=0.99, min_visible=0.5)
    kept = [len(sample.boxes) for sample in samples(recording, boxes_at(LABELS), augmentation=pushing)]
    assert min(kept) == 0
    for sample in samples(recording, boxes_at(LABELS), augmentation=pushing):
        assert (sample.boxes.xyxy >= 0).all()
        assert (sample.boxes.xyxy <= [WIDTH, HEIGHT, WIDTH, HEIGHT]).all()


def test_a_batch_keeps_each_windows_boxes_under_its_index(recording: Recording) -> None:
    found = samples(recording, boxes_at(LABELS))
    batch = collate(found)
    assert batch.frames.shape == (4, len(found), 2, HEIGHT, WIDTH)
    for index, sample in enumerate(found):
        rows = batch.targets.batch_index == index
        assert np.array_equal(batch.targets.xyxy[rows].numpy(), sample.boxes.xyxy)
        assert np.array_equal(batch.targets.time_step[rows].numpy(), sample.boxes.step)
        assert np.array_equal(batch.frames[:, index].numpy(), sample.frames)
    assert batch.targets.supervised.shape == (4, len(found))


def test_each_target_names_the_recording_its_window_is_from(recording: Recording) -> None:
    data = WindowDataset(
        [part(recording, boxes_at(LABELS, track=7)) for _ in range(3)],
        rules=WindowRules(slice_duration_us=1000, time_steps=4, negative_share=0.0, max_samples_per_file=2),
        encoder=HistogramEncoder(),
    )
    batch = collate([data[0, index] for index in range(len(data))])
    windows = [batch.windows[index] for index in batch.targets.batch_index.tolist()]
    assert batch.targets.recording.tolist() == [window.recording for window in windows]
    assert set(batch.targets.recording.tolist()) == {0, 1, 2}
