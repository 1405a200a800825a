"""In which precision a loss is computed: float32, whatever the network ran in; float64 for a network in float64."""

from __future__ import annotations

import torch
from torch import Tensor


def wide(value: Tensor) -> Tensor:
    """The same in float32; float64 stays."""
    return value if value.dtype == torch.float64 else value.float()
