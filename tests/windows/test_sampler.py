"""The order of windows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spikeyolo.windows.serving.sampler import EpochSampler


@given(st.integers(1, 60), st.integers(1, 12), st.integers(0, 5), st.integers(0, 9))
def test_an_epoch_holds_every_window_once_and_depends_on_seed_and_epoch_alone(
    size: int, batch: int, epoch: int, seed: int
) -> None:
    def batches() -> list[list[tuple[int, int]]]:
        sampler = EpochSampler(size=size, batch_size=batch, shuffle=True, seed=seed)
        sampler.start(epoch)
        return list(sampler)

    found = batches()
    assert sorted(draw.window for rows in found for draw in rows) == list(range(size))
    assert {draw.epoch for rows in found for draw in rows} == {epoch}
    assert found == batches()


@given(st.integers(1, 60), st.integers(1, 12), st.integers(0, 30))
def test_a_resumed_epoch_goes_on_with_the_batch_it_stopped_at(size: int, batch: int, first: int) -> None:
    sampler = EpochSampler(size=size, batch_size=batch, shuffle=True, seed=1)
    sampler.start(3)
    whole = list(sampler)
    sampler.start(3, first)
    assert list(sampler) == whole[first:]
    sampler.start(4)
    assert len(list(sampler)) == len(whole)


@given(st.integers(1, 20), st.integers(1, 60))
def test_a_longer_or_shorter_epoch_takes_every_window_equally_often_give_or_take_one(size: int, samples: int) -> None:
    sampler = EpochSampler(size=size, batch_size=4, shuffle=True, samples_per_epoch=samples)
    order = list(sampler.order(0))
    assert len(order) == samples
    counts = [order.count(index) for index in range(size)]
    assert max(counts) - min(counts) <= 1
