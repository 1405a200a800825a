"""Epochs in which classes come equally often and files take turns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from stored import END_US, boxes_at, part, random_events, store

from spikeyolo.events.types import Boxes
from spikeyolo.windows.dataset import WindowDataset
from spikeyolo.windows.encoders import HistogramEncoder
from spikeyolo.windows.rules import WindowRules
from spikeyolo.windows.serving.balance import ClassBalance
from spikeyolo.windows.serving.sampler import EpochSampler


def balances() -> st.SearchStrategy[ClassBalance]:
    def build(size: int, classes: int, files: int, percent: int, seed: int) -> ClassBalance:
        generator = np.random.default_rng(seed)
        shown = generator.random((size, classes)) < percent / 100 * generator.random(classes)
        return ClassBalance(classes=shown, recording=np.sort(generator.integers(0, files, size)))

    return st.builds(
        build, st.integers(1, 80), st.integers(1, 5), st.integers(1, 6), st.integers(0, 100), st.integers(0, 99)
    )


@given(balances(), st.integers(1, 300), st.integers(0, 3), st.integers(0, 3))
def test_every_class_is_in_its_share_of_the_draws_and_empty_windows_keep_theirs(
    balance: ClassBalance, samples: int, seed: int, epoch: int
) -> None:
    order = balance.draw(samples, np.random.default_rng([seed, epoch]))
    assert len(order) == samples
    assert np.all((order >= 0) & (order < balance.size))
    empty = int(np.isin(order, balance.empty).sum())
    if not balance.groups:
        assert empty == samples
        return
    assert empty == samples * len(balance.empty) // balance.size
    for rows in balance.groups:
        assert np.isin(order, rows).sum() >= (samples - empty) // len(balance.groups)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(1, 400), st.integers(0, 9))
def test_classes_that_never_meet_come_equally_often_give_or_take_one(sizes: list[int], samples: int, seed: int) -> None:
    class_id = np.repeat(np.arange(len(sizes)), sizes)
    shown = class_id[:, None] == np.arange(len(sizes))[None, :]
    balance = ClassBalance(classes=shown, recording=np.zeros(len(class_id), np.int64))
    order = balance.draw(samples, np.random.default_rng(seed))
    drawn = np.bincount(class_id[order], minlength=len(sizes))
    assert drawn.max() - drawn.min() <= 1
    # Windows of a class repeat only once all have been shown.
    times = np.bincount(order, minlength=len(class_id))
    for name in range(len(sizes)):
        assert np.ptp(times[class_id == name]) <= 1


@given(st.integers(2, 8), st.integers(2, 20), st.integers(0, 9))
def test_files_take_turns(files: int, windows: int, seed: int) -> None:
    recording = np.repeat(np.arange(files), windows)
    balance = ClassBalance(classes=np.ones((len(recording), 1), np.bool_), recording=recording)
    order = balance.draw(len(recording), np.random.default_rng(seed))
    turns = recording[order].reshape(windows, files)
    assert np.all(np.sort(turns, axis=1) == np.arange(files))


@given(balances(), st.integers(1, 9), st.integers(0, 4), st.integers(0, 6), st.integers(1, 120))
def test_a_balanced_epoch_depends_on_seed_and_epoch_alone_and_is_resumed_exactly(
    balance: ClassBalance, batch: int, epoch: int, first: int, samples: int
) -> None:
    def sampler() -> EpochSampler:
        return EpochSampler(
            size=balance.size, batch_size=batch, shuffle=True, samples_per_epoch=samples, seed=5, balance=balance
        )

    one, other = sampler(), sampler()
    one.start(epoch)
    whole = list(one)
    assert sum(len(rows) for rows in whole) == samples
    other.start(epoch, first)
    assert list(other) == whole[first:]


def test_a_rare_class_is_drawn_as_often_as_a_common_one_by_the_labels_at_the_windows_ends(tmp_path: Path) -> None:
    common = boxes_at(range(10_000, END_US, 2_000), track=0, class_id=0)
    rare = boxes_at([41_000], track=1, class_id=2)
    merged = {
        name: np.concatenate([getattr(common, name), getattr(rare, name)])[
            np.argsort(np.concatenate([common.t, rare.t]), kind="stable")
        ]
        for name in ("t", "xyxy", "class_id", "track_id", "confidence")
    }
    recording = store(tmp_path / "a.zarr", random_events())
    data = WindowDataset(
        [part(recording, Boxes(**merged)), part(recording, common), part(recording, None)],
        rules=WindowRules(100, 4, negative_share=0.0),
        encoder=HistogramEncoder(downsample=1),
    )
    balance = data.balance(3)
    seen = []
    for rows in balance.groups:
        classes = [set(data[0, int(row)].boxes.at(3).class_id.tolist()) for row in rows]
        seen.append(set.intersection(*classes))
    assert [len(rows) for rows in balance.groups] == [len(data) - 1, 1]
    assert seen == [{0}, {2}]
    order = balance.draw(100, np.random.default_rng(0))
    assert np.isin(order, balance.groups[1]).sum() == 50


def test_without_any_label_a_balanced_epoch_takes_every_window_once(tmp_path: Path) -> None:
    data = WindowDataset(
        [part(store(tmp_path / "a.zarr", random_events()), None)],
        rules=WindowRules(1000, 4, slicing="sliding"),
        encoder=HistogramEncoder(downsample=1),
    )
    balance = data.balance(2)
    assert not balance.groups
    assert sorted(balance.draw(len(data), np.random.default_rng(0))) == list(range(len(data)))
