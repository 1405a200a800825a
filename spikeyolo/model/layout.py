"""Maps of all time steps as one batch and back, so that what lies channels-last stays so.

Torch tells a layout from strides. Where maps are joined in five dimensions, or where the batch is a single map (the
stride of a dimension of size 1 may be anything), it would take channels-last maps for ordinary ones and copy them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def as_batch(maps: Tensor) -> Tensor:
    """``[T, B, C, H, W]`` → ``[T · B, C, H, W]``, the same memory where its steps follow one another."""
    batch = maps.flatten(0, 1)
    if len(batch) != 1 or torch.compiler.is_compiling():  # ONNX would take strides for those of contiguous memory
        return batch
    return batch.as_strided(batch.shape, (batch.numel(), *batch.stride()[1:]))


def as_steps(batch: Tensor, like: Tensor) -> Tensor:
    """``[T · B, C, H, W]`` → ``[T, B, C, H, W]``, with T and B of ``like``."""
    return batch.view(*like.shape[:2], *batch.shape[1:])


def join(maps: Sequence[Tensor]) -> Tensor:
    """Maps ``[T, B, ·, H, W]`` one behind the other along their channels."""
    return as_steps(torch.cat([as_batch(each) for each in maps], dim=1), like=maps[0])
