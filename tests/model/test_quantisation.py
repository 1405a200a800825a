"""Weights of few bits: on a grid for each output channel, the same in training and in every form of inference."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lively import lively
from torch import Tensor

from spikeyolo.errors import ConfigError
from spikeyolo.model.blocks import Block, SpikingConv
from spikeyolo.model.detector import Detector
from spikeyolo.model.inference import compare, fold, weight_bytes
from spikeyolo.model.inference.fold import folded_kernel
from spikeyolo.model.neuron import Ilif, Lif, LifBox, Neuron, ParametricLif, Relu
from spikeyolo.model.quantisation import on_grid, rounded, steps, stored_bytes

BUILD = {"num_classes": 3, "depth": 0.33, "width": 0.0625}


def _frames(steps: int = 2) -> Tensor:
    return torch.randint(0, 4, (steps, 2, 2, 64, 96), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def _detector(**changes: Any) -> Detector:
    torch.manual_seed(0)
    return lively(Detector(**({"neuron": Ilif} | BUILD | changes))).double().eval()


def _units(detector: Detector) -> list[SpikingConv]:
    return [module for module in detector.modules() if isinstance(module, SpikingConv)]


CHANNELS = st.lists(st.floats(-1e3, 1e3), min_size=6, max_size=6)


@given(st.lists(CHANNELS, min_size=1, max_size=3), st.sampled_from([4, 8]))
def test_weights_are_integers_times_their_channels_step_and_half_a_step_from_what_they_were(
    rows: list[list[float]], bits: int
) -> None:
    weight = torch.tensor(rows, dtype=torch.float64).view(-1, 1, 2, 3)
    step, found = steps(weight, bits), on_grid(weight, bits)
    integers = found / step
    torch.testing.assert_close(integers, integers.round(), rtol=0, atol=1e-9)
    assert integers.abs().max() <= 2 ** (bits - 1) - 1 + 1e-9
    assert ((found - weight).abs() <= step / 2 * (1 + 1e-9)).all()
    torch.testing.assert_close(on_grid(found, bits), found)  # what is on the grid stays
    torch.testing.assert_close(on_grid(-weight, bits), -found)
    torch.testing.assert_close(found.abs().amax(dim=(1, 2, 3)), weight.abs().amax(dim=(1, 2, 3)))


@given(st.lists(st.floats(0.01, 100) | st.floats(-100, -0.01), min_size=3, max_size=3), st.sampled_from([4, 8]))
def test_a_norm_folded_before_or_after_gives_the_same_weights(scales: list[float], bits: int) -> None:
    weight = torch.randn(3, 4, 3, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    scale = torch.tensor(scales, dtype=torch.float64).view(-1, 1, 1, 1)
    torch.testing.assert_close(on_grid(weight * scale, bits), on_grid(weight, bits) * scale)


def test_the_gradient_goes_straight_through() -> None:
    weight = torch.randn(2, 3, 3, 3, requires_grad=True)
    slopes = torch.randn(2, 3, 3, 3)
    (rounded(weight, 4) * slopes).sum().backward()
    assert torch.equal(weight.grad, slopes)
    assert rounded(weight, None) is weight


@pytest.mark.parametrize("neuron", [Ilif, lambda: Ilif(levels=2, gain=3.0), Lif, LifBox, ParametricLif])
@pytest.mark.parametrize("bits", [8, 4])
def test_integer_binary_and_folded_forms_are_one_network(neuron: Any, bits: int) -> None:
    integer = _detector(neuron=neuron, weight_bits=bits)
    binary = _detector(neuron=neuron, weight_bits=bits, form="binary")
    binary.load_state_dict(integer.state_dict())
    floating = _detector(neuron=neuron)
    with torch.no_grad():
        expected = integer(_frames()).class_logits
        torch.testing.assert_close(binary(_frames()).class_logits, expected, rtol=1e-9, atol=1e-9)
        assert not torch.allclose(floating(_frames()).class_logits, expected)
    for synapses in ("single", "separable"):
        folded = fold(integer, synapses=synapses)  # type: ignore[arg-type]
        assert compare(integer, folded, _frames()).max_difference < 1e-9
        for unit in _units(folded):  # type: ignore[arg-type]
            assert len(torch.unique((unit.synapse.weight[0] / steps(unit.synapse.weight, 8)[0]).round())) < 256


@pytest.mark.parametrize("bits", [8, 4])
def test_training_rounds_the_weights_that_are_folded_in_the_end(bits: int) -> None:
    """With the norms' statistics of the batch as running ones, training and inference are one function."""
    detector = _detector(weight_bits=bits).train()
    stage = detector.backbone.stage3.layers[0]
    assert isinstance(stage, Block)
    for unit in (stage.widen, stage.narrow, stage.separable.project, stage.separable.mix, stage.separable.expand):
        inputs = folded_kernel(unit).weight.shape[1] * getattr(unit.synapse, "groups", 1)
        spikes = torch.randint(0, 5, (4, inputs, 7, 6)).double()
        for norm in [module for module in unit.modules() if isinstance(module, torch.nn.BatchNorm2d)]:
            norm.momentum = 1.0
        trained = unit.train().transmit(spikes)
        for norm in [module for module in unit.modules() if isinstance(module, torch.nn.BatchNorm2d)]:
            count = spikes.numel() // spikes.shape[1]
            norm.running_var *= (count - 1) / count  # training divides by the biased variance
        torch.testing.assert_close(unit.eval().transmit(spikes), trained, rtol=1e-8, atol=1e-8)


def test_every_weight_learns() -> None:
    detector = _detector(weight_bits=4).train()
    out = detector(_frames())
    (out.class_logits.square().sum() + out.box_logits.square().sum()).backward()
    assert all(parameter.grad is not None for parameter in detector.parameters())
    assert all(parameter.grad.abs().sum() > 0 for name, parameter in detector.named_parameters() if "enter.w" in name)


def test_the_first_layer_and_those_that_give_logits_keep_eight_bits() -> None:
    bits = {name: unit.weight_bits for name, unit in _detector(weight_bits=4).named_modules()
            if isinstance(unit, SpikingConv)}  # fmt: skip
    wide = {name for name, number in bits.items() if number == 8}
    assert wide == {"backbone.down1", *(f"head.{kind}.{n}.layers.2" for kind in ("box", "classes") for n in range(3))}
    assert set(bits.values()) == {4, 8}


def test_weights_of_eight_bits_take_a_quarter_and_of_four_an_eighth_but_for_steps_and_biases() -> None:
    assert stored_bytes(100, 10, None, bias=True) == 440
    assert stored_bytes(100, 10, 8, bias=True) == 100 + 40 + 40
    assert stored_bytes(101, 10, 4, bias=False) == 51 + 40
    floating, eight, four = (weight_bytes(_detector(weight_bits=bits)) for bits in (None, 8, 4))
    kernels = [folded_kernel(unit) for unit in _units(_detector())]
    weights, outputs = sum(k.weight.numel() for k in kernels), sum(k.out_channels for k in kernels)
    assert floating == 4 * weights + 4 * outputs
    assert eight == weights + 8 * outputs
    assert 0.5 * eight < four < 0.7 * eight


def test_a_trained_network_is_rounded_afterwards_as_if_it_had_been_built_so() -> None:
    built, afterwards = _detector(weight_bits=4), _detector()
    afterwards.quantise(4)
    with torch.no_grad():
        assert torch.equal(afterwards(_frames()).class_logits, built(_frames()).class_logits)


def test_weight_bits_of_an_ann_and_other_numbers_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.weight_bits=8 is for weights that meet spikes, found .*Relu"):
        _detector(neuron=Relu, weight_bits=8)
    with pytest.raises(ConfigError, match=r"model\.weight_bits is 2, expected 4, 8 or null"):
        _detector(weight_bits=2)


def test_neurons_are_left_alone() -> None:
    kinds = [type(module) for module in _detector(weight_bits=8).modules() if isinstance(module, Neuron)]
    assert set(kinds) == {Ilif}
