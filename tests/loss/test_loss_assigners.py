"""ATSS and SimOTA: equal to their papers followed one box at a time, on drawn and on random cases."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_loss_assign import Problem, as_dictionary, cells, problem
from torch.nn import functional

from spikeyolo.loss import assign
from spikeyolo.loss.atss import AtssAssigner
from spikeyolo.loss.overlap import iou
from spikeyolo.loss.simota import SimOtaAssigner

Taken = dict[tuple[int, int], tuple[float, int]]  # (image, anchor point) → (worth, box)


def offer(taken: Taken, place: tuple[int, int], worth: float, box: int) -> None:
    """The best worth has the anchor point, of equals the first box."""
    if place not in taken or worth > taken[place][0]:
        taken[place] = (worth, box)


def inside(p: Problem, box: torch.Tensor, a: int) -> bool:
    centre, reach = (box[:2] + box[2:]) / 2, ((box[2:] - box[:2]) / 2).clamp_min(0.501 * 8)
    return bool(((p["points"][a] - centre).abs() <= reach).all())


def atss(p: Problem, top: int) -> Taken:
    taken: Taken = {}
    for m, box in enumerate(p["xyxy"]):
        centre = (box[:2] + box[2:]) / 2
        candidates = []
        for stride in sorted(set(p["strides"].tolist())):
            level = [a for a in range(len(p["points"])) if p["strides"][a] == stride]
            level.sort(key=lambda a: float((p["points"][a] - centre).square().sum()))
            candidates += level[:top]
        squares = [
            torch.cat((p["points"][a] - 4 * p["strides"][a], p["points"][a] + 4 * p["strides"][a])) for a in candidates
        ]
        overlaps = torch.stack([iou(square, box) for square in squares])
        threshold = overlaps.mean() + overlaps.std()
        within = [
            (a, float(overlap)) for a, overlap in zip(candidates, overlaps) if p["known"][m] and inside(p, box, a)
        ]
        chosen = [(a, overlap) for a, overlap in within if overlap >= threshold]
        if within and not chosen:  # beyond the paper
            chosen = [max(within, key=lambda pair: pair[1])]
        for a, overlap in chosen:
            offer(taken, (int(p["image"][m]), a), overlap, m)
    return taken


def simota(p: Problem, top: int) -> Taken:
    taken: Taken = {}
    for m, box in enumerate(p["xyxy"]):
        image, centre = int(p["image"][m]), (box[:2] + box[2:]) / 2
        costs, overlaps = {}, {}
        for a in range(len(p["points"])):
            near = bool(((p["points"][a] - centre).abs() <= 2.5 * p["strides"][a]).all())
            within = inside(p, box, a)
            if not (p["known"][m] and (near or within)):
                continue
            overlaps[a] = float(iou(p["predicted"][image, a], box))
            target = functional.one_hot(p["class_id"][m], p["class_logits"].shape[-1]).float()
            entropy = functional.binary_cross_entropy_with_logits(p["class_logits"][image, a], target, reduction="sum")
            costs[a] = float(entropy) - 3.0 * float(torch.tensor(max(overlaps[a], 1e-8)).log())
            costs[a] += 0.0 if near and within else 1e5
        count = max(1, int(sum(sorted(overlaps.values(), reverse=True)[:top])))
        for a in sorted(costs, key=costs.__getitem__)[:count]:
            offer(taken, (image, a), -costs[a], m)
    return taken


@given(st.integers(0, 10_000), st.sampled_from([1, 4, 9]))
@settings(max_examples=12, deadline=None)
def test_atss_equals_the_one_by_hand(seed: int, top: int) -> None:
    p = problem(seed)
    p["xyxy"] = p["xyxy"] + 0.01 * torch.rand(p["xyxy"].shape, generator=torch.Generator().manual_seed(seed))  # no ties
    found = as_dictionary(p, AtssAssigner(top=top)(**p))
    assert {place: box for place, (box, _) in found.items()} == {place: box for place, (_, box) in atss(p, top).items()}
    assert {score for _, score in found.values()} <= {1.0}


@given(st.integers(0, 10_000), st.sampled_from([1, 5, 10]))
@settings(max_examples=12, deadline=None)
def test_simota_equals_the_one_by_hand(seed: int, top: int) -> None:
    p = problem(seed)
    found = as_dictionary(p, SimOtaAssigner(top=top)(**p))
    assert {place: box for place, (box, _) in found.items()} == {
        place: box for place, (_, box) in simota(p, top).items()
    }
    for (image, a), (m, score) in found.items():
        assert score == pytest.approx(float(iou(p["predicted"][image, a], p["xyxy"][m])))


@pytest.mark.parametrize("assigner", [AtssAssigner(), SimOtaAssigner()])
def test_unknown_boxes_get_nothing_and_memorys_chunks_change_nothing(
    assigner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    p = problem(7)
    p["known"][::2] = False
    whole = assigner(**p)
    assert not whole.positive[::2].any()
    monkeypatch.setattr(assign, "_CHUNK", 2 * len(p["points"]))
    pieces = assigner(**p)
    for name in ("anchor", "positive", "score"):
        assert torch.equal(getattr(whole, name), getattr(pieces, name))


def drawn(xyxy: list[list[float]]) -> Problem:
    """Boxes on the grid of 64 by 64 px, each predicted exactly by the anchor points within 5 px of its centre."""
    points, strides = cells()
    boxes = torch.tensor(xyxy)
    predicted = torch.zeros(1, len(points), 4)
    for box in boxes:
        near = ((points - (box[:2] + box[2:]) / 2).abs() <= 5).all(-1)
        predicted[0, near] = box
    return {
        "class_logits": torch.zeros(1, len(points), 2),
        "predicted": predicted,
        "points": points,
        "strides": strides,
        "image": torch.zeros(len(boxes), dtype=torch.int64),
        "xyxy": boxes,
        "class_id": torch.zeros(len(boxes), dtype=torch.int64),
        "known": torch.ones(len(boxes), dtype=torch.bool),
    }


def test_simota_takes_as_many_anchor_points_as_overlap_the_box() -> None:
    p = drawn(
        [[16.0, 16.0, 32.0, 32.0]]
    )  # its centre 24, 24: of stride 8 four points 4 px away, of stride 16 one upon it
    found = as_dictionary(p, SimOtaAssigner()(**p))
    assert sorted(tuple(p["points"][a].tolist()) for _, a in found) == [
        (20, 20),
        (20, 28),
        (24, 24),
        (28, 20),
        (28, 28),
    ]
    assert all(score == 1.0 for _, score in found.values())
    p["predicted"].zero_()  # nothing overlaps: still one
    assert len(as_dictionary(p, SimOtaAssigner()(**p))) == 1


def test_atss_takes_the_level_whose_squares_are_as_large_as_the_box() -> None:
    p = drawn([[0.0, 0.0, 64.0, 64.0]])  # squares of stride 8 have 64 px: those near the centre fit best
    found = as_dictionary(p, AtssAssigner()(**p))
    assert sorted(tuple(p["points"][a].tolist()) for _, a in found) == [(28, 28), (28, 36), (36, 28), (36, 36)]


def test_atss_gives_a_box_smaller_than_all_squares_the_nearest_anchor_point() -> None:
    # Of two levels' nine squares each, all of stride 8 overlap it equally, and all of stride 16 a quarter as much: mean
    # plus standard deviation, with n - 1, is a hair more than the best, and the paper's rule would take none.
    p = drawn([[10.0, 10.0, 14.0, 14.0]])
    found = as_dictionary(p, AtssAssigner()(**p))
    assert [tuple(p["points"][a].tolist()) for _, a in found] == [(12, 12)]
    p["known"][:] = False
    assert not as_dictionary(p, AtssAssigner()(**p))


@given(st.floats(0, 63), st.floats(0, 63), st.floats(0.1, 12), st.sampled_from([(8,), (8, 16), (8, 16, 32)]))
@settings(max_examples=40, deadline=None)
def test_atss_gives_every_small_box_an_anchor_point_on_a_small_frame(
    x: float, y: float, size: float, strides: tuple[int, ...]
) -> None:
    p = drawn([[x, y, min(x + size, 64), min(y + size, 64)]])
    p["points"], p["strides"] = cells(64, 64, strides)
    p["class_logits"], p["predicted"] = torch.zeros(1, len(p["points"]), 2), torch.zeros(1, len(p["points"]), 4)
    assert as_dictionary(p, AtssAssigner()(**p))
