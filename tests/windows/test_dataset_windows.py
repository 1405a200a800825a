"""Which windows of a recording exist, and that each holds its own events and no others."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored import END_US, HEIGHT, WIDTH, boxes_at, part, random_events, store

from spikeyolo.errors import ConfigError
from spikeyolo.events.store import Recording
from spikeyolo.events.types import Boxes, Events
from spikeyolo.windows.batch import Window
from spikeyolo.windows.dataset import WindowDataset
from spikeyolo.windows.encoders import HistogramEncoder
from spikeyolo.windows.parts import Part
from spikeyolo.windows.rules import WindowRules

LABELS = list(range(10_000, END_US + 1, 10_000))


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return store(tmp_path_factory.mktemp("store") / "a.zarr", random_events())


def dataset(*parts: Part, downsample: int = 1, slice_us: int = 1000, steps: int = 4, **rules: object) -> WindowDataset:
    return WindowDataset(
        parts,
        rules=WindowRules(slice_duration_us=slice_us, time_steps=steps, **rules),  # type: ignore[arg-type]
        encoder=HistogramEncoder(downsample=downsample),
    )


def histogram(events: Events, window: Window, slice_us: int, steps: int, downsample: int) -> npt.NDArray[np.uint8]:
    """The window's frames, by plain numpy, from all of the recording's events."""
    size = -(-HEIGHT // downsample), -(-WIDTH // downsample)
    frames = np.zeros((steps, 2, *size), np.int64)
    inside = (events.t >= window.start_us) & (events.t < window.end_us)
    step = (events.t[inside] - window.start_us) // slice_us
    place = (events.y[inside] // downsample, events.x[inside] // downsample)
    np.add.at(frames, (step, events.p[inside], *place), 1)
    return np.minimum(frames, 255).astype(np.uint8)


@given(
    slice_us=st.sampled_from([1, 37, 100, 999, 1000, 2500]),
    steps=st.integers(1, 9),
    downsample=st.sampled_from([1, 2, 3, 5]),
)
def test_a_window_holds_the_events_of_its_slices_and_no_others(
    recording: Recording, slice_us: int, steps: int, downsample: int
) -> None:
    data = dataset(part(recording, boxes_at(LABELS)), downsample=downsample, slice_us=slice_us, steps=steps)
    events = random_events()
    for index in (0, len(data) // 2, len(data) - 1):
        sample = data[0, index]
        assert sample.window.end_us - sample.window.start_us == slice_us * steps
        assert np.array_equal(sample.frames, histogram(events, sample.window, slice_us, steps, downsample))


@given(index=st.integers(0, 9), slice_us=st.sampled_from([100, 1000]))
def test_what_happens_at_or_after_a_windows_end_cannot_be_seen_in_it(
    index: int, slice_us: int, recording: Recording, tmp_path_factory: pytest.TempPathFactory
) -> None:
    end = LABELS[index]
    past, future = random_events(seed=0), random_events(seed=1)
    before, after = past.t < end, future.t >= end
    columns = {name: np.concatenate([getattr(past, name)[before], getattr(future, name)[after]]) for name in "txyp"}
    folder = tmp_path_factory.mktemp("other")
    other = store(folder / "other.zarr", Events(**columns, width=WIDTH, height=HEIGHT))
    windows = [dataset(part(one, boxes_at(LABELS)), slice_us=slice_us) for one in (recording, other)]
    samples = [data[0, index] for data in windows]
    assert [sample.window.end_us for sample in samples] == [end, end]
    assert np.array_equal(samples[0].frames, samples[1].frames)


def test_counts_saturate(tmp_path: Path) -> None:
    n = 1000
    same = Events(
        np.arange(n), *(np.full(n, value, np.uint16) for value in (3, 4)), np.ones(n, np.uint8), WIDTH, HEIGHT
    )
    data = dataset(part(store(tmp_path / "a.zarr", same), boxes_at([1000]), end_us=1000), slice_us=500, steps=2)
    frames = data[0, 0].frames
    assert frames[:, 1, 4, 3].tolist() == [255, 255]
    assert frames.sum() == 510


def test_labelled_windows_end_at_their_labels_and_lie_within_the_part(recording: Recording) -> None:
    cut = part(recording, boxes_at(LABELS), start_us=20_000, end_us=70_000)
    data = dataset(cut, slice_us=2500, steps=4, negative_share=0.0)
    assert [data.window(index).end_us for index in range(len(data))] == [30_000, 40_000, 50_000, 60_000, 70_000]
    assert all(data.window(index).start_us >= 20_000 for index in range(len(data)))


def test_two_parts_of_one_recording_share_no_event(recording: Recording) -> None:
    train = dataset(part(recording, boxes_at(LABELS), end_us=50_000), slice_us=2500)
    val = dataset(part(recording, boxes_at(LABELS), start_us=50_000), slice_us=2500)
    assert max(train.window(index).end_us for index in range(len(train))) <= 50_000
    assert min(val.window(index).start_us for index in range(len(val))) >= 50_000


@pytest.mark.parametrize(("overlap", "stride"), [(0.0, 4000), (0.25, 3000), (0.5, 2000)])
def test_sliding_windows_cover_a_recording_with_their_overlap(
    recording: Recording, overlap: float, stride: int
) -> None:
    data = dataset(part(recording, None), slicing="sliding", overlap=overlap)
    starts = [data.window(index).start_us for index in range(len(data))]
    assert starts[0] == 0
    assert set(np.diff(starts)) == {stride}
    assert END_US - stride < starts[-1] + 4000 <= END_US


@pytest.mark.parametrize("limit", [1, 3, 7, 10, 50])
def test_a_limit_of_samples_spreads_them_over_the_recording(recording: Recording, limit: int) -> None:
    data = dataset(part(recording, boxes_at(LABELS)), max_samples_per_file=limit, negative_share=0.5)
    assert len(data) == min(limit, len(LABELS))
    ends = [data.window(index).end_us for index in range(len(data))]
    assert len(set(ends)) == len(ends)
    if 1 < limit < len(LABELS):
        gaps = np.diff(ends)
        assert gaps.max() <= 2 * gaps.min()


def test_too_many_events_are_thinned_evenly(recording: Recording) -> None:
    data = dataset(part(recording, boxes_at(LABELS)), max_events_per_sample=100, slice_us=2500, steps=4)
    counts = [recording.count(data.window(index).start_us, data.window(index).end_us) for index in range(len(data))]
    assert min(counts) > 100
    for index in range(len(data)):
        frames = data[0, index].frames
        assert frames.sum() == 100
        assert frames.sum(axis=(1, 2, 3)).min() > 10  # of every slice some are left


def test_few_events_are_left_as_they_are(recording: Recording) -> None:
    data = dataset(part(recording, boxes_at(LABELS)), max_events_per_sample=100_000)
    assert data[0, 0].frames.sum() == recording.count(6000, 10_000)


def test_empty_windows_come_from_stretches_far_from_every_label(recording: Recording) -> None:
    labels = [*range(10_000, 30_001, 2_000), *range(90_000, 100_001, 2_000)]
    data = dataset(part(recording, boxes_at(labels)), slice_us=500, negative_share=0.5)
    negatives = [data.window(index) for index in range(len(data)) if data.window(index).end_us not in labels]
    assert len(negatives) == round(0.5 * len(labels))
    for window in negatives:
        distance = min(min(abs(window.start_us - t), abs(window.end_us - t)) for t in labels)
        assert distance >= 5000  # two and a half of the annotators' intervals
        assert not any(window.start_us <= t <= window.end_us for t in labels)
    for index in range(len(data)):
        sample = data[0, index]
        assert sample.supervised.all() if sample.window in negatives else sample.supervised[-1]
        assert (len(sample.boxes) == 0) == (sample.window in negatives)


def test_a_label_just_outside_the_part_keeps_its_surroundings_from_being_called_empty(recording: Recording) -> None:
    labels = [*range(10_000, 50_000, 2_000), 99_000]
    data = dataset(part(recording, boxes_at(labels), start_us=49_000), slice_us=500, negative_share=1.0)
    negatives = [data.window(index) for index in range(len(data)) if data.window(index).end_us != 99_000]
    assert negatives
    assert min(window.start_us for window in negatives) >= 48_000 + 5000


def test_an_annotated_recording_without_any_box_is_empty_all_along(recording: Recording) -> None:
    data = dataset(part(recording, Boxes.empty()), max_samples_per_file=6)
    assert len(data) == 6
    assert all(data[0, index].supervised.all() and not len(data[0, index].boxes) for index in range(6))


def test_a_recording_that_rules_emptied_gives_no_negative(recording: Recording) -> None:
    looks = np.arange(0, END_US + 1, 5_000)
    filtered = replace(part(recording, Boxes.empty()), left_out_us=looks)
    some = part(recording, boxes_at(LABELS))
    data = dataset(filtered, some, negative_share=1.0)
    assert {data.window(index).recording for index in range(len(data))} == {1}
    # Where it was looked at in its first half only, the second half's end is far enough to be called empty.
    half = dataset(replace(filtered, left_out_us=looks[:8]), some, negative_share=1.0)
    ends = [half.window(index) for index in range(len(half)) if half.window(index).recording == 0]
    assert ends
    assert min(window.start_us for window in ends) >= looks[7] + 2.5 * 5_000


def test_where_looks_are_listed_negatives_end_at_those_that_show_nothing(recording: Recording) -> None:
    listed = np.array([10_000, 12_000, 20_000, 30_000, 99_000])
    looked = replace(part(recording, boxes_at([10_000, 12_000])), looks_us=listed)
    data = dataset(looked, slice_us=500, negative_share=5.0)
    assert [data.window(index).end_us for index in range(len(data))] == listed.tolist()
    for index in range(2, len(data)):
        sample = data[0, index]
        assert sample.supervised[-1]
        assert not len(sample.boxes)
    alone = replace(looked, looks_us=listed[:2])  # two minutes of an hour: the rest is not known to be empty
    assert len(dataset(alone, slice_us=500, negative_share=5.0)) == 2
    late = replace(looked, labels_from_us=25_000)
    kept = dataset(late, slice_us=500, negative_share=5.0)
    assert [kept.window(index).end_us for index in range(len(kept))] == [30_000, 99_000]


def test_no_negative_is_made_where_none_is_wanted(recording: Recording) -> None:
    data = dataset(part(recording, boxes_at([10_000, 11_000])), negative_share=0.0)
    assert [data.window(index).end_us for index in range(len(data))] == [10_000, 11_000]


def test_a_recording_without_labels_gives_no_negative(recording: Recording) -> None:
    both = dataset(part(recording, boxes_at(LABELS)), part(recording, None), negative_share=1.0)
    assert {both.window(index).recording for index in range(len(both))} == {0}
    with pytest.raises(ConfigError, match="none of 1 recordings has a window of 4 × 1000 µs before a label"):
        dataset(part(recording, None))


def test_where_windows_slide_a_recording_without_labels_is_shown_and_not_supervised(recording: Recording) -> None:
    data = dataset(part(recording, None), slicing="sliding")
    sample = data[0, 3]
    assert not sample.supervised.any()
    assert len(sample.boxes) == 0
    assert sample.frames.sum() == recording.count(sample.window.start_us, sample.window.end_us)


def test_recordings_of_different_sensors_are_refused_by_name(recording: Recording, tmp_path: Path) -> None:
    one = [np.zeros(1, kind) for kind in (np.int64, np.uint16, np.uint16, np.uint8)]
    small = store(tmp_path / "small.zarr", Events(*one, 10, 10))
    with pytest.raises(ConfigError, match=r"different sensors .*: 33x21 px \(a.zarr\), 10x10 px \(small.zarr\)"):
        dataset(part(recording, None), part(small, None))
    with pytest.raises(ConfigError, match="no recordings"):
        dataset()


def test_each_recording_is_told_of_at_debug_and_all_are_counted_at_info(
    recording: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    cut = part(recording, boxes_at(LABELS), start_us=20_000, end_us=60_000)
    with caplog.at_level(logging.DEBUG, logger="spikeyolo"):
        dataset(cut, part(recording, None), negative_share=0.0)
    events = recording.count(20_000, 60_000)
    assert f"a.zarr: {events} events [20000–60000 µs] → 4 boxes, 4 labelled windows, 0 empty windows" in caplog.text
    assert "train: 2 recordings (1 without labels), 4 boxes, 4 windows of 4 × 1000 µs" in caplog.text
