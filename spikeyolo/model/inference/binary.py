"""Spike-driven inference: each time step unrolled to D sub-steps, in which only 0 and 1 enter the synapses.

A sub-step fires where the membrane is above 0.5, and takes what it fired off the membrane; the sum over D sub-steps is
``round(clamp(v, 0, D))``. Rounding half to even decides the case of equality: 0.5 is 0, but 1.5 is 2, so a membrane of
exactly 0.5 fires where an odd number of spikes went before.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikeyolo.errors import ConfigError
from spikeyolo.model.blocks import SpikingConv
from spikeyolo.model.inference.fold import folded_kernel
from spikeyolo.model.neuron import Ilif, IlifParameters, IlifState, Neuron
from spikeyolo.model.neuron.ilif import resumed
from spikeyolo.model.neuron.sequence import check_state, membrane_dtype
from spikeyolo.model.streaming import Memory


def sub_steps(currents: Tensor, state: IlifState, parameters: IlifParameters) -> tuple[Tensor, IlifState]:
    """One time step of I-LIF as spikes of 0 and 1.

    Args:
        currents: ``[...]`` floating.
        state: what the step before left, or ``IlifState(empty)``.
        parameters: D, decay and gain.

    Returns:
        ``[D, ...]`` of 0 and 1, whose sum over D is the integer form's spike count, and the same new state.
    """
    membrane = parameters.gain * currents.to(membrane_dtype(currents.dtype))
    if state.residual.numel():
        check_state(state.residual, currents)
        membrane = parameters.decay * state.residual + membrane
    fired: list[Tensor] = []
    for sub_step in range(parameters.levels):
        fires = membrane > 0.5
        if sub_step % 2 == 1:  # where the sub-step before fired, all before it did
            fires = fires | ((membrane == 0.5) & (fired[-1] > 0))
        spike = fires.to(membrane.dtype)
        membrane = membrane - spike
        fired.append(spike)
    return torch.stack(fired).to(currents.dtype), IlifState(membrane)


def binary_spikes(neuron: Neuron, currents: Tensor, state: object) -> tuple[Tensor, object]:
    """All steps ``[T, ...]`` of a neuron as spikes ``[D, T, ...]`` of 0 and 1, and the state left behind."""
    if isinstance(neuron, Ilif):
        left = resumed(state, currents)
        steps = []
        for current in currents:
            spikes, left = sub_steps(current, left, neuron.p)
            steps.append(spikes)
        return torch.stack(steps, dim=1), left
    spikes, state = neuron(currents, state)
    return spikes.unsqueeze(0), state


class SpikeDrivenConv(SpikingConv):
    """A unit whose inference sends sub-steps through one folded convolution and counts its bias once."""

    needs_single_synapse = True

    def forward(self, maps: Tensor, memory: Memory | None = None) -> Tensor:
        if self.training or self.neuron is None:
            return super().forward(maps, memory)
        spikes, state = binary_spikes(self.neuron, maps, None if memory is None else memory.recall())
        if memory is not None:
            memory.keep(state)
        kernel = folded_kernel(self)
        levels, steps, batch = spikes.shape[:3]
        pulses = F.conv2d(
            spikes.flatten(0, 2), kernel.weight, None, kernel.stride, kernel.padding, kernel.dilation, kernel.groups
        )
        maps = pulses.view(levels, steps, batch, *pulses.shape[1:]).sum(dim=0)
        return maps if kernel.bias is None else maps + kernel.bias.view(-1, 1, 1)


def in_integers(network: nn.Module) -> nn.Module:
    """A copy whose units send counts again, each through its synapse as a module: the same sums of the same spikes."""
    copied = copy.deepcopy(network)
    for parent in list(copied.modules()):
        for name, unit in list(parent.named_children()):
            if isinstance(unit, SpikeDrivenConv):
                counting = SpikingConv(unit.neuron, unit.synapse, unit.norm)
                counting.spike_value, counting.weight_bits = unit.spike_value, unit.weight_bits
                setattr(parent, name, counting)
    return copied


def spike_driven(network: nn.Module) -> None:
    """Turn every unit of a network into its spike-driven form, in place; names of weights stay.

    Raises:
        ConfigError: a neuron's output is real-valued.
    """
    for parent in list(network.modules()):
        for name, unit in list(parent.named_children()):
            if isinstance(unit, SpikingConv) and unit.neuron is not None:
                if unit.neuron.levels is None:
                    raise ConfigError(f"model.form=binary needs neurons that spike, found {type(unit.neuron).__name__}")
                driven = SpikeDrivenConv(unit.neuron, unit.synapse, unit.norm)
                driven.spike_value = unit.spike_value
                setattr(parent, name, driven)
