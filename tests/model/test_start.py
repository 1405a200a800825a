"""How a network begins: blocks near the identity, and weights taken over from the ANN twin."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from lively import lively
from torch import Tensor

from spikeyolo.engine.checkpoints import checkpoint
from spikeyolo.errors import ConfigError
from spikeyolo.metrics.energy import EnergyMeter
from spikeyolo.model.blocks import Block
from spikeyolo.model.detector import Detector
from spikeyolo.model.inference.fold import compare, fold
from spikeyolo.model.neuron import Ilif, IlifParameters, Lif, Relu
from spikeyolo.model.norm import Norm


def network(neuron: Any = Ilif, seed: int = 0, **changes: Any) -> Detector:
    torch.manual_seed(seed)
    return Detector(**{"num_classes": 3, "depth": 0.33, "width": 0.0625, "neuron": neuron} | changes)


def save(detector: Detector, path: Path) -> None:
    safetensors.torch.save_file({name: value.contiguous() for name, value in detector.state_dict().items()}, path)


def frames() -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.poisson(torch.full((2, 2, 2, 64, 64), 0.7), generator=draw).to(torch.uint8)


@pytest.mark.parametrize("scale", [1.0, 0.2])
def test_the_last_norm_of_each_branch_begins_at_the_scale_and_all_others_at_one(scale: float) -> None:
    detector = network(branch_scale=scale)
    blocks = [block for block in detector.modules() if isinstance(block, Block)]
    ends = [norm for block in blocks for norm in (block.separable.project.norm, block.narrow.norm)]
    assert len(ends) == 2 * len(blocks) > 0
    assert all(torch.equal(norm.weight, torch.full_like(norm.weight, scale)) for norm in ends)
    inside = {id(norm.weight) for norm in ends}
    norms = {name: p for name, p in detector.named_parameters() if p.dim() == 1 and name.endswith("norm.weight")}
    others = [p for p in norms.values() if id(p) not in inside]
    assert others
    assert all(torch.equal(p, torch.ones_like(p)) for p in others)


def test_at_zero_every_block_begins_as_the_identity_and_still_learns() -> None:
    block = Block(4, 2, rep=True, neuron=Ilif)
    block.start_at(0.0)
    maps = torch.randn(3, 2, 4, 8, 8)
    assert torch.equal(block(maps), maps)
    block(maps).square().sum().backward()
    assert block.narrow.norm.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("neuron", [Ilif, Relu])
def test_gradients_grow_less_from_the_head_to_the_first_layer_where_branches_begin_small(neuron: Any) -> None:
    growth = []
    for scale in (1.0, 0.2):
        detector = network(neuron, depth=1.0, branch_scale=scale).train()
        sum(level.mean() for level in detector.levels(frames())).backward()  # type: ignore[union-attr]
        first, last = detector.backbone.down1.synapse.weight, detector.head.classes[0].layers[-1].synapse.weight
        growth.append(float(first.grad.norm() / last.grad.norm()))
    assert growth[1] < 0.5 * growth[0]


def test_a_start_below_zero_is_refused_and_pretrained_weights_replace_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.branch_scale is -1"):
        network(branch_scale=-1.0)
    save(lively(network()), tmp_path / "w.safetensors")
    taken = network(branch_scale=0.2, class_prior=0.01, pretrained=str(tmp_path / "w.safetensors"), strict=True)
    assert taken.state_dict().keys() == network().state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(taken.state_dict().values(), lively(network()).state_dict().values()))


@pytest.mark.parametrize("prior", [0.01, 0.2, None])
def test_class_scores_start_at_the_prior_at_every_stride_and_nothing_else_changes(prior: float | None) -> None:
    detector, published = network(class_prior=prior), network()
    for stride, classes in zip((8, 16, 32), detector.head.classes, strict=True):
        start = classes.layers[-1].synapse.bias.sigmoid()  # type: ignore[union-attr]
        logit = math.log(5 / 3 / (640 / stride) ** 2)  # 5 objects of 3 classes in 640 × 640 px
        expected = prior if prior is not None else 1 / (1 + math.exp(-logit))
        torch.testing.assert_close(start, torch.full((3,), expected), rtol=1e-5, atol=0)
    others = {name for name in published.state_dict() if not name.startswith("head.classes") or "bias" not in name}
    assert others
    assert all(torch.equal(detector.state_dict()[name], published.state_dict()[name]) for name in others)


@pytest.mark.parametrize("prior", [0.0, 1.0, -0.5, float("nan")])
def test_a_prior_that_is_no_probability_between_0_and_1_is_refused(prior: float) -> None:
    with pytest.raises(ConfigError, match=r"model\.class_prior is .*between 0 and 1"):
        network(class_prior=prior)


def test_the_twins_weights_load_by_name_and_all_forms_of_what_results_agree(tmp_path: Path) -> None:
    twin = lively(network(Relu, branch_scale=0.2).double())
    save(twin, tmp_path / "twin.safetensors")
    forms = {}
    for form in ("integer", "binary"):
        spiking = network(pretrained=str(tmp_path / "twin.safetensors"), strict=True, form=form, seed=1).double().eval()
        spiking.load_state_dict(twin.state_dict())  # as double
        forms[form] = spiking
    with torch.no_grad():
        integer, binary = (forms[form].levels(frames()) for form in ("integer", "binary"))
        real = twin.eval().levels(frames())
    for expected, found, other in zip(integer, binary, real, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
        assert not torch.allclose(found, other, atol=1e-3)  # it spikes
    report = compare(forms["integer"], fold(forms["integer"], synapses="single"), frames())
    assert report.max_difference < 1e-9 * max(report.max_logit, 1)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_fine_ends_change_only_neurons_before_stride_8_and_in_the_head(factor: int) -> None:
    plain, fine = network(), network(fine_ends=factor)
    rules = {name: unit.p for name, unit in fine.named_modules() if isinstance(unit, Ilif)}
    ends = ("backbone.stage1.", "backbone.down2.", "head.")
    assert {rule for name, rule in rules.items() if name.startswith(ends)} == {IlifParameters(4 * factor, gain=factor)}
    assert {rule for name, rule in rules.items() if not name.startswith(ends)} == {IlifParameters()}
    assert all(fine.get_submodule(name).levels == rule.levels for name, rule in rules.items())
    assert all(torch.equal(fine.state_dict()[name], weight) for name, weight in plain.state_dict().items())


def test_fine_ends_leave_the_scale_of_logits_and_of_the_last_gradients_as_it_is() -> None:
    sizes = []
    for factor in (1, 16):
        detector = lively(network(fine_ends=factor)).train()
        head, draw = detector.head, torch.Generator().manual_seed(3)
        maps = tuple(torch.randn(1, 2, channels, 8, 8, generator=draw) for channels in detector.neck.channels)
        level = head(maps)[0]
        level.box.square().mean().backward()
        sizes.append((float(level.box.std().detach()), float(head.box[0].layers[2].synapse.weight.grad.norm())))
    assert sizes[1] == pytest.approx(sizes[0], rel=0.3)


def test_fine_ends_make_the_start_closer_to_the_twins() -> None:
    distances = []
    for factor in (1, 4, 16):
        fine, twin = network(fine_ends=factor).backbone.stage1.train(), network(Relu).backbone.stage1.train()
        maps = torch.randn(1, 4, 8, 16, 16, generator=torch.Generator().manual_seed(2)).clamp(max=3.0)
        distances.append(float((fine(maps) - twin(maps)).square().mean().detach()))
    assert distances[0] > 4 * distances[1] > 16 * distances[2]


def test_all_forms_of_a_network_with_fine_ends_agree_and_the_meter_sees_only_spikes(tmp_path: Path) -> None:
    save(lively(network(fine_ends=2)), tmp_path / "w.safetensors")
    integer, binary = (
        network(fine_ends=2, form=form, pretrained=str(tmp_path / "w.safetensors"), strict=True).eval()
        for form in ("integer", "binary")
    )
    with torch.no_grad():
        for expected, found in zip(integer.levels(frames()), binary.levels(frames()), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
        for expected, found in zip(integer.levels(frames()), fold(integer, synapses="single").levels(frames())):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    layers = {layer.name: layer for layer in EnergyMeter().measure(fold(integer, synapses="single"), [frames()]).layers}
    assert layers
    assert all(layer.spiking for name, layer in layers.items() if not name.startswith("backbone.down1"))


def test_fine_ends_that_a_neuron_cannot_have_are_refused_and_the_twin_has_them_for_nothing() -> None:
    for factor, neuron, said in ((0, Ilif, "expected at least 1"), (32, Ilif, "128 levels"), (2, Lif, "found Lif")):
        with pytest.raises(ConfigError, match=rf"model\.fine_ends is {factor}.*{said}"):
            network(neuron, fine_ends=factor)
    twin, fine = network(Relu).state_dict(), network(Relu, fine_ends=4).state_dict()
    assert all(torch.equal(fine[name], value) for name, value in twin.items())


def settled(detector: Detector) -> Detector:
    """Its norms hold the statistics of the frames below."""
    for norm in detector.modules():
        if isinstance(norm, Norm):
            norm.momentum = 1.0
    with torch.no_grad():
        detector.train()(frames())
    return detector.eval()


def statistics(detector: Detector) -> Tensor:
    kept = {name: value for name, value in detector.named_buffers() if name.endswith(("_mean", "_var"))}
    return torch.cat([value.sqrt() if name.endswith("_var") else value for name, value in kept.items()])


def test_a_twins_statistics_are_taken_in_the_units_of_neurons_that_count_more_finely(tmp_path: Path) -> None:
    twin = settled(lively(network(Relu)))
    checkpoint.save(tmp_path / "twin", weights=twin, training=None, state={})
    weights = str(tmp_path / "twin" / "weights.safetensors")
    taken = network(fine_ends=16, pretrained=weights, strict=True, seed=1).eval()
    own, as_they_were = settled(network(fine_ends=16, pretrained=weights, seed=1)), network(fine_ends=16, seed=1)
    as_they_were.load_state_dict(twin.state_dict())
    far, near = ((statistics(other) - statistics(own)).abs().mean() for other in (as_they_were, taken))
    assert near < 0.5 * far
    stage, real = taken.backbone.stage1, twin.backbone.stage1
    maps = torch.randn(1, 2, 8, 16, 16, generator=torch.Generator().manual_seed(2)).clamp(max=3.0)
    with torch.no_grad():
        expected = real(maps.clone())
        found, unscaled = stage(maps.clone()), as_they_were.eval().backbone.stage1(maps.clone())
    assert (found - expected).square().mean() < 0.05 * (unscaled - expected).square().mean()


def test_statistics_go_between_networks_that_count_differently_and_stay_where_they_count_alike(tmp_path: Path) -> None:
    fine = settled(lively(network(fine_ends=4)))
    checkpoint.save(tmp_path / "fine", weights=fine, training=None, state={})
    weights = str(tmp_path / "fine" / "weights.safetensors")
    same = network(fine_ends=4, pretrained=weights, seed=1).state_dict()
    assert all(torch.equal(value, same[name]) for name, value in fine.state_dict().items())
    coarse = network(pretrained=weights, seed=1).state_dict()
    changed = {name for name, value in fine.state_dict().items() if not torch.equal(value, coarse[name])}
    assert changed
    assert all(name.startswith(("backbone.stage1.", "backbone.down2", "head.")) for name in changed)
    for name in changed:
        factor = 16 if name.endswith("running_var") else 4
        torch.testing.assert_close(coarse[name] * factor, fine.state_dict()[name])
