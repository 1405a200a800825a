"""Networks as after a training: norms with statistics and weights that let spikes through every layer.

A fresh network in eval mode is silent, because its running statistics are not those of its maps.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from spikeyolo.model.norm import Norm

Network = TypeVar("Network", bound=nn.Module)


def lively(network: Network, seed: int = 0) -> Network:
    """The same network with drawn norms."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for norm in network.modules():
            if isinstance(norm, Norm):
                norm.weight.copy_(torch.rand(norm.num_features, generator=draw) + 0.6)
                norm.bias.copy_(torch.randn(norm.num_features, generator=draw) * 0.5)
                norm.running_mean.copy_(torch.randn(norm.num_features, generator=draw) * 0.3)
                norm.running_var.copy_(torch.rand(norm.num_features, generator=draw) + 0.5)
    return network
