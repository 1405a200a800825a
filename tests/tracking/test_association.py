"""Which pairs are chosen, of few detections and of very many."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeyolo.tracking import ByteTrack, association
from spikeyolo.tracking.association import NEAREST, assign, candidates


def gain(cost: np.ndarray, rows: np.ndarray, columns: np.ndarray, limit: float) -> float:
    return float((limit - cost[rows, columns]).sum())


def best_gain(cost: np.ndarray, limit: float) -> float:
    """Every choice of pairs tried."""
    tall = cost if len(cost) <= cost.shape[1] else cost.T
    most = 0.0
    for columns in itertools.permutations(range(tall.shape[1]), len(tall)):
        most = max(most, sum(max(limit - tall[row, column], 0) for row, column in enumerate(columns)))
    return most


@settings(max_examples=80, deadline=None)
@given(
    rows=st.integers(1, 5),
    columns=st.integers(1, 5),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**31),
    dense=st.booleans(),
)
def test_the_choice_is_the_best_of_all_whether_the_matrix_is_dense_or_sparse(
    rows: int, columns: int, share: float, seed: int, dense: bool
) -> None:
    rng = np.random.default_rng(seed)
    cost = np.where(rng.random((rows, columns)) < share, rng.uniform(-3, 12, (rows, columns)), np.inf)
    row, column = np.nonzero(np.isfinite(cost))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(association, "DENSE", 1 << 16 if dense else 0)
        chosen = assign(row, column, cost[row, column], limit=9.0)
    assert len(set(chosen[0].tolist())) == len(set(chosen[1].tolist())) == len(chosen[0])
    assert (cost[chosen] <= 9.0).all()
    assert gain(cost, *chosen, 9.0) == pytest.approx(best_gain(cost, 9.0))


def test_pairs_are_of_one_class_and_of_many_detections_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    centres, kind = rng.uniform(0, 1000, (40, 2)), rng.integers(0, 3, 40)
    found, found_kind = rng.uniform(0, 1000, (500, 2)), rng.integers(0, 3, 500)
    every = set(zip(*(part.tolist() for part in candidates(centres[:9], kind[:9], found, found_kind)), strict=True))
    assert every == {(i, j) for i in range(9) for j in range(500) if kind[i] == found_kind[j]}
    monkeypatch.setattr(association, "ALL_PAIRS", 100)
    for i, row in enumerate(centres[:9]):
        same = np.flatnonzero(found_kind == kind[i])
        nearest = same[np.argsort(np.linalg.norm(found[same] - row, axis=1))[:NEAREST]]
        chosen = candidates(centres[:9], kind[:9], found, found_kind)
        assert chosen[1][chosen[0] == i].tolist() == nearest.tolist()


@pytest.mark.parametrize("spread", [1.0, 30.0, 3000.0], ids=["one heap", "crowded", "sparse"])
def test_ten_thousand_detections_a_step_look_at_so_many_pairs_and_no_more(
    spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time is bounded by the pairs that are looked at and by the cells of matrices, which are counted here."""
    pairs: list[int] = []
    cells: list[int] = []
    inner, solve = association.candidates, association.linear_sum_assignment
    monkeypatch.setattr(
        "spikeyolo.tracking.lifecycle.candidates",
        lambda *arguments: (found := inner(*arguments), pairs.append(len(found[0])))[0],
    )
    monkeypatch.setattr(association, "linear_sum_assignment", lambda cost: (cells.append(cost.size), solve(cost))[1])
    rng = np.random.default_rng(0)
    tracks = ByteTrack(confirm_us=0).start()
    count = 10_000
    centre = rng.uniform(0, spread, (count, 2))
    for step in range(3):
        xywh = np.column_stack((centre + rng.normal(0, 0.1, (count, 2)), np.full((count, 2), 20.0)))
        ids = tracks.update(1000 * (step + 1), xywh, np.full(count, 0.9), np.zeros(count, np.int64))
        assert len(np.unique(ids)) == count
    assert max(pairs) <= NEAREST * len(tracks.serial)
    assert len(tracks.serial) <= 3 * count
    assert max(cells, default=0) <= association.DENSE
