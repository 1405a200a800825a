"""Assignment: equal to a slow one written cell by cell; small boxes, crossing boxes and unknown boxes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spikeyolo.loss import assign
from spikeyolo.loss.assign import Assignment, TaskAlignedAssigner
from spikeyolo.loss.overlap import iou

Problem = dict[str, Tensor]


def cells(height: int = 64, width: int = 64, strides: tuple[int, ...] = (8, 16)) -> tuple[Tensor, Tensor]:
    points, steps = [], []
    for stride in strides:
        for y in range(0, height, stride):
            for x in range(0, width, stride):
                points.append([x + stride / 2, y + stride / 2])
                steps.append(float(stride))
    return torch.tensor(points), torch.tensor(steps)


def problem(seed: int, images: int = 3, boxes: int = 7, classes: int = 3, size: float = 30) -> Problem:
    generator = torch.Generator().manual_seed(seed)
    points, strides = cells()
    around = points + 6 * torch.randn(images, len(points), 2, generator=generator)
    reach = 3 + 25 * torch.rand(images, len(points), 2, generator=generator)
    corner = 50 * torch.rand(boxes, 2, generator=generator)
    extent = 1 + size * torch.rand(boxes, 2, generator=generator)
    return {
        "class_logits": 2 * torch.randn(images, len(points), classes, generator=generator) - 2,
        "predicted": torch.cat((around - reach, around + reach), -1),
        "points": points,
        "strides": strides,
        "image": torch.randint(images, (boxes,), generator=generator),
        "xyxy": torch.cat((corner, (corner + extent).clamp_max(64)), -1),
        "class_id": torch.randint(classes, (boxes,), generator=generator),
        "known": torch.ones(boxes, dtype=torch.bool),
    }


def by_hand(p: Problem, top: int) -> dict[tuple[int, int], tuple[int, float]]:
    """(image, cell) → (box, score), after TOOD, in float64 and one cell at a time."""
    wishes: dict[tuple[int, int], list[tuple[float, int, float]]] = {}
    for m, box in enumerate(p["xyxy"].double()):
        image, found = int(p["image"][m]), []
        centre, reach = (box[:2] + box[2:]) / 2, ((box[2:] - box[:2]) / 2).clamp_min(0.501 * 8)
        for a, point in enumerate(p["points"].double()):
            if p["known"][m] and ((point - centre).abs() <= reach).all():
                probability = p["class_logits"][image, a, p["class_id"][m]].double().sigmoid()
                overlap = iou(p["predicted"][image, a].double(), box)
                found.append((float(probability**0.5 * overlap**6), float(overlap), a))
        for alignment, overlap, a in sorted(found, reverse=True)[:top]:
            wishes.setdefault((image, a), []).append((overlap, m, alignment))
    kept = {place: max(wish) for place, wish in wishes.items()}
    best = {m: [w for w in kept.values() if w[1] == m] for m in range(len(p["xyxy"]))}
    return {
        place: (m, alignment / max(*(w[2] for w in best[m]), 1e-300) * max(w[0] for w in best[m]))
        for place, (_, m, alignment) in kept.items()
    }


def as_dictionary(p: Problem, result: Assignment) -> dict[tuple[int, int], tuple[int, float]]:
    rows, columns = result.positive.nonzero(as_tuple=True)
    return {
        (int(p["image"][m]), int(result.anchor[m, c])): (int(m), float(result.score[m, c]))
        for m, c in zip(rows, columns)
    }


@given(st.integers(0, 10_000), st.sampled_from([1, 3, 10, 500]))
@settings(max_examples=15, deadline=None)
def test_assignment_equals_the_one_by_hand(seed: int, top: int) -> None:
    p = problem(seed)
    mine, theirs = as_dictionary(p, TaskAlignedAssigner(top=top)(**p)), by_hand(p, top)
    aligned = {place: pair for place, pair in theirs.items() if pair[1] > 1e-5}  # others tie at zero
    assert {place: pair[0] for place, pair in aligned.items()}.items() <= {k: v[0] for k, v in mine.items()}.items()
    for place, (_, score) in aligned.items():
        assert mine[place][1] == pytest.approx(score, rel=1e-4)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_a_cell_answers_for_one_box_at_most(seed: int) -> None:
    p = problem(seed, images=1, boxes=12, size=50)
    result = TaskAlignedAssigner()(**p)
    chosen = result.anchor[result.positive]
    assert len(chosen.unique()) == len(chosen)
    assert (result.score[~result.positive] == 0).all()
    assert (result.positive.sum(1) <= 10).all()


@given(st.floats(0, 63), st.floats(0, 63), st.floats(0.1, 8))
@settings(max_examples=60, deadline=None)
def test_a_box_smaller_than_a_cell_has_a_cell_wherever_it_lies(x: float, y: float, size: float) -> None:
    p = problem(0, images=1, boxes=1)
    p["xyxy"] = torch.tensor([[x, y, min(x + size, 64), min(y + size, 64)]])
    assert TaskAlignedAssigner()(**p).positive.any()


def test_where_predictions_do_not_overlap_the_box_its_cells_are_still_found() -> None:
    p = problem(0, images=1, boxes=1)
    p["xyxy"] = torch.tensor([[10.0, 10.0, 40.0, 40.0]])
    p["predicted"] = torch.full_like(p["predicted"], -500.0)
    result = TaskAlignedAssigner()(**p)
    centre = p["points"][result.anchor[result.positive]]
    assert len(centre) == 10
    assert ((centre > 10) & (centre < 40)).all()


def test_of_two_equal_boxes_the_first_is_given_the_cells() -> None:
    p = problem(0, images=1, boxes=2)
    p["xyxy"] = p["xyxy"][:1].repeat(2, 1)
    p["class_id"] = p["class_id"][:1].repeat(2)
    positive = TaskAlignedAssigner()(**p).positive
    assert positive[0].any()
    assert not positive[1].any()


def test_unknown_boxes_take_no_cells_from_others() -> None:
    p = problem(4, images=1, boxes=6, size=50)
    p["known"] = torch.tensor([True, False, True, False, True, False])
    result = TaskAlignedAssigner()(**p)
    assert not result.positive[~p["known"]].any()
    alone = {name: value[p["known"]] if len(value) == 6 else value for name, value in p.items()}
    torch.testing.assert_close(result.score[p["known"]], TaskAlignedAssigner()(**alone).score)


def test_looking_at_boxes_in_small_portions_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    p = problem(3, boxes=11)
    whole = TaskAlignedAssigner()(**p)
    monkeypatch.setattr(assign, "_CHUNK", 2 * len(p["points"]))
    parts = TaskAlignedAssigner()(**p)
    assert torch.equal(whole.anchor, parts.anchor)
    assert torch.equal(whole.score, parts.score)
