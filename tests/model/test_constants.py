"""What a norm takes off again does not learn: its gradient is 0, and not what rounding leaves of 0."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikeyolo.model.blocks import RepConv, SepRepConv, SpikingConv, spiking_conv
from spikeyolo.model.detector import Detector
from spikeyolo.model.neuron import Ilif, Relu
from spikeyolo.model.norm import Norm


def network(neuron: Any) -> Detector:
    torch.manual_seed(0)
    detector = Detector(num_classes=3, depth=0.33, width=0.0625, neuron=neuron)
    with torch.no_grad():
        for norm in detector.modules():
            if isinstance(norm, Norm):
                norm.bias.normal_(std=0.5)
    return detector.train()


def frames() -> Tensor:
    return torch.poisson(torch.full((2, 2, 2, 64, 96), 0.7), generator=torch.Generator().manual_seed(1))


def constants(detector: Detector) -> dict[str, Tensor]:
    """Biases that only move the maps of a norm behind them, border included."""
    found = {}
    for name, unit in detector.named_modules():
        if isinstance(unit, SpikingConv) and unit.norm is not None:
            if isinstance(unit.synapse, nn.Conv2d) and unit.synapse.bias is not None:
                found[f"{name}.synapse.bias"] = unit.synapse.bias
            elif isinstance(unit.synapse, SepRepConv):
                found[f"{name}.synapse.norm.bias"] = unit.synapse.norm.bias
        if isinstance(unit, RepConv):
            found[f"{name}.enter_norm.bias"] = unit.enter_norm.bias
            found[f"{name}.leave_norm.bias"] = unit.leave_norm.bias
    return found


def learn(detector: Detector, maps: Tensor) -> dict[str, Tensor]:
    predictions = detector(maps)
    draw = torch.Generator().manual_seed(2)
    loss = maps.new_zeros(())
    for out in (predictions.box_logits, predictions.class_logits):
        loss = loss + (out * torch.randn(out.shape, generator=draw).to(out)).mean()
    loss.backward()
    return {name: parameter.grad.double() for name, parameter in detector.named_parameters()}  # type: ignore[union-attr]


def test_no_gradient_is_made_of_rounding() -> None:
    narrow, wide = network(Relu), network(Relu).double()
    found, exact = learn(narrow, frames()), learn(wide, frames().double())
    largest = max(float(gradient.norm()) for gradient in exact.values())
    zeros = {name for name, gradient in exact.items() if gradient.norm() < 1e-12 * largest}
    assert zeros == set(constants(narrow))
    assert all(not found[name].any() for name in zeros)
    for name in exact.keys() - zeros:
        assert (found[name] - exact[name]).norm() < 5e-2 * exact[name].norm(), name  # float32 through fifty norms


@pytest.mark.parametrize("bits", [None, 8])
def test_constants_stay_where_they_began_and_all_else_learns(bits: int | None) -> None:
    detector = network(Ilif)
    for unit in detector.modules():
        if isinstance(unit, SpikingConv):
            unit.weight_bits = bits
    before = copy.deepcopy(detector.state_dict())
    held = constants(detector)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=0.01, weight_decay=0.0)
    for _ in range(3):
        optimizer.zero_grad(set_to_none=True)
        learn(detector, frames())
        optimizer.step()
    assert len(held) > 20
    for name, parameter in detector.named_parameters():
        assert torch.equal(parameter, before[name]) == (name in held), name


def spread(norm: Norm) -> None:
    with torch.no_grad():
        for value in (norm.weight, norm.bias, norm.running_mean):
            value.normal_()
        norm.running_var.uniform_(0.5, 2.0)


def gradient(unit: nn.Module, bias: Tensor, maps: Tensor) -> Tensor:
    out = unit(maps)
    draw = torch.randn(out.shape, generator=torch.Generator().manual_seed(3), dtype=out.dtype)
    (found,) = torch.autograd.grad((out * draw).sum(), bias)
    return found


def differences(unit: nn.Module, bias: Tensor, maps: Tensor) -> Tensor:
    """Of the loss above by central differences: it is linear in the bias."""
    found = torch.empty_like(bias)
    with torch.no_grad():
        for at in range(len(bias)):
            sides = []
            for step in (0.5, -0.5):
                bias[at] += step
                out = unit(maps)
                draw = torch.randn(out.shape, generator=torch.Generator().manual_seed(3), dtype=out.dtype)
                sides.append((out * draw).sum())
                bias[at] -= step
            found[at] = sides[0] - sides[1]
    return found


@pytest.mark.parametrize("kind", ["convolution", "rep", "sep_rep"])
def test_before_a_norm_with_running_statistics_a_constant_counts_and_learns(kind: str) -> None:
    torch.manual_seed(0)
    if kind == "convolution":
        unit = spiking_conv(None, 3, 4, 3, bias=True)
        bias = unit.synapse.bias
    elif kind == "rep":
        unit = SpikingConv(None, RepConv(3, 4), Norm(4))
        bias = unit.synapse.enter_norm.bias  # type: ignore[union-attr]
    else:
        unit = SpikingConv(None, SepRepConv(3, 4), Norm(4))
        bias = unit.synapse.norm.bias  # type: ignore[union-attr]
    unit.double()
    for norm in unit.modules():
        if isinstance(norm, Norm):
            spread(norm)
            norm.eval()  # as where its part is frozen
    maps = torch.rand(2, 1, 3, 6, 6, dtype=torch.float64)
    exact = differences(unit, bias, maps)  # type: ignore[arg-type]
    assert (exact.abs() > 1e-3).all()
    torch.testing.assert_close(gradient(unit, bias, maps), exact)  # type: ignore[arg-type]
    unit.train()
    assert not gradient(unit, bias, maps).any()  # type: ignore[arg-type]
