"""``data.batch_size=auto``: the largest batch, a power of two, whose step fits into the device's memory."""

from __future__ import annotations

import copy
import ctypes
import gc
import logging
import math
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import torch
from omegaconf import OmegaConf

from spikeyolo.engine.checkpoints import checkpoint
from spikeyolo.engine.checkpoints.files import replace_text
from spikeyolo.engine.guards.memory import WHAT_ELSE, is_out_of_memory
from spikeyolo.engine.task import Task
from spikeyolo.engine.update.build import build_step
from spikeyolo.engine.update.parts import train_mode
from spikeyolo.errors import TrainingError
from spikeyolo.events.store.memory import memory_bytes
from spikeyolo.windows.batch import Batch
from spikeyolo.windows.serving.loader import collate

if TYPE_CHECKING:
    from spikeyolo.engine.trainer import Trainer

CUDA_CEILING, CPU_CEILING = 256, 32  # beyond 32 windows a CPU's cores are no busier, and updates become few
CUDA_SHARE, CPU_SHARE = 0.9, 0.7  # of the free memory: a CPU's is also that of loaders and of other programs
_SAMPLED_S = 0.002

log = logging.getLogger(__name__)


def largest(used: Callable[[int], int], *, limit: int, ceiling: int, foresee: bool) -> int:
    """The largest power of two up to ``ceiling`` whose step fits; 0 where not even one window does.

    Args:
        used: makes a step of so many windows; returns the bytes it took at its peak, or raises as an allocator does.
        limit: bytes that may be used.
        ceiling: windows, at most.
        foresee: never try what would exceed the limit if memory grew as the batch does (where there is no allocator to
            say no, and the system ends the process).
    """
    best, size = 0, 1
    while size <= ceiling:
        try:
            bytes_used = used(size)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            break
        if bytes_used > limit:
            break
        best = size
        if foresee and 2 * bytes_used > limit:
            break
        size *= 2
    return best


@dataclass(frozen=True)
class _Memory:
    """Free memory of a device, and the peak of what is used on top of what was used before."""

    device: torch.device
    limit: int
    ceiling: int
    foresee: bool
    before: int

    @classmethod
    def of(cls, device: torch.device) -> _Memory:
        if device.type == "cuda":
            torch.cuda.empty_cache()
            free, _ = torch.cuda.mem_get_info(device)
            held = torch.cuda.memory_reserved(device)
            return cls(device, int(CUDA_SHARE * free), CUDA_CEILING, foresee=False, before=held)
        _give_back()
        free = min(psutil.virtual_memory().available, memory_bytes() - _resident())
        return cls(device, int(CPU_SHARE * free), CPU_CEILING, foresee=True, before=_resident())

    def peak(self, work: Callable[[], None]) -> int:
        """Bytes that ``work`` took beyond what was held before the search began."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            work()
            torch.cuda.synchronize(self.device)
            return torch.cuda.max_memory_reserved(self.device) - self.before
        with _watched() as seen:
            work()
        return max(seen) - self.before


@contextmanager
def _watched() -> Iterator[list[int]]:
    """Resident bytes of this process while what is inside runs."""
    seen, over = [_resident()], threading.Event()

    def watch() -> None:
        while not over.wait(_SAMPLED_S):
            seen.append(_resident())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
        seen.append(_resident())


def _resident() -> int:
    return int(psutil.Process().memory_info().rss)


def _give_back() -> None:
    """Let the C library return freed memory, which would hide what is allocated next; where it can."""
    gc.collect()
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)


def find_batch_size(settings: Trainer, task: Task) -> int:
    """The batch size for a task, found by whole steps of a copy of its network on its own windows.

    Nothing of the task is changed, random numbers included; nor is the learning rate.

    Raises:
        TrainingError: not even one window fits.
        ConfigError: several processes train together, whose memory this one does not know.
    """
    task.ranks.check_batch("auto")
    memory = _Memory.of(settings.device)
    windows = len(task.train.dataset)
    ceiling = min(memory.ceiling, 2 ** int(math.log2(windows)))
    generators = [settings.device] if settings.device.type == "cuda" else []
    taken: dict[int, int] = {}

    def used(size: int) -> int:
        batch = _batch(task, size)
        taken[size] = memory.peak(lambda: _steps(settings, task, batch))
        _give_back()
        if settings.device.type == "cuda":
            torch.cuda.empty_cache()
        return taken[size]

    with torch.random.fork_rng(generators):
        best = largest(used, limit=memory.limit, ceiling=ceiling, foresee=memory.foresee)
    limit = f"{memory.limit / 2**30:.2f} GiB"
    if best == 0:
        found = f"{taken[1] / 2**30:.2f} GiB" if 1 in taken else "more than there is"
        raise TrainingError(
            f"data.batch_size=auto: a step of one window takes {found}, and {limit} may be used on {settings.device}; "
            f"expected {WHAT_ELSE}"
        )
    nominal = settings.nominal_batch
    log.info(
        "data.batch_size=auto: %d windows a batch, %.2f GiB of the %s that may be used on %s; learning rates stay as "
        "they are%s",
        best,
        taken[best] / 2**30,
        limit,
        settings.device,
        "" if nominal is None else f", and so do updates (trainer.nominal_batch={nominal})",
    )
    return best


def kept_batch_size(resume: Path | None) -> int | None:
    """The batch size of a checkpoint to go on from; None where there is none or it does not tell."""
    if resume is None:
        return None
    data = (checkpoint.read_state(resume).get("settings") or {}).get("data") or {}
    found = data.get("batch_size")
    return found if isinstance(found, int) else None


def keep_in_configuration(folder: Path, windows: int) -> int:
    """Put the batch size that was found into a run folder's own configuration, which then repeats the run.

    Returns:
        ``windows``.

    Raises:
        TrainingError: the file cannot be written.
    """
    path = folder / ".hydra" / "config.yaml"
    if path.is_file():  # hydra.output_subdir=null keeps none
        config = OmegaConf.load(path)
        OmegaConf.update(config, "data.batch_size", windows)
        try:
            replace_text(path, OmegaConf.to_yaml(config))
        except OSError as error:
            raise TrainingError(f"{path}: cannot be written ({error.strerror})") from error
    return windows


def _steps(settings: Trainer, task: Task, batch: Batch) -> None:
    """Two updates, the second with the optimizer's momenta beside all else; everything is forgotten afterwards."""
    plain = copy.copy(settings)
    plain.compile = False  # each size would be compiled anew, which takes minutes and needs no more memory
    step = build_step(plain, replace(task, detector=copy.deepcopy(task.detector)), average=None)
    train_mode(step.module)
    for _ in range(2):
        step.gradients(batch.to(settings.device))
        step.clip()
        step.update()


def _batch(task: Task, size: int) -> Batch:
    """So many of the training's windows."""
    dataset = task.train.dataset
    indices = islice(cycle(range(len(dataset))), size)
    return collate([dataset[0, index] for index in indices])
