"""What a network's weights take in storage, as a spike-driven machine holds them."""

from __future__ import annotations

import copy

from torch import nn

from spikeyolo.model.blocks import SpikingConv
from spikeyolo.model.inference.fold import folded_kernel
from spikeyolo.model.pruning import remove_silent
from spikeyolo.model.quantisation import stored_bytes


def weight_bytes(detector: nn.Module) -> int:
    """Bytes of the weights at their bits, and of steps and biases in float32, every synapse as one convolution.

    This is the network whose energy is counted. Floating RepConv synapses can be kept apart, which takes less.

    Args:
        detector: not folded.
    """
    total, network = 0, copy.deepcopy(detector)
    remove_silent(network)
    for unit in network.modules():
        if isinstance(unit, SpikingConv):
            kernel = folded_kernel(unit)
            total += stored_bytes(
                kernel.weight.numel(), kernel.out_channels, unit.weight_bits, bias=kernel.bias is not None
            )
    return total
