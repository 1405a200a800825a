"""How the device runs the network: layout of maps, gradient checkpointing, compilation. Results stay the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from spikeyolo.model.blocks import Block


def arrange(module: nn.Module, *, channels_last: bool, gradient_checkpointing: bool) -> None:
    """Lay out the weights, which the maps follow, and tell the residual blocks whether to keep their inner maps.

    Args:
        module: changed in place; its values stay.
        channels_last: ``[N, H, W, C]`` in memory instead of ``[N, C, H, W]``.
        gradient_checkpointing: blocks compute their inner maps a second time in the backward pass.
    """
    module.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    for block in module.modules():
        if isinstance(block, Block):
            block.recompute = gradient_checkpointing


def runner(module: nn.Module, *, compiled: bool) -> Callable[..., Any]:
    """What is called in place of the module: itself, or its compiled form (compiled at the first call)."""
    return torch.compile(module) if compiled else module
