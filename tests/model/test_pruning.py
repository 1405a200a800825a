"""Silenced channels, and the network without them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lively import lively
from torch import Tensor

from spikeyolo.model.detector import Detector
from spikeyolo.model.inference import compare, fold, macs, weight_bytes
from spikeyolo.model.neuron import Ilif, Lif, LifBox, ParametricLif, Relu
from spikeyolo.model.pruning import hidden_channels, remove_silent, silencing

BUILD = {"num_classes": 3, "depth": 0.33, "width": 0.0625, "embedding": 8}


def _frames(steps: int = 2) -> Tensor:
    return torch.randint(0, 4, (steps, 1, 2, 64, 64), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def _detector(**changes: Any) -> Detector:
    torch.manual_seed(0)
    return lively(Detector(**({"neuron": Ilif} | BUILD | changes))).double().eval()


@torch.no_grad()
def _silence(detector: Detector, share: float, seed: int = 0) -> int:
    """Silence channels that are drawn; how many."""
    draw, count = torch.Generator().manual_seed(seed), 0
    for hidden in hidden_channels(detector):
        kept = torch.rand(len(hidden.heard()), generator=draw) >= share
        for values, factor in silencing(hidden, kept):
            values.mul_(factor)
        count += int((~kept).sum()) - (0 if bool(kept.any()) else 1)  # one stays
    return count


@pytest.mark.parametrize("neuron", [Ilif, Lif, LifBox, ParametricLif, Relu])
def test_without_its_silent_channels_a_network_gives_the_same_and_costs_less(neuron: Any) -> None:
    detector = _detector(neuron=neuron)
    whole = weight_bytes(detector)
    silent = _silence(detector, 0.5)
    with torch.no_grad():
        expected = detector(_frames())
        before = macs(detector, _frames()), weight_bytes(detector), sum(p.numel() for p in detector.parameters())
        assert remove_silent(detector) == silent > 100
        found = detector(_frames())
        after = macs(detector, _frames()), weight_bytes(detector), sum(p.numel() for p in detector.parameters())
    torch.testing.assert_close(found.class_logits, expected.class_logits, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.box_logits, expected.box_logits, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.embedding, expected.embedding, rtol=1e-9, atol=1e-9)
    assert after[0] < 0.75 * before[0]
    assert after[1] == before[1] < 0.75 * whole  # bytes never count silent channels
    assert after[2] < 0.75 * before[2]
    assert remove_silent(detector) == 0


@settings(max_examples=10)
@given(share=st.floats(0, 1), seed=st.integers(0, 10**6))
def test_any_choice_of_silent_channels_can_be_taken_out(share: float, seed: int) -> None:
    detector = _detector(width=0.03)
    _silence(detector, share, seed)
    with torch.no_grad():
        expected = detector(_frames(1)).class_logits
        remove_silent(detector)
        torch.testing.assert_close(detector(_frames(1)).class_logits, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("changes", [{"form": "binary"}, {"weight_bits": 4}, {"form": "binary", "weight_bits": 8}])
def test_folding_leaves_silent_channels_out_in_every_form(changes: dict[str, Any]) -> None:
    detector = _detector(**changes)
    whole = fold(detector, synapses="single")
    _silence(detector, 0.5)
    folded = fold(detector, synapses="single")
    report = compare(detector, folded, _frames())
    assert report.max_difference < 1e-9
    assert macs(folded, _frames()) < 0.75 * macs(whole, _frames())
    integer = _detector(**{**changes, "form": "integer"})
    integer.load_state_dict(detector.state_dict())
    assert compare(integer, folded, _frames()).max_difference < 1e-9


def test_a_network_that_was_not_pruned_loses_nothing() -> None:
    assert remove_silent(Detector(neuron=Ilif, branch_scale=0.0, **BUILD)) == 0  # type: ignore[arg-type]


def test_hidden_channels_lie_in_blocks_pyramid_and_head() -> None:
    names = {hidden.name for hidden in hidden_channels(_detector())}
    assert {"backbone.stage1.layers.0.separable.expand", "neck.p5.widen", "backbone.pyramid.reduce"} <= names
    assert {"head.box.0.layers.0", "head.classes.2.layers.1", "head.embedding.1.layers.0"} <= names
    assert len(names) == len(list(hidden_channels(_detector())))
