"""A device whose memory is full, said with figures and with what to lower."""

from __future__ import annotations

from collections.abc import Sequence

import psutil
import torch

from spikeyolo.errors import TrainingError


def out_of_memory(error: BaseException, shape: Sequence[int], device: torch.device) -> TrainingError | None:
    """The sentence for an error of the allocator; None for any other error.

    Args:
        error: as raised in a step.
        shape: ``[T, B, C, H, W]`` of the batch.
        device: of the training.
    """
    of_host = isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)
    if not of_host and not isinstance(error, torch.OutOfMemoryError):
        return None
    if device.type == "cuda" and not of_host:
        free, total = torch.cuda.mem_get_info(device)
        held, name = torch.cuda.memory_reserved(device), f"{device} ({torch.cuda.get_device_name(device)})"
    else:
        memory = psutil.virtual_memory()
        free, total, held, name = memory.available, memory.total, psutil.Process().memory_info().rss, "this machine"
    steps, windows, _, height, width = shape
    return TrainingError(
        f"the memory of {name} is full: {held / 2**30:.1f} GiB held here and {free / 2**30:.1f} GiB free of "
        f"{total / 2**30:.1f} GiB, at data.batch_size={windows}, data.time_steps={steps} and frames of {width}×{height}"
        f" px; expected a smaller batch (data.batch_size={max(1, windows // 2)}, with trainer.nominal_batch={windows} "
        "for the same updates), fewer time steps, trainer.gradient_checkpointing=true, trainer.precision=bfloat16 or a "
        "smaller model"
    )
