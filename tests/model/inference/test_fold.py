"""The folded and the binary network are the network."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lively import lively
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from spikeyolo.errors import ConfigError
from spikeyolo.model.blocks import RepConv, SepRepConv, SpikingConv
from spikeyolo.model.detector import Detector
from spikeyolo.model.inference.binary import sub_steps
from spikeyolo.model.inference.fold import compare, fold, folded_kernel, separable_kernels
from spikeyolo.model.neuron import Ilif, IlifParameters, IlifState, Lif, LifBox, ParametricLif, Relu

BUILD = {"num_classes": 3, "depth": 0.33, "width": 0.0625}


def _frames(steps: int = 3) -> Tensor:
    return torch.randint(0, 4, (steps, 2, 2, 64, 96), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def _detector(seed: int = 0, **changes: Any) -> Detector:
    torch.manual_seed(seed)
    return lively(Detector(**({"neuron": Ilif} | BUILD | changes)), seed).double().eval()


def test_sub_steps_sum_to_the_integer_form_ties_included() -> None:
    currents = torch.cat((torch.randn(500, dtype=torch.float64) * 3, torch.arange(-2, 8, 0.25, dtype=torch.float64)))
    for levels in range(1, 7):
        parameters = IlifParameters(levels=levels, decay=0.25)
        spikes, state = sub_steps(currents, IlifState(torch.empty(0)), parameters)
        expected, left = Ilif(levels=levels, decay=0.25)(currents[None])
        assert set(spikes.unique().tolist()) <= {0.0, 1.0}
        assert torch.equal(spikes.sum(dim=0), expected[0])
        assert torch.equal(state.residual, left.residual)


@pytest.mark.parametrize(
    "neuron", [Ilif, lambda: Ilif(levels=2, decay=0.5), lambda: Ilif(levels=8, gain=3.0), Lif, LifBox, ParametricLif]
)
def test_the_whole_network_in_binary_form_gives_the_integer_forms_outputs(neuron: Any) -> None:
    integer, binary = _detector(neuron=neuron), _detector(neuron=neuron, form="binary")
    binary.load_state_dict(integer.state_dict())
    with torch.no_grad():
        for expected, found in zip(integer.levels(_frames()), binary.levels(_frames()), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


class _Inputs(TorchFunctionMode):
    """Collects the values that enter convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in (torch.conv2d, F.conv2d):
            self.seen.append(args[0].unique())
        return function(*args, **(kwargs or {}))


def test_only_zero_and_one_enter_any_synapse_behind_the_first_layer() -> None:
    binary = _detector(form="binary")
    with torch.no_grad(), _Inputs() as inputs:
        binary(_frames())
    assert len(inputs.seen) == sum(isinstance(module, SpikingConv) for module in binary.modules())
    assert all(set(values.tolist()) <= {0.0, 1.0} for values in inputs.seen[1:])
    assert sum(len(values) == 2 for values in inputs.seen[1:]) > 40  # and they are not all silent


def test_only_counts_enter_the_synapses_of_the_folded_integer_form() -> None:
    with torch.no_grad(), _Inputs() as inputs:
        fold(_detector(), synapses="single")(_frames())
    assert all(set(values.tolist()) <= {0.0, 1.0, 2.0, 3.0, 4.0} for values in inputs.seen[1:])


def test_binary_form_trains_in_integers() -> None:
    integer, binary = _detector().train(), _detector(form="binary").train()
    binary.load_state_dict(integer.state_dict())
    assert torch.equal(integer(_frames()).class_logits, binary(_frames()).class_logits)


def test_binary_form_needs_neurons_that_spike() -> None:
    with pytest.raises(ConfigError, match="Relu"):
        _detector(neuron=Relu, form="binary")


def _inputs(synapse: nn.Module) -> int:
    """Channels of what enters a synapse."""
    if isinstance(synapse, SepRepConv):
        return synapse.norm.num_features
    return (synapse.enter if isinstance(synapse, RepConv) else synapse).in_channels


@pytest.mark.parametrize("build", [folded_kernel, separable_kernels])
def test_each_kind_of_unit_folds_exactly_borders_included(build: Any) -> None:
    block = _detector().backbone.stage3.layers[0]
    for unit in (block.widen, block.narrow, block.separable.project, block.separable.mix, block.separable.expand):
        spikes = torch.randint(0, 5, (2, _inputs(unit.synapse), 5, 4)).double()
        torch.testing.assert_close(build(unit)(spikes), unit.transmit(spikes), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("synapses", ["single", "separable"])
def test_the_folded_network_gives_the_same_outputs_and_has_no_norms(synapses: Any) -> None:
    detector = _detector()
    folded = fold(detector, synapses=synapses)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    report = compare(detector, folded, _frames())
    assert report.max_difference < 1e-9
    assert report.max_logit > 1.0
    if synapses == "separable":
        assert report.parameters_after < report.parameters_before
        assert report.macs_after == report.macs_before
    else:
        assert report.macs_after > report.macs_before
    assert "max difference" in str(report)


def test_folding_leaves_the_detector_as_it_was() -> None:
    detector = _detector().train()
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    fold(detector)
    assert detector.training
    assert all(torch.equal(before[name], value) for name, value in detector.state_dict().items())


def test_the_folded_binary_network_gives_the_same_outputs() -> None:
    detector = _detector(form="binary")
    report = compare(detector, fold(detector, synapses="single"), _frames(2))
    assert report.max_difference < 1e-9


def test_the_folded_network_streams_like_one_long_window() -> None:
    folded = fold(_detector())
    frames = _frames(4)
    with torch.no_grad():
        whole = folded(frames).class_logits
        first, state = folded.stream(frames[:3])
        second, _ = folded.stream(frames[3:], state)
    torch.testing.assert_close(torch.cat((first.class_logits, second.class_logits)), whole, rtol=1e-10, atol=1e-10)


def test_a_folded_network_in_bfloat16_rounds_weights_and_currents_only() -> None:
    detector = _detector().float()
    folded = fold(detector, dtype=torch.bfloat16)
    with torch.no_grad(), _Inputs() as inputs:
        predictions = folded(_frames())
    assert predictions.class_logits.dtype == torch.bfloat16
    synapses = [module.synapse for module in folded.modules() if isinstance(module, SpikingConv)]
    assert all(p.dtype == torch.bfloat16 for synapse in synapses for p in synapse.parameters())
    assert sum(set(values.tolist()) <= {0.0, 1.0, 2.0, 3.0, 4.0} for values in inputs.seen) >= len(synapses)
    report = compare(detector, folded, _frames())
    assert 0 < report.max_difference < 0.5 * report.max_logit
    assert next(detector.parameters()).dtype == torch.float32
