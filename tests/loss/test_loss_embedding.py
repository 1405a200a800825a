"""The contrast of embeddings: what it is blind to, what it must see, and that minimising it tells objects apart."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from spikeyolo.loss import DetectionLoss
from spikeyolo.loss.embedding import track_contrast
from spikeyolo.model.predictions import Predictions
from spikeyolo.windows.batch import Targets

TEMPERATURE = 0.5


def _drawn(seed: int, boxes: int = 12) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {
        "embedding": functional.normalize(torch.randn(boxes, 8, generator=draw), dim=1),
        "recording": torch.randint(2, (boxes,), generator=draw),
        "track_id": torch.randint(-1, 3, (boxes,), generator=draw),
        "positive": torch.rand(boxes, generator=draw) < 0.8,
    }


def _by_hand(embedding: Tensor, recording: Tensor, track_id: Tensor, positive: Tensor) -> float:
    """Equation 2 of arXiv 2004.11362, a loop over anchors and their positives."""
    taking = [i for i in range(len(embedding)) if bool(positive[i]) and int(track_id[i]) >= 0]
    means = []
    for anchor in taking:
        others = [i for i in taking if i != anchor]
        positives = [i for i in others if recording[i] == recording[anchor] and track_id[i] == track_id[anchor]]
        if positives:
            like = {i: math.exp(float(embedding[anchor] @ embedding[i]) / TEMPERATURE) for i in others}
            means.append(-sum(math.log(like[i] / sum(like.values())) for i in positives) / len(positives))
    return sum(means) / len(means) if means else 0.0


@given(seed=st.integers(0, 10_000), boxes=st.integers(0, 12))
def test_it_is_the_papers_equation(seed: int, boxes: int) -> None:
    drawn = _drawn(seed, boxes)
    assert float(track_contrast(**drawn, temperature=TEMPERATURE)) == pytest.approx(_by_hand(**drawn), abs=1e-5)


@given(seed=st.integers(0, 10_000))
def test_the_order_of_boxes_and_the_names_of_tracks_are_of_no_account(seed: int) -> None:
    drawn = _drawn(seed)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(seed))
    moved = {name: value[order] for name, value in drawn.items()}
    moved["track_id"] = torch.where(moved["track_id"] >= 0, 10**12 - moved["track_id"], -1)
    torch.testing.assert_close(
        track_contrast(**moved, temperature=TEMPERATURE), track_contrast(**drawn, temperature=TEMPERATURE)
    )


def test_equal_track_numbers_of_two_recordings_are_two_objects() -> None:
    embedding = torch.eye(8)[:4]
    track_id, positive = torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.bool)
    one = track_contrast(
        embedding, recording=torch.tensor([0, 0, 0, 0]), track_id=track_id, positive=positive, temperature=TEMPERATURE
    )
    four = track_contrast(
        embedding, recording=torch.tensor([0, 1, 2, 3]), track_id=track_id, positive=positive, temperature=TEMPERATURE
    )
    assert float(one) == pytest.approx(math.log(3))  # three alike: each a third
    assert float(four) == 0


def test_boxes_without_a_known_track_give_neither_loss_nor_gradient() -> None:
    drawn = _drawn(3) | {"track_id": torch.full((12,), -1)}
    embedding = drawn["embedding"].requires_grad_()
    loss = track_contrast(**drawn, temperature=TEMPERATURE)
    loss.backward()
    assert float(loss.detach()) == 0
    assert torch.equal(embedding.grad, torch.zeros(12, 8))


def _scene() -> tuple[Predictions, Targets]:
    """Two objects of one recording in three time steps of two windows, each in its own cell."""
    y, x = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    points = torch.stack((x, y), -1).reshape(-1, 2) * 16 + 8
    draw = torch.Generator().manual_seed(0)
    predictions = Predictions(
        torch.randn(3, 2, 16, 4, 16, generator=draw),
        torch.randn(3, 2, 16, 1, generator=draw),
        points,
        torch.full((16,), 16.0),
        torch.randn(3, 2, 16, 8, generator=draw).requires_grad_(),
    )
    step, window, track = (index.flatten() for index in torch.meshgrid(*map(torch.arange, (3, 2, 2)), indexing="ij"))
    corner = torch.stack((track * 32.0, track * 32.0), 1)
    targets = Targets(
        batch_index=window,
        time_step=step,
        xyxy=torch.cat((corner, corner + 16), 1),
        class_id=torch.zeros(12, dtype=torch.int64),
        track_id=track,
        recording=torch.zeros(12, dtype=torch.int64),
        supervised=torch.ones(3, 2, dtype=torch.bool),
    )
    return predictions, targets


def test_minimising_it_tells_the_objects_apart_and_leaves_other_cells_alone() -> None:
    predictions, targets = _scene()
    raw = predictions.embedding
    assert raw is not None
    optimizer = torch.optim.Adam([raw], lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        terms = DetectionLoss()(replace(predictions, embedding=functional.normalize(raw, dim=-1)), targets)
        terms.total.backward()
        optimizer.step()
    unit = functional.normalize(raw.detach(), dim=-1)
    first, second = unit[:, :, 0].reshape(-1, 8), unit[:, :, 10].reshape(-1, 8)  # the cells at both objects' centres
    alike = min(float((first @ first.T).min()), float((second @ second.T).min()))
    assert alike > float((first @ second.T).max()) + 0.5
    assert torch.equal(raw.detach()[:, :, 5], _scene()[0].embedding[:, :, 5])  # type: ignore[index]
    assert set(terms.named()) == {"box", "class", "dfl", "track"}


def test_without_embeddings_there_is_no_such_term_and_its_weight_scales_it() -> None:
    predictions, targets = _scene()
    without = DetectionLoss()(replace(predictions, embedding=None), targets)
    once = DetectionLoss(track_weight=1.0)(predictions, targets)
    twice = DetectionLoss(track_weight=2.0)(predictions, targets)
    assert "track" not in without.named()
    torch.testing.assert_close(once.total - without.total, once.track)
    torch.testing.assert_close(twice.total - without.total, 2 * once.track)


def test_a_batch_without_boxes_gives_the_embedding_a_zero_gradient() -> None:
    predictions, targets = _scene()
    empty = {name: getattr(targets, name)[:0] for name in targets.__annotations__ if name != "supervised"}
    terms = DetectionLoss()(predictions, replace(targets, **empty))
    terms.total.backward()
    assert float(terms.named()["track"]) == 0
    assert predictions.embedding.grad is not None
    assert not predictions.embedding.grad.any()
