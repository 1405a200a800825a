"""Windows of a number of events, and windows where the first objects are not known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored import END_US, boxes_at, part, random_events, store

from spikeyolo.errors import ConfigError
from spikeyolo.events.packing import pack
from spikeyolo.events.store import Recording
from spikeyolo.windows import slicing
from spikeyolo.windows.dataset import WindowDataset
from spikeyolo.windows.encoders import HistogramEncoder
from spikeyolo.windows.parts import Part
from spikeyolo.windows.rules import WindowRules


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return store(tmp_path_factory.mktemp("store") / "a.zarr", random_events())


def counted(one: Part, *, events: int, steps: int = 4, **rules: object) -> WindowDataset:
    return WindowDataset(
        [one],
        rules=WindowRules(1000, steps, slicing="by_count", events_per_window=events, **rules),  # type: ignore[arg-type]
        encoder=HistogramEncoder(downsample=1),
    )


@given(st.integers(0, 300), st.integers(0, 300), st.integers(1, 80), st.integers(0, 99))
def test_the_number_of_windows_follows_from_the_number_of_events(
    first: int, length: int, events: int, percent: int
) -> None:
    begin, last = slicing.by_count(first, first + length, events=events, overlap=percent / 100)
    stride = max(1, round(events * (1 - percent / 100)))
    assert len(begin) == max(0, (length - events) // stride + 1)
    assert np.all(last - begin + 1 == events)
    assert np.all(np.diff(begin) == stride)
    assert np.all((begin >= first) & (last < first + length))


@given(st.lists(st.integers(0, 4_000_000), max_size=12, unique=True))
def test_times_of_rows_far_apart_and_near_are_those_of_the_events_and_little_else_is_read(rows: list[int]) -> None:
    wanted = np.array(sorted(rows), np.int64)
    read: list[int] = []

    def packed(low: int, high: int) -> np.ndarray:
        read.append(high - low)
        return np.arange(low, high, dtype=np.uint64) * np.uint64(3) << np.uint64(25)

    assert np.array_equal(slicing.times_of(wanted, packed), 3 * wanted)
    assert sum(read) <= len(wanted) * (1 << 15) + 1


@given(
    events=st.integers(1, 2000),
    steps=st.integers(1, 9),
    overlap=st.sampled_from([0.0, 0.25, 0.5]),
    start=st.integers(0, END_US // 2),
)
def test_a_window_by_count_ends_after_an_event_and_holds_as_many_as_wanted(
    recording: Recording, events: int, steps: int, overlap: float, start: int
) -> None:
    end = start + END_US // 2
    data = counted(part(recording, None, start_us=start, end_us=end), events=events, steps=steps, overlap=overlap)
    every = random_events()
    t = every.t
    stride = max(1, round(events * (1 - overlap)))
    inside = recording.count(start + steps - 1, end)
    assert len(data) == (inside - events) // stride + 1
    for index in {0, len(data) // 2, len(data) - 1}:
        window = data.window(index)
        assert start <= window.start_us < window.end_us <= end
        assert window.end_us - 1 in t
        assert (window.end_us - window.start_us) % steps == 0
        held = recording.count(window.start_us, window.end_us)
        wanted_from = np.searchsorted(t, window.end_us) - events
        # More are there only for lying at the same time as the last, or in the few µs that rounding adds.
        assert held >= events
        assert held <= events + np.count_nonzero(t == window.end_us - 1) + np.count_nonzero(
            (t >= window.start_us) & (t <= t[max(wanted_from, 0)])
        )
        sample = data[0, index]
        assert int(sample.frames.sum()) == held


def test_windows_by_count_are_matched_to_labels_over_their_own_length(recording: Recording) -> None:
    data = counted(part(recording, boxes_at(range(0, END_US + 1, 10_000))), events=500, overlap=0.0)
    for index in range(len(data)):
        sample = data[0, index]
        slice_us = (sample.window.end_us - sample.window.start_us) // 4
        ends = sample.window.start_us + slice_us * np.arange(1, 5)
        assert sample.boxes.step.tolist() == [0, 1, 2, 3]
        assert sample.boxes.xyxy[:, 0] == pytest.approx(ends / 10_000, abs=1e-3)  # the object moves 1 px in 10 ms


def test_the_limit_of_samples_holds_by_count_and_spreads_them(recording: Recording) -> None:
    data = counted(part(recording, None), events=100, max_samples_per_file=5)
    ends = [data.window(index).end_us for index in range(len(data))]
    assert len(ends) == 5
    assert min(np.diff(ends)) > END_US / 10


def test_a_recording_with_too_few_events_is_said_with_the_number(recording: Recording) -> None:
    with pytest.raises(ConfigError, match=r"none of 1 recordings holds the data.events_per_window = 6000 events"):
        counted(part(recording, None), events=6000)


@pytest.mark.parametrize("kind", ["around_labels", "sliding", "by_count"])
def test_no_window_ends_and_no_step_is_supervised_where_objects_are_not_known(recording: Recording, kind: str) -> None:
    known_from = 35_000
    boxes = boxes_at(range(38_000, 60_001, 2_000))
    whole = part(recording, boxes)
    rules = WindowRules(2500, 4, slicing=kind, events_per_window=500, negative_share=1.0)  # type: ignore[arg-type]
    encoder = HistogramEncoder(downsample=1)
    skipping = Part(recording, boxes, 0, END_US, "a", known_from)
    data = WindowDataset([skipping], rules=rules, encoder=encoder)
    all_of_it = WindowDataset([whole], rules=rules, encoder=encoder)
    assert min(data.window(index).end_us for index in range(len(data))) >= known_from
    assert min(all_of_it.window(index).end_us for index in range(len(all_of_it))) < known_from
    for index in range(len(data)):
        sample = data[0, index]
        slice_us = (sample.window.end_us - sample.window.start_us) // 4
        ends = sample.window.start_us + slice_us * np.arange(1, 5)
        assert not sample.supervised[ends < known_from].any()
        assert sample.supervised[(ends >= 38_000) & (ends <= 60_000)].all()
        assert sample.supervised[sample.boxes.step].all()
        if not len(sample.boxes) and kind == "around_labels":
            assert sample.window.start_us >= known_from


def test_packed_times_are_read_as_the_store_writes_them(tmp_path: Path) -> None:
    events = random_events(count=40_000, seed=3)
    one = store(tmp_path / "b.zarr", events)
    rows = np.array([0, 1, 17_000, 39_999], np.int64)
    assert np.array_equal(slicing.times_of(rows, one.rows), events.t[rows])
    assert np.array_equal(one.rows(0, 40_000), pack(events))
