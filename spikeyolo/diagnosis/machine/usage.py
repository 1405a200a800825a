"""What work takes of the machine while it runs: the most memory, and how busy the GPU is."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
import torch

from spikeyolo.events.store.memory import memory_bytes

CPU_SHARE, CUDA_SHARE = 0.7, 0.9  # of the memory that may be filled: a CPU's is also that of loaders and programs
_TOO_LITTLE = 4 << 20  # bytes of growth that say nothing: they may have come from memory that was held before
_LOOK_S = {"cpu": 0.01, "cuda": 0.1}


@dataclass
class Usage:
    """What was seen.

    Attributes:
        memory: bytes at most, beyond what was held before; None where that cannot be told.
        busy: share of the time in which the GPU worked; None where there is none, or nothing tells.
    """

    memory: int | None = None
    busy: float | None = None


@contextmanager
def watched(device: torch.device) -> Iterator[Usage]:
    """Watch what is done inside.

    On a CPU it is this process that is seen to grow: memory that was freed before and is used again does not count, so
    that it may be more.
    """
    usage, over = Usage(), threading.Event()
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    held = torch.cuda.memory_allocated(device) if cuda else resident_bytes()
    most, busy = [held], list[float]()

    def watch() -> None:
        told = cuda
        while not over.wait(_LOOK_S[device.type]):
            if not cuda:
                most.append(max(most.pop(), resident_bytes()))
            elif told:
                share = gpu_busy(device)
                told = share is not None
                busy.extend([] if share is None else [share])

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield usage
    finally:
        over.set()
        thread.join()
        grown = (torch.cuda.max_memory_allocated(device) if cuda else most[0]) - held
        usage.memory = grown if grown >= _TOO_LITTLE else None
        usage.busy = sum(busy) / len(busy) if busy else None


def gpu_busy(device: torch.device) -> float | None:
    """The share of the last fraction of a second in which a GPU worked; None where nothing tells."""
    try:
        return float(torch.cuda.utilization(device)) / 100
    except Exception:  # nvidia-ml-py is not installed, or its library has an error of its own
        return None


def free_bytes(device: torch.device) -> int:
    """Of the device's memory, what nobody holds."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + unused)
    return int(min(psutil.virtual_memory().available, memory_bytes() - resident_bytes()))


def windows_that_fit(device: torch.device, *, memory: int, windows: int, fixed: int) -> int:
    """How many windows of a batch fit into what is free.

    Args:
        memory: that a step of ``windows`` takes, bytes.
        fixed: of it, bytes that do not depend on the number of windows.
    """
    room = (CUDA_SHARE if device.type == "cuda" else CPU_SHARE) * free_bytes(device) - fixed
    return max(1, int(room / max((memory - fixed) / windows, 1)))


def resident_bytes() -> int:
    """Of this process."""
    return int(psutil.Process(os.getpid()).memory_info().rss)
