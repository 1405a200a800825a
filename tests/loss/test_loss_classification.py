"""Losses of class scores: by hand, by their papers' formulas, and what they agree on."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from spikeyolo.loss.classification import quality_focal, varifocal


@given(
    probability=st.floats(0.01, 0.99), target=st.floats(0.0, 1.0), gamma=st.floats(0.0, 4.0), share=st.floats(0.1, 0.9)
)
def test_each_is_its_papers_formula(probability: float, target: float, gamma: float, share: float) -> None:
    p, y, a = probability, target, share
    logit, score = torch.tensor(math.log(p / (1 - p)), dtype=torch.float64), torch.tensor(y, dtype=torch.float64)
    entropy = -(y * math.log(p) + (1 - y) * math.log(1 - p))
    focal = (y + (1 - y) * (1 - a) / a) * max(abs(y - p), 1e-6) ** gamma * entropy
    assert float(quality_focal(logit, score, alpha=a, gamma=gamma)) == pytest.approx(focal, rel=1e-6)
    vari = y * entropy if y > 0 else (1 - a) / a * p**gamma * entropy
    assert float(varifocal(logit, score, alpha=a, gamma=gamma)) == pytest.approx(vari, rel=1e-6)


def test_by_hand_at_even_odds() -> None:
    logits, scores = torch.zeros(3), torch.tensor([1.0, 0.5, 0.0])
    ln2 = math.log(2)
    found = quality_focal(logits, scores, alpha=0.5, gamma=2.0)
    assert found.tolist() == pytest.approx([ln2 / 4, 0.0, ln2 / 4], abs=1e-6)
    found = varifocal(logits, scores, alpha=0.5, gamma=2.0)
    assert found.tolist() == pytest.approx([ln2, ln2 / 2, ln2 / 4])


def test_without_focus_and_balance_the_focal_loss_is_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, scores = torch.randn(50, generator=generator), torch.rand(50, generator=generator)
    plain = functional.binary_cross_entropy_with_logits(logits, scores, reduction="none")
    torch.testing.assert_close(quality_focal(logits, scores, alpha=0.5, gamma=0.0), plain)


@pytest.mark.parametrize("loss", [quality_focal, varifocal])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_gradients_are_finite_however_sure_a_score_is(loss: object, gamma: float) -> None:
    logits = torch.tensor([-200.0, 200.0, -200.0, 200.0, 0.0], requires_grad=True)
    scores = torch.tensor([0.0, 1.0, 1.0, 0.0, 0.5])
    loss(logits, scores, alpha=0.25, gamma=gamma).sum().backward()  # type: ignore[operator]
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
