"""Distillation: a teacher equal to the student costs nothing, any other costs something that training can lower."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from spikeyolo.errors import ConfigError
from spikeyolo.loss.distillation import Distillation, check_features
from spikeyolo.model.predictions import Predictions

T, B, A, K, R = 2, 3, 21, 3, 16
EVERYTHING = Distillation(feature_weight=1.0)


def predictions(seed: int) -> Predictions:
    generator = torch.Generator().manual_seed(seed)
    return Predictions(
        (2 * torch.randn(T, B, A, 4, R, generator=generator)).requires_grad_(),
        (3 * torch.randn(T, B, A, K, generator=generator) - 2).requires_grad_(),
        torch.zeros(A, 2),
        torch.ones(A),
    )


def maps(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(T, B, 5, side, side, generator=generator).requires_grad_() for side in (4, 2)]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999))
def test_a_teacher_equal_to_the_student_costs_nothing_and_moves_nothing(seed: int) -> None:
    student, features = predictions(seed), maps(seed)
    terms = EVERYTHING(student, predictions(seed), features, maps(seed))
    terms.total.backward()
    assert float(terms.total) == pytest.approx(0.0, abs=1e-6)
    for leaf in (student.box_logits, student.class_logits, *features):
        assert leaf.grad is not None
        torch.testing.assert_close(leaf.grad, torch.zeros_like(leaf), atol=1e-6, rtol=0)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999))
def test_every_other_teacher_costs_something_in_every_term(seed: int) -> None:
    terms = EVERYTHING(predictions(seed), predictions(seed + 1), maps(seed), maps(seed + 1))
    assert all(float(term) > 1e-3 for term in terms.named().values())
    assert set(terms.named()) == {"teacher_box", "teacher_class", "teacher_features"}
    assert float(terms.total) == pytest.approx(sum(float(term) for term in terms.named().values()), rel=1e-5)


def test_the_terms_are_the_divergences_of_torch_weighted_by_the_teachers_confidence() -> None:
    student, teacher = predictions(0), predictions(1)
    terms = Distillation(class_weight=2.0, box_weight=3.0)(student, teacher)
    goal = torch.distributions.Bernoulli(logits=teacher.class_logits)
    confidence = goal.probs.amax(-1)
    count = confidence.sum().clamp_min(T * B)
    bernoulli = torch.distributions.kl_divergence(goal, torch.distributions.Bernoulli(logits=student.class_logits))
    torch.testing.assert_close(terms.classification, 2 * bernoulli.sum() / count)
    sides = functional.kl_div(
        student.box_logits.log_softmax(-1), teacher.box_logits.log_softmax(-1), reduction="none", log_target=True
    ).sum(-1)
    torch.testing.assert_close(terms.box, 3 * (confidence * sides.mean(-1)).sum() / count)
    assert terms.features is None


def test_features_have_no_scale_and_no_offset() -> None:
    own = maps(0)
    scaled = [3.0 * level + 7.0 for level in own]
    terms = EVERYTHING(predictions(0), predictions(0), own, scaled)
    assert float(terms.total) == pytest.approx(0.0, abs=1e-5)
    opposite = EVERYTHING(predictions(0), predictions(0), own, [-level for level in own])
    assert opposite.features is not None
    assert float(opposite.features) == pytest.approx(4.0, rel=1e-4)  # twice 1 − (−1)


def test_following_the_gradient_makes_the_student_the_teacher() -> None:
    student, teacher = predictions(0), predictions(1)
    leaves = [student.box_logits, student.class_logits]
    optimizer = torch.optim.Adam(leaves, lr=0.1)
    first = last = float("inf")
    for step in range(300):
        optimizer.zero_grad()
        loss = Distillation()(student, teacher).total
        loss.backward()
        optimizer.step()
        first, last = (float(loss), float(loss)) if step == 0 else (first, float(loss))
    assert last < 0.01 * first
    torch.testing.assert_close(student.class_logits.sigmoid(), teacher.class_logits.sigmoid(), atol=0.05, rtol=0)


def test_no_gradient_reaches_the_teacher_and_frames_without_objects_stay_finite() -> None:
    teacher = predictions(1)
    silent = replace(teacher, class_logits=(teacher.class_logits.detach() - 60).requires_grad_())
    terms = EVERYTHING(predictions(0), silent, maps(0), maps(1))
    terms.total.backward()
    assert torch.isfinite(terms.total)
    assert silent.class_logits.grad is None
    assert silent.box_logits.grad is None


def test_maps_of_other_channels_are_one_sentence() -> None:
    check_features((4, 8, 8), (4, 8, 8))
    with pytest.raises(ConfigError, match=r"teacher's maps have 8, 16, 16 channels, this model's 4, 8, 8"):
        check_features((4, 8, 8), (8, 16, 16))
