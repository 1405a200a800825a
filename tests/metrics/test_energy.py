"""Energy is counted as the paper counts it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch
from lively import lively
from torch import Tensor, nn

from spikeyolo.errors import ConfigError
from spikeyolo.metrics.energy import EnergyMeter
from spikeyolo.model.detector import Detector
from spikeyolo.model.inference.binary import in_integers
from spikeyolo.model.inference.fold import fold, macs
from spikeyolo.model.neuron import Ilif, Relu
from spikeyolo.report.pictures.energy import draw_energy


class _Unit(nn.Module):
    """A neuron and a synapse behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.neuron = Ilif(levels=2, decay=0.0)
        self.synapse = nn.Conv2d(1, 3, 1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        spikes, _ = self.neuron(maps)
        return self.synapse(spikes.flatten(0, 1))


class _TwoLayers(nn.Module):
    """First layer real-valued, second behind spikes: both known by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 1, 1, bias=False)
        self.second = _Unit()
        nn.init.ones_(self.first.weight)

    def forward(self, frames: Tensor) -> Tensor:
        maps = self.first(frames.flatten(0, 1))
        return self.second(maps.view(frames.shape))


def test_two_layers_cost_what_a_hand_computes() -> None:
    # one step of 2x2: after the first layer 0, 1, 2, 7, so spikes 0, 1, 2, 2: rate 1.25
    frames = torch.tensor([0.0, 1.0, 2.0, 7.0]).view(1, 1, 1, 2, 2)
    report = EnergyMeter().measure(_TwoLayers(), [frames])
    first, second = report.layers
    assert (first.name, first.macs, first.spiking) == ("first", 4, False)
    assert (second.name, second.macs, second.rate, second.sparsity) == ("second.synapse", 12, 1.25, 0.25)
    figures = report.metrics()
    snn_pj, ann_pj = 4 * 4.6 + 12 * 1.25 * 0.9, 16 * 4.6
    assert figures["energy/snn_mj"] == pytest.approx(snn_pj * 1e-9)
    assert figures["energy/ann_mj"] == pytest.approx(ann_pj * 1e-9)
    assert figures["energy/ann_over_snn"] == pytest.approx(ann_pj / snn_pj)
    assert figures["energy/gsops"] == pytest.approx(15e-9)
    assert figures["energy/firing_rate"] == 1.25


def test_figures_are_of_one_step_of_one_sample_however_many_are_measured() -> None:
    frames = torch.rand(1, 1, 1, 2, 2) * 3
    one = EnergyMeter().measure(_TwoLayers(), [frames]).metrics()
    many = EnergyMeter().measure(_TwoLayers(), [frames.expand(3, 2, 1, 2, 2)] * 2).metrics()
    assert many == pytest.approx(one)


def test_constants_are_the_users() -> None:
    frames = torch.ones(1, 1, 1, 2, 2)
    report = EnergyMeter(mac_pj=2.0, ac_pj=0.5).measure(_TwoLayers(), [frames])
    assert report.metrics()["energy/snn_mj"] == pytest.approx((4 * 2.0 + 12 * 0.5) * 1e-9)


def test_only_so_many_windows_are_measured() -> None:
    frames = torch.ones(2, 1, 1, 2, 2)
    assert EnergyMeter(max_windows=2).measure(_TwoLayers(), [frames] * 5).steps == 4


def test_no_window_is_one_clear_error() -> None:
    with pytest.raises(ConfigError, match="found no window"):
        EnergyMeter().measure(_TwoLayers(), [])


def test_the_whole_folded_network_is_charged_by_spikes_behind_its_first_layer() -> None:
    torch.manual_seed(0)
    detector = Detector(num_classes=2, depth=0.33, width=0.0625, neuron=Ilif)
    folded = fold(detector, synapses="single")
    frames = torch.randint(0, 4, (2, 1, 2, 64, 64), dtype=torch.uint8)
    report = EnergyMeter().measure(folded, [frames])
    assert [layer.name for layer in report.layers if not layer.spiking] == ["backbone.down1.synapse"]
    assert sum(layer.macs for layer in report.layers) == macs(folded, frames)
    assert report.metrics()["energy/snn_mj"] < report.metrics()["energy/ann_mj"]
    assert not any(module._forward_hooks for module in folded.modules())


@pytest.mark.parametrize("bits", [None, 8])
def test_the_binary_form_costs_what_the_integer_form_costs(bits: Literal[8] | None) -> None:
    reports = []
    frames = torch.poisson(torch.full((2, 1, 2, 64, 64), 0.7), generator=torch.Generator().manual_seed(1))
    for form in ("integer", "binary"):
        torch.manual_seed(0)
        made = Detector(
            num_classes=2, depth=0.33, width=0.0625, neuron=Ilif, fine_ends=2, form=form, weight_bits=bits  # type: ignore[arg-type]
        )  # fmt: skip
        reports.append(EnergyMeter().measure(fold(in_integers(lively(made)), synapses="single"), [frames]))
    integer, binary = reports
    assert len(binary.layers) > 20
    assert binary.rows() == integer.rows()
    assert binary.metrics() == integer.metrics()


def test_the_ann_twin_pays_for_every_multiplication() -> None:
    detector = Detector(num_classes=2, depth=0.33, width=0.0625, neuron=Relu)
    figures = EnergyMeter().measure(detector, [torch.ones(1, 1, 2, 32, 32)]).metrics()
    assert figures["energy/ann_over_snn"] == 1
    assert figures["energy/gsops"] == 0


def test_size_s_at_640_pixels_counts_within_four_percent_of_the_published_macs() -> None:
    detector = Detector(num_classes=80, in_channels=3, depth=0.33, width=0.5, neuron=Relu)
    frames = torch.zeros(1, 1, 3, 64, 64)  # cost is linear in pixels: a hundredth
    count = macs(fold(detector, synapses="single"), frames) * 100 / 1e9
    assert count == pytest.approx(104.5, rel=1e-3)
    assert count / 101.2 - 1 < 0.04


def test_the_table_and_the_chart_name_every_layer(tmp_path: Path) -> None:
    report = EnergyMeter().measure(_TwoLayers(), [torch.ones(1, 1, 1, 2, 2)])
    assert all(name in report.table() for name in ("first", "second.synapse", "one step of one sample"))
    assert draw_energy(tmp_path / "energy.png", report.rows()).stat().st_size > 1000
