"""A device whose memory is full, said with figures and with what to lower."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import psutil
import torch

from spikeyolo.errors import TrainingError

WHAT_ELSE = (
    "fewer time steps (data.time_steps), smaller frames (data.encoder.downsample), "
    "trainer.gradient_checkpointing=true, trainer.precision=bfloat16 or a smaller model"
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocator has found no more memory, the host's or the device's."""
    return _of_host(error) or isinstance(error, torch.OutOfMemoryError)


def _of_host(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)


def out_of_memory(
    error: BaseException, shape: Sequence[int], device: torch.device, *, processes: int = 1
) -> TrainingError | None:
    """The sentence for an error of the allocator; None for any other error.

    Args:
        error: as raised in a step.
        shape: ``[T, B, C, H, W]`` of the batch, or of this process's share of it.
        device: of the training.
        processes: that train together, each with such a share.
    """
    if not is_out_of_memory(error):
        return None
    if device.type == "cuda" and not _of_host(error):
        free, total = torch.cuda.mem_get_info(device)
        held, name = torch.cuda.memory_reserved(device), f"{device} ({torch.cuda.get_device_name(device)})"
    else:
        memory = psutil.virtual_memory()
        free, total, held, name = memory.available, memory.total, psutil.Process().memory_info().rss, "this machine"
    steps, windows, _, height, width = shape
    batch = windows * processes
    half = f"data.batch_size={windows // 2 * processes}, with trainer.nominal_batch={batch} for the same updates"
    shared = f" of {processes} processes" if processes > 1 else ""
    smaller = f"a smaller batch ({half}), " if windows > 1 else ""
    return TrainingError(
        f"the memory of {name} is full: {held / 2**30:.1f} GiB held here and {free / 2**30:.1f} GiB free of "
        f"{total / 2**30:.1f} GiB, at data.batch_size={batch}{shared}, data.time_steps={steps} and frames of "
        f"{width}×{height} px; expected {smaller}{WHAT_ELSE}"
    )


@contextmanager
def in_memory(shape: Callable[[], Sequence[int]], device: torch.device, *, processes: int = 1) -> Iterator[None]:
    """Say in a sentence where what runs inside finds no more memory.

    Args:
        shape: the ``[T, B, C, H, W]`` of its batch, asked for then; empty before the first.
        device: of the training.
        processes: that train together, each with a share of that shape.

    Raises:
        TrainingError: the memory is full.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        full = out_of_memory(error, shape(), device, processes=processes) if shape() else None
        if full is None:
            raise
        raise full from error
