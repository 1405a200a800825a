"""Lanes follow recordings window after window: each window once, the same after a stop, the same for any ranks."""

from __future__ import annotations

from itertools import islice, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikeyolo.errors import ConfigError
from spikeyolo.windows.serving.lanes import LaneSampler, MixedSampler, RecordingSampler
from spikeyolo.windows.serving.sampler import BatchSampler, Draw, EpochSampler

COUNTS = st.lists(st.integers(0, 9), min_size=1, max_size=8).filter(lambda counts: sum(counts) > 0)


def recordings(counts: list[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The recording of each window, for so many windows of each."""
    return np.repeat(np.arange(len(counts)), counts)


def taken(sampler: BatchSampler, epoch: int, first: int = 0) -> list[list[Draw]]:
    sampler.start(epoch, first)
    return list(sampler)


@given(COUNTS, st.integers(1, 6), st.integers(0, 5), st.integers(0, 9))
def test_a_pass_takes_every_window_once_but_fewer_than_there_are_lanes(
    counts: list[int], lanes: int, epoch: int, seed: int
) -> None:
    lanes = min(lanes, sum(counts))
    sampler = LaneSampler(recording=recordings(counts), batch_size=lanes, first=7, seed=seed)
    windows = [draw.window for batch in taken(sampler, epoch) for draw in batch]
    assert len(windows) == len(set(windows)) > sum(counts) - lanes
    assert set(windows) <= set(range(7, 7 + sum(counts)))
    assert {len(batch) for batch in taken(sampler, epoch)} == {lanes}


@given(COUNTS, st.integers(1, 6), st.floats(0, 1), st.integers(0, 9))
def test_a_window_that_follows_is_the_next_of_its_lanes_recording_and_shares_its_augmentation(
    counts: list[int], lanes: int, reset_share: float, seed: int
) -> None:
    recording = recordings(counts)
    sampler = LaneSampler(
        recording=recording, batch_size=min(lanes, len(recording)), samples_per_epoch=40, reset_share=reset_share,
        seed=seed,
    )  # fmt: skip
    batches = [batch for epoch in range(3) for batch in taken(sampler, epoch)]
    for before, after in pairwise(batches):
        for old, new in zip(before, after, strict=True):  # also within [rank::world] of every batch
            if new.follows:
                assert new.window == old.window + 1
                assert recording[new.window] == recording[old.window]
                assert (new.epoch, new.along) == (old.epoch, old.along)
            else:
                assert new.along == new.window
    assert not any(draw.follows for draw in batches[0])


@given(COUNTS, st.integers(1, 6), st.integers(0, 9))
def test_without_chance_a_lane_breaks_off_only_at_a_recordings_end_and_where_pieces_end(
    counts: list[int], lanes: int, seed: int
) -> None:
    recording = recordings(counts)
    sampler = LaneSampler(recording=recording, batch_size=min(lanes, len(recording)), seed=seed)
    afresh = sum(not draw.follows for batch in taken(sampler, 0) for draw in batch)
    # Every recording begins once; one is divided where the ribbon begins, and one at most at each lane's beginning.
    assert afresh <= sum(count > 0 for count in counts) + sampler.batch_size


def test_chance_resets_as_many_windows_as_it_is_told_to() -> None:
    recording = recordings([10_000])
    for share in (0.0, 0.25, 1.0):
        sampler = LaneSampler(recording=recording, batch_size=1, reset_share=share)
        follows = [draw.follows for batch in taken(sampler, 0) for draw in batch]
        assert np.mean(follows) == pytest.approx(1 - share, abs=0.02)


def test_pieces_begin_elsewhere_in_each_pass_also_of_a_single_recording() -> None:
    sampler = LaneSampler(recording=recordings([97]), batch_size=4)
    begins = {draw.window for epoch in range(8) for draw in taken(sampler, epoch)[0]}
    left_out = [set(range(97)) - {draw.window for batch in taken(sampler, epoch) for draw in batch} for epoch in (0, 1)]
    assert len(begins) > 20
    assert left_out[0] != left_out[1]


def samplers(counts: list[int], lanes: int, samples: int | None) -> list[BatchSampler]:
    recording = recordings(counts)
    lane = LaneSampler(
        recording=recording, batch_size=min(lanes, len(recording)), samples_per_epoch=samples, reset_share=0.3, seed=1
    )
    alone = EpochSampler(size=11, batch_size=2, shuffle=True, samples_per_epoch=samples, seed=1)
    return [lane, MixedSampler(alone=alone, lanes=lane), RecordingSampler(recording=recording, batch_size=lanes)]


@given(COUNTS, st.integers(1, 6), st.none() | st.integers(1, 50), st.integers(0, 30))
def test_an_epoch_that_goes_on_in_the_middle_is_the_rest_of_the_epoch(
    counts: list[int], lanes: int, samples: int | None, first: int
) -> None:
    for sampler in samplers(counts, lanes, samples):
        whole = taken(sampler, 3)
        assert len(whole) == len(sampler)
        first = min(first, len(whole))
        assert taken(sampler, 3, first) == whole[first:]
        assert taken(sampler, 3) == whole


@given(COUNTS, st.integers(1, 6), st.integers(1, 50))
def test_lanes_go_on_from_epoch_to_epoch_as_one_epoch_after_the_other(
    counts: list[int], lanes: int, samples: int
) -> None:
    sampler, mixed, _ = samplers(counts, lanes, samples)
    assert isinstance(sampler, LaneSampler)
    joined = [batch for epoch in range(3) for batch in taken(sampler, epoch)]
    assert joined == list(islice(sampler.onward(0), len(joined)))
    beside = [batch[: sampler.batch_size] for epoch in range(3) for batch in taken(mixed, epoch)]
    assert beside == list(islice(sampler.onward(0), len(beside)))


def test_mixed_batches_hold_lanes_and_behind_them_windows_that_stand_alone_each_once() -> None:
    alone = EpochSampler(size=10, batch_size=2, shuffle=True)
    sampler = MixedSampler(alone=alone, lanes=LaneSampler(recording=recordings([8, 9]), batch_size=3, first=10))
    batches = taken(sampler, 4)
    assert sampler.batch_size == 5
    assert sorted(draw.window for batch in batches for draw in batch[3:]) == list(range(10))
    assert all(draw.along is None for batch in batches for draw in batch[3:])
    assert all(draw.along is not None and draw.window >= 10 for batch in batches for draw in batch[:3])


@given(COUNTS, st.integers(1, 6))
def test_validation_takes_every_window_once_whole_recordings_and_lanes_keep_their_place(
    counts: list[int], lanes: int
) -> None:
    recording = recordings(counts)
    batches = taken(RecordingSampler(recording=recording, batch_size=lanes), 0)
    assert sorted(draw.window for batch in batches for draw in batch) == list(range(len(recording)))
    assert sum(not draw.follows for batch in batches for draw in batch) == sum(count > 0 for count in counts)
    for before, after in pairwise(batches):
        assert len(after) <= len(before)
        for old, new in zip(before, after, strict=False):
            if new.follows:
                assert new.window == old.window + 1


def test_more_lanes_than_windows_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^data.batch_size: found 8 lanes; expected at most the 5 windows "):
        LaneSampler(recording=recordings([2, 3]), batch_size=8)
