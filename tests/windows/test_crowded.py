"""Windows that hold more events than they may."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored import END_US, boxes_at, part, random_events, store

from spikeyolo.events.store import Recording
from spikeyolo.windows.crowded import crowded
from spikeyolo.windows.dataset import WindowDataset, WindowRules
from spikeyolo.windows.encoders import HistogramEncoder
from spikeyolo.windows.slicing import spread


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Recording]:
    folder = tmp_path_factory.mktemp("store")
    return [store(folder / f"{seed}.zarr", random_events(900 * (seed + 1), seed=seed)) for seed in range(3)]


def one_by_one(recordings: list[Recording], recording: np.ndarray, starts: np.ndarray, ends: np.ndarray, limit: int):
    counts = [recordings[r].count(int(s), int(e)) for r, s, e in zip(recording, starts, ends)]
    return sum(count > limit for count in counts)


@given(seed=st.integers(0, 2**32 - 1), limit=st.integers(0, 120), exact=st.integers(0, 60), looked_at=st.integers(1, 4))
def test_the_true_number_lies_between_the_two_and_is_both_where_all_may_be_counted(
    recordings: list[Recording], seed: int, limit: int, exact: int, looked_at: int
) -> None:
    rng = np.random.default_rng(seed)
    recording = np.sort(rng.integers(0, 3, 50))
    starts = rng.integers(-3000, END_US + 3000, 50)
    ends = starts + rng.integers(1, 8000, 50)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spikeyolo.windows.crowded.EXACT", exact)
        patch.setattr("spikeyolo.windows.crowded.LOOKED_AT", looked_at)
        crowd = crowded(recordings, recording, starts, ends, limit=limit)
    seen = np.isin(recording, spread(3, looked_at))
    true = one_by_one(recordings, recording[seen], starts[seen], ends[seen], limit)
    assert crowd.least <= true <= crowd.most
    assert (crowd.windows, crowd.recordings) == (seen.sum(), min(looked_at, 3))
    all_counted = crowded(recordings, recording, starts, ends, limit=limit)
    assert all_counted.least == all_counted.most == one_by_one(recordings, recording, starts, ends, limit)


@given(st.lists(st.integers(-2000, END_US + 2000), min_size=1))
def test_bounds_of_an_index_hold_it_and_meet_at_whole_milliseconds(
    recordings: list[Recording], times: list[int]
) -> None:
    low, high = recordings[0].index_bounds(np.array(times))
    index = np.array([recordings[0].index_at(time) for time in times])
    assert np.all((low <= index) & (index <= high))
    whole = np.array(times) % 1000 == 0
    assert np.array_equal(low[whole], high[whole])


def test_an_index_is_read_block_by_block(recordings: list[Recording], monkeypatch: pytest.MonkeyPatch) -> None:
    times = np.arange(-1500, END_US + 1500, 250)
    expected = recordings[1].index_bounds(times)
    monkeypatch.setattr("spikeyolo.events.store.recording._INDEX_BLOCK", 7)
    np.testing.assert_array_equal(recordings[1].index_bounds(times), expected)


def test_a_large_set_is_told_a_range_instead_of_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one = part(store(tmp_path / "a.zarr", random_events()), boxes_at(range(5_500, END_US, 1_000)))
    rules = WindowRules(slice_duration_us=100, time_steps=8, max_events_per_sample=40, negative_share=0.0)
    said = []
    for exact in (1_000, 0):
        monkeypatch.setattr("spikeyolo.windows.crowded.EXACT", exact)
        caplog.clear()
        with caplog.at_level(logging.INFO):
            WindowDataset([one], rules=rules, encoder=HistogramEncoder())
        said.append(next(message for message in caplog.messages if "more than 40" in message))
    assert said[0].split()[1].isdigit()
    assert said[1].startswith("train: between ")


def test_a_set_of_many_recordings_is_looked_at_in_part_and_says_so(
    recordings: list[Recording], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("spikeyolo.windows.crowded.LOOKED_AT", 2)
    parts = [part(one, boxes_at([20_000, 50_000])) for one in recordings]
    rules = WindowRules(slice_duration_us=1_000, time_steps=8, max_events_per_sample=1, negative_share=0.0)
    with caplog.at_level(logging.INFO):
        WindowDataset(parts, rules=rules, encoder=HistogramEncoder())
    assert "4 windows of 4 in 2 of 3 recordings looked at hold more than 1 events" in caplog.text
