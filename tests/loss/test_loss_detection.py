"""The detection loss: what it is blind to, what it must see, and that minimising it finds the boxes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from spikeyolo.events.types import Boxes
from spikeyolo.loss import DetectionLoss
from spikeyolo.loss.detection import distribution_focal
from spikeyolo.metrics import DetectionMetrics
from spikeyolo.model.decode import Decoder
from spikeyolo.model.predictions import Predictions
from spikeyolo.windows.batch import Targets

T, B, K, R = 2, 4, 3, 16
KINDS: list[dict[str, Any]] = [{}, {"classification": "bce"}, {"focal_gamma": 0.5, "normalisation": "positives"}]
KINDS += [
    {"classification": "varifocal", "overlap": "giou", "assigner": "atss"},
    {"overlap": "diou", "assigner": "simota"},
]


def cells(height: int = 64, width: int = 96) -> tuple[Tensor, Tensor]:
    points, steps = [], []
    for stride in (8, 16, 32):
        y, x = torch.meshgrid(torch.arange(0, height, stride), torch.arange(0, width, stride), indexing="ij")
        points.append(torch.stack((x, y), -1).reshape(-1, 2) + stride / 2)
        steps.append(torch.full((len(points[-1]),), float(stride)))
    return torch.cat(points), torch.cat(steps)


def random_predictions(seed: int, steps: int = T) -> Predictions:
    generator = torch.Generator().manual_seed(seed)
    points, strides = cells()
    box = torch.randn(steps, B, len(points), 4, R, generator=generator)
    score = torch.randn(steps, B, len(points), K, generator=generator) - 3
    return Predictions(box.requires_grad_(), score.requires_grad_(), points, strides)


def random_targets(seed: int, boxes: int = 12, steps: int = T) -> Targets:
    """Boxes in all windows but the first."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(boxes, 2, generator=generator) * torch.tensor([66.0, 34.0])
    size = 5 + 25 * torch.rand(boxes, 2, generator=generator)
    return Targets(
        batch_index=torch.randint(1, B, (boxes,), generator=generator),
        time_step=torch.randint(steps, (boxes,), generator=generator),
        xyxy=torch.cat((corner, corner + size), 1),
        class_id=torch.randint(K, (boxes,), generator=generator),
        track_id=torch.full((boxes,), -1),
        recording=torch.zeros(boxes, dtype=torch.int64),
        supervised=torch.ones(steps, B, dtype=torch.bool),
    )


def chosen(targets: Targets, rows: Tensor) -> Targets:
    names = ("batch_index", "time_step", "xyxy", "class_id", "track_id", "recording")
    return replace(targets, **{name: getattr(targets, name)[rows] for name in names})


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 1000))
@settings(max_examples=5, deadline=None)
def test_the_order_of_windows_and_of_boxes_is_of_no_account(kind: dict[str, Any], seed: int) -> None:
    predictions, targets = random_predictions(seed), random_targets(seed)
    expected = DetectionLoss(**kind)(predictions, targets)
    generator = torch.Generator().manual_seed(seed)
    windows, rows = torch.randperm(B, generator=generator), torch.randperm(len(targets), generator=generator)
    moved = replace(
        predictions, box_logits=predictions.box_logits[:, windows], class_logits=predictions.class_logits[:, windows]
    )
    shuffled = chosen(targets, rows)
    shuffled = replace(shuffled, batch_index=windows.argsort()[shuffled.batch_index])
    found = DetectionLoss(**kind)(moved, shuffled)
    for name, value in expected.named().items():
        torch.testing.assert_close(found.named()[name], value, msg=name)
    assert found.num_positives == expected.num_positives


@pytest.mark.parametrize("kind", KINDS)
def test_total_is_the_sum_of_finite_terms_and_reaches_both_branches(kind: dict[str, Any]) -> None:
    predictions = random_predictions(0)
    terms = DetectionLoss(**kind)(predictions, random_targets(0))
    terms.total.backward()
    torch.testing.assert_close(terms.total, sum(terms.named().values(), torch.zeros(())))
    assert all(value > 0 and not value.requires_grad for value in terms.named().values())
    assert list(terms.named()) == ["box", "class", "dfl"]
    for logits in (predictions.box_logits, predictions.class_logits):
        assert logits.grad is not None
        assert logits.grad.isfinite().all()
        assert logits.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_windows_without_boxes_teach_silence_and_nothing_else(kind: dict[str, Any]) -> None:
    predictions = random_predictions(0)
    terms = DetectionLoss(**kind)(predictions, random_targets(0, boxes=0))
    terms.total.backward()
    assert (terms.box, terms.dfl, terms.num_positives) == (0, 0, 0)
    assert predictions.class_logits.grad is not None
    assert predictions.box_logits.grad is not None
    assert (predictions.class_logits.grad > 0).all()
    assert (predictions.box_logits.grad == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_silent_batch_costs_the_mean_of_its_windows_however_many_they_are(kind: dict[str, Any]) -> None:
    predictions, targets = random_predictions(0), random_targets(0, boxes=0)
    alone = [
        DetectionLoss(**kind)(
            replace(
                predictions,
                box_logits=predictions.box_logits[:, b : b + 1],
                class_logits=predictions.class_logits[:, b : b + 1],
            ),
            replace(targets, supervised=targets.supervised[:, b : b + 1]),
        ).total
        for b in range(B)
    ]
    torch.testing.assert_close(DetectionLoss(**kind)(predictions, targets).total, torch.stack(alone).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_steps_that_are_not_supervised_are_not_seen(kind: dict[str, Any]) -> None:
    targets = random_targets(2)
    known = torch.tensor([[True, False, True, True], [True, True, False, False]])
    targets = replace(targets, supervised=known)
    predictions = random_predictions(2)
    expected = DetectionLoss(**kind)(predictions, targets)
    expected.total.backward()
    assert predictions.class_logits.grad is not None
    assert predictions.box_logits.grad is not None
    assert (predictions.class_logits.grad[~known] == 0).all()
    assert (predictions.box_logits.grad[~known] == 0).all()
    visible = known[targets.time_step, targets.batch_index]
    assert not visible.all()
    found = DetectionLoss(**kind)(random_predictions(2), chosen(targets, visible))
    torch.testing.assert_close(found.total, expected.total)


def test_each_step_answers_for_its_own_boxes() -> None:
    predictions, targets = random_predictions(1), random_targets(1)
    late = chosen(targets, targets.time_step == 1)
    terms = DetectionLoss()(predictions, late)
    terms.total.backward()
    assert predictions.box_logits.grad is not None
    assert (predictions.box_logits.grad[0] == 0).all()
    assert predictions.box_logits.grad[1].abs().sum() > 0


def exact_predictions(targets: Targets) -> Predictions:
    """Every cell gives the box of its window and step exactly; there is one such box."""
    points, strides = cells()
    box_logits = torch.zeros(T, B, len(points), 4, R)
    for t, b, xyxy in zip(targets.time_step, targets.batch_index, targets.xyxy):
        distance = torch.cat((points - xyxy[:2], xyxy[2:] - points), -1) / strides[:, None]
        low = distance.clamp(0, R - 1).floor().clamp_max(R - 2)
        share = (distance.clamp(0, R - 1) - low)[..., None]
        box_logits[t, b] = (
            functional.one_hot(low.long(), R) * (1 - share) + functional.one_hot(low.long() + 1, R) * share + 1e-12
        ).log()
    return Predictions(box_logits, torch.zeros(T, B, len(points), K), points, strides)


@given(st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_truth_as_prediction_has_no_box_loss(seed: int) -> None:
    targets = random_targets(seed, boxes=1)
    assume(bool((targets.xyxy[:, 2:] - targets.xyxy[:, :2]).min() > 8.1))  # a smaller one may be given cells beside it
    terms = DetectionLoss()(exact_predictions(targets), targets)
    assert terms.box < 1e-3
    assert terms.num_positives > 0


@pytest.mark.parametrize("kind", [{}, {"classification": "bce"}])
def test_minimising_the_loss_finds_every_box_with_confidence(kind: dict[str, Any]) -> None:
    points, strides = cells()
    targets = random_targets(11, boxes=7)
    box_logits = torch.ones(T, B, len(points), 4, R, requires_grad=True)
    class_logits = (torch.full((T, B, len(points), K), -5.0)).requires_grad_()
    optimizer = torch.optim.Adam([box_logits, class_logits], lr=0.1)
    loss = DetectionLoss(**kind)
    for _ in range(150):
        optimizer.zero_grad()
        loss(Predictions(box_logits, class_logits, points, strides), targets).total.backward()
        optimizer.step()
    metrics = DetectionMetrics(classes=["a", "b", "c"])
    decoder = Decoder()
    for t in range(T):
        step = Predictions(box_logits[t : t + 1], class_logits[t : t + 1], points, strides)
        for b, found in enumerate(decoder(step)):
            here = (targets.time_step == t) & (targets.batch_index == b)
            n = int(here.sum())
            metrics.add(
                found,
                Boxes(
                    np.zeros(n, np.int64),
                    targets.xyxy[here].numpy(),
                    targets.class_id[here].numpy(),
                    np.zeros(n, np.int64),
                    np.ones(n, np.float32),
                ),
            )
            if n == 0:
                assert found.score.max(initial=0) < 0.05
    figures = metrics.compute()
    assert figures["map50"] == pytest.approx(1.0)
    assert figures["map"] > 0.9
    assert figures["f1"] == 1.0
    assert figures["f1_confidence"] > 0.6


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_label_smoothing_promises_nothing_to_the_background(smoothing: float) -> None:
    """The wanted probabilities are where plain cross-entropy has no gradient: p - y = 0."""
    targets = random_targets(5, boxes=1)
    predictions = random_predictions(5)
    loss = DetectionLoss(classification="bce", label_smoothing=smoothing)
    loss(predictions, targets).total.backward()
    assert predictions.class_logits.grad is not None
    wanted = predictions.class_logits.sigmoid() - predictions.class_logits.grad * (T * B)  # N = T·B at least
    t, b, k = targets.time_step[0], targets.batch_index[0], targets.class_id[0]
    here = wanted[t, b]
    positive = here.amax(-1) > 1e-3
    assert positive.sum() <= 10
    torch.testing.assert_close(wanted[t, b][~positive], torch.zeros_like(here[~positive]), atol=1e-3, rtol=0)
    shares = here[positive] / here[positive].sum(-1, keepdim=True)
    expected = torch.full((K,), smoothing / K)
    expected[k] += 1 - smoothing
    best = here[positive].sum(-1).argmax()
    torch.testing.assert_close(shares[best], expected, atol=2e-3, rtol=0)


def test_focal_without_gamma_and_balance_is_plain_cross_entropy() -> None:
    predictions, targets = random_predictions(3), random_targets(3)
    focal = DetectionLoss(focal_gamma=0.0, focal_alpha=0.5)(predictions, targets)
    plain = DetectionLoss(classification="bce")(predictions, targets)
    torch.testing.assert_close(focal.classification, plain.classification)


def test_weights_scale_their_terms() -> None:
    predictions, targets = random_predictions(3), random_targets(3)
    one = DetectionLoss(box_weight=1.0, class_weight=1.0, dfl_weight=1.0)(predictions, targets)
    other = DetectionLoss(box_weight=2.0, class_weight=0.0, dfl_weight=3.0)(predictions, targets)
    torch.testing.assert_close(other.total, 2 * one.box + 3 * one.dfl)


@pytest.mark.parametrize("branch", ["box_logits", "class_logits"])
def test_a_value_that_is_not_a_number_shows_in_the_term_it_spoils(branch: str) -> None:
    targets = random_targets(3)
    logits = getattr(random_predictions(3), branch).detach().clone()
    logits[targets.time_step[0], targets.batch_index[0]] = torch.nan
    terms = DetectionLoss()(replace(random_predictions(3), **{branch: logits}), targets).named()
    spoilt = {name for name, value in terms.items() if not value.isfinite()}
    assert ("box" if branch == "box_logits" else "class") in spoilt


def test_under_autocast_with_bfloat16_outputs_the_loss_is_float32_and_nearly_the_same() -> None:
    predictions, targets = random_predictions(6), random_targets(6)
    rounded = replace(
        predictions,
        box_logits=predictions.box_logits.detach().bfloat16().requires_grad_(),
        class_logits=predictions.class_logits.detach().bfloat16().requires_grad_(),
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = DetectionLoss()(rounded, targets)
    terms.total.backward()
    assert terms.total.dtype == torch.float32
    assert rounded.box_logits.grad is not None
    assert rounded.box_logits.grad.isfinite().all()
    torch.testing.assert_close(terms.total, DetectionLoss()(predictions, targets).total, rtol=0.02, atol=0)


@given(st.lists(st.floats(0, R - 1), min_size=4, max_size=4))
@settings(max_examples=20, deadline=None)
def test_distribution_focal_is_least_where_the_mass_lies_on_the_two_nearest_bins(sides: list[float]) -> None:
    distances = torch.tensor(sides)
    low = distances.floor().clamp_max(R - 2)
    share = (distances - low)[:, None]
    goal = functional.one_hot(low.long(), R) * (1 - share) + functional.one_hot(low.long() + 1, R) * share
    least = distribution_focal((goal + 1e-9).log(), distances)
    entropy = -(goal * (goal + 1e-12).log()).sum(-1).mean()
    torch.testing.assert_close(least, entropy, atol=1e-4, rtol=1e-4)
    assert distribution_focal((goal + 1e-2).log(), distances) > least


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_loss_is_the_same_and_never_waits_for_the_device() -> None:
    predictions, targets = random_predictions(8), random_targets(8)
    expected = DetectionLoss()(predictions, targets)
    moved = replace(
        predictions,
        **{
            name: getattr(predictions, name).detach().cuda()
            for name in ("box_logits", "class_logits", "points", "strides")
        },
    )
    moved.box_logits.requires_grad_()
    moved.class_logits.requires_grad_()
    there = targets.to("cuda")
    DetectionLoss()(moved, there).total.backward()
    torch.cuda.set_sync_debug_mode("error")
    try:
        terms = DetectionLoss()(moved, there)
        terms.total.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(terms.total.cpu(), expected.total, rtol=1e-4, atol=1e-5)
