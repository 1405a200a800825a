"""What a network's spikes cost: firing rates, synaptic operations and energy of every layer, on real windows.

Energy is counted as in arXiv 2407.20708 for a 45 nm process (figures of Horowitz, ISSCC 2014): a synapse that receives
spike counts costs MACs · rate · 0.9 pJ, where the rate is the mean count a step and element, so that it already holds
the D sub-steps; everything else, the first layer too, costs MACs · 4.6 pJ. The ANN twin pays 4.6 pJ for every MAC.
Measure the folded network whose synapses are single convolutions: in the unfolded one, what a normalisation left
real-valued between two convolutions is charged as MACs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from spikeyolo.errors import ConfigError


@dataclass
class LayerEnergy:
    """One convolution or linear layer, summed over all that was measured.

    Attributes:
        name: of the layer in the network.
        macs: multiply-accumulates.
        inputs: values that entered it.
        spikes: their sum.
        silent: how many of them were zero.
        spiking: whether all of them were spike counts behind a neuron.
    """

    name: str
    macs: int = 0
    inputs: int = 0
    spikes: float = 0.0
    silent: int = 0
    spiking: bool = True

    @property
    def rate(self) -> float:
        """Mean spike count of an element and step."""
        return self.spikes / self.inputs if self.inputs else 0.0

    @property
    def sparsity(self) -> float:
        """Share of values that were zero."""
        return self.silent / self.inputs if self.inputs else 0.0

    @property
    def synaptic_operations(self) -> float:
        """Additions a spike-driven machine makes: MACs · rate; for other layers 0."""
        return self.macs * self.rate if self.spiking else 0.0


@dataclass(frozen=True)
class EnergyReport:
    """Energy of one time step of one sample, on average over what was measured.

    Attributes:
        layers: in the order of the first pass; their sums are over all steps.
        steps: time steps times samples that were measured.
        mac_pj, ac_pj: picojoule of a multiply-accumulate and of an addition.
    """

    layers: tuple[LayerEnergy, ...]
    steps: int
    mac_pj: float
    ac_pj: float

    def layer_mj(self, layer: LayerEnergy) -> float:
        """Millijoule of a layer in one step."""
        cost = layer.synaptic_operations * self.ac_pj if layer.spiking else layer.macs * self.mac_pj
        return cost * 1e-9 / self.steps

    def ann_layer_mj(self, layer: LayerEnergy) -> float:
        """Millijoule of the same layer in the ANN twin."""
        return layer.macs * self.mac_pj * 1e-9 / self.steps

    def metrics(self) -> dict[str, float]:
        """Flat figures of one time step of one sample, for a logger."""
        spiking = [layer for layer in self.layers if layer.spiking]
        inputs = sum(layer.inputs for layer in spiking)
        snn, ann = (sum(map(of, self.layers)) for of in (self.layer_mj, self.ann_layer_mj))
        return {
            "energy/gmacs": sum(layer.macs for layer in self.layers) / self.steps / 1e9,
            "energy/gsops": sum(layer.synaptic_operations for layer in self.layers) / self.steps / 1e9,
            "energy/firing_rate": sum(layer.spikes for layer in spiking) / inputs if inputs else 0.0,
            "energy/sparsity": sum(layer.silent for layer in spiking) / inputs if inputs else 0.0,
            "energy/snn_mj": snn,
            "energy/ann_mj": ann,
            "energy/ann_over_snn": ann / snn if snn else float("inf"),
        }

    def rows(self) -> list[dict[str, Any]]:
        """One row a layer for a table or a CSV file."""
        return [
            {
                "layer": layer.name,
                "spiking": layer.spiking,
                "macs": layer.macs // self.steps,
                "firing_rate": layer.rate,
                "sparsity": layer.sparsity,
                "sops": layer.synaptic_operations / self.steps,
                "snn_mj": self.layer_mj(layer),
                "ann_mj": self.ann_layer_mj(layer),
            }
            for layer in self.layers
        ]

    def table(self) -> str:
        """Text, one line a layer and the sums below."""
        lines = [f"{'layer':<52} {'MMACs':>9} {'rate':>7} {'zeros':>6} {'MSOPs':>9} {'SNN µJ':>9} {'ANN µJ':>9}"]
        for row in self.rows():
            rate = f"{row['firing_rate']:7.3f}" if row["spiking"] else "   real"
            lines.append(
                f"{row['layer']:<52} {row['macs'] / 1e6:9.2f} {rate} {row['sparsity']:6.1%} {row['sops'] / 1e6:9.2f} "
                f"{row['snn_mj'] * 1e3:9.2f} {row['ann_mj'] * 1e3:9.2f}"
            )
        sums = self.metrics()
        lines.append(
            f"{'one step of one sample':<52} {sums['energy/gmacs'] * 1e3:9.2f} {sums['energy/firing_rate']:7.3f} "
            f"{sums['energy/sparsity']:6.1%} {sums['energy/gsops'] * 1e3:9.2f} {sums['energy/snn_mj'] * 1e3:9.2f} "
            f"{sums['energy/ann_mj'] * 1e3:9.2f}  ({sums['energy/ann_over_snn']:.1f} times less)"
        )
        return "\n".join(lines)


@dataclass
class EnergyMeter:
    """Counts operations by hooks while a network runs.

    Args:
        mac_pj: picojoule of a multiply-accumulate.
        ac_pj: picojoule of an addition.
        max_windows: stop after so many batches; None takes all.
    """

    mac_pj: Annotated[float, Gt(0)] = 4.6
    ac_pj: Annotated[float, Gt(0)] = 0.9
    max_windows: Annotated[int, Ge(1)] | None = None
    _layers: dict[str, LayerEnergy] = field(default_factory=dict, init=False, repr=False)

    def measure(self, network: nn.Module, batches: Iterable[Tensor]) -> EnergyReport:
        """Run a network in eval mode on ``[T, B, C, H, W]`` frames and count.

        A layer is spike-driven where a module above it has a ``neuron`` with a whole number of ``levels`` and only
        counts from 0 to that number entered it.

        Raises:
            ConfigError: there was nothing to measure.
        """
        self._layers = {}
        levels = _levels(network)
        hooks = [
            module.register_forward_hook(self._count(name, levels.get(name)))
            for name, module in network.named_modules()
            if isinstance(module, nn.Conv2d | nn.Linear)
        ]
        training, steps = network.training, 0
        network.eval()
        try:
            with torch.no_grad():
                for number, frames in enumerate(batches):
                    if self.max_windows is not None and number >= self.max_windows:
                        break
                    network(frames)
                    steps += frames.shape[0] * frames.shape[1]
        finally:
            network.train(training)
            for hook in hooks:
                hook.remove()
        if not steps:
            raise ConfigError("energy: found no window to measure; expected a validation set with at least one")
        return EnergyReport(tuple(self._layers.values()), steps, self.mac_pj, self.ac_pj)

    def _count(self, name: str, levels: int | None) -> Any:
        def hook(module: nn.Conv2d | nn.Linear, entering: tuple[Tensor, ...], leaving: Tensor) -> None:
            layer = self._layers.setdefault(name, LayerEnergy(name))
            values = entering[0]
            layer.macs += leaving.numel() * module.weight[0].numel()
            layer.inputs += values.numel()
            layer.silent += values.numel() - int(values.count_nonzero())
            layer.spikes += float(values.sum(dtype=torch.float64))
            if layer.spiking:
                layer.spiking = levels is not None and bool(
                    ((values == values.round()) & (values >= 0) & (values <= levels)).all()
                )

        return hook


def _levels(network: nn.Module) -> dict[str, int]:
    """Name of each layer behind a spiking neuron → the most spikes that one step may bring."""
    levels: dict[str, int] = {}
    for name, module in network.named_modules():
        most = getattr(getattr(module, "neuron", None), "levels", None)
        if isinstance(most, int):
            for inner, _ in module.named_modules(prefix=name):
                levels[inner] = most
    return levels
