"""From windows to batches, in this process or in spawned workers."""

from __future__ import annotations

import atexit
import signal
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from spikeyolo.errors import SpikeyoloError
from spikeyolo.windows.batch import Batch, Targets
from spikeyolo.windows.dataset import Sample, WindowDataset
from spikeyolo.windows.serving.sampler import BatchSampler, Draw
from spikeyolo.windows.serving.share import Share

_Made = Sample | SpikeyoloError


class _Reporting(torch.utils.data.Dataset[_Made]):
    """The windows; one that cannot be made is the error instead. Raised in a worker, it would come back with the
    worker's whole trace in its sentence."""

    def __init__(self, windows: WindowDataset) -> None:
        self.windows = windows

    def __getitem__(self, key: Draw) -> _Made:
        try:
            return self.windows[key]
        except SpikeyoloError as error:
            return error


@dataclass(frozen=True)
class _Joining:
    """Samples to batches.

    Attributes:
        shape: T, C, H, W of a window's frames, for a batch of none.
    """

    shape: tuple[int, ...]

    def __call__(self, made: Sequence[_Made]) -> Batch | SpikeyoloError:
        errors = [item for item in made if isinstance(item, SpikeyoloError)]
        samples = [item for item in made if isinstance(item, Sample)]
        return errors[0] if errors else collate(samples) if samples else empty_batch(self.shape)


class WindowLoader:
    """Iterates over batches of one epoch after another.

    Args:
        dataset: the windows.
        sampler: their order.
        workers: processes that encode; 0 encodes in this one. Workers are spawned: a forked one that meets numba's
            or the store's threads may hang.
        pin_memory: for a CUDA device.
    """

    def __init__(
        self, dataset: WindowDataset, sampler: BatchSampler, *, workers: int = 0, pin_memory: bool = False
    ) -> None:
        self.dataset = dataset
        self.sampler = sampler
        self._share = Share(sampler)
        frames = (dataset.encoder.channels, dataset.frame_height, dataset.frame_width)
        self._loader: torch.utils.data.DataLoader[_Made] = torch.utils.data.DataLoader(
            _Reporting(dataset),
            batch_sampler=self._share,
            num_workers=workers,
            collate_fn=_Joining((dataset.rules.time_steps, *frames)),
            pin_memory=pin_memory,
            multiprocessing_context="spawn" if workers else None,
            persistent_workers=workers > 0,
            worker_init_fn=leave_signals_to_the_trainer if workers else None,
            prefetch_factor=4 if workers else None,
        )
        self._batches: Any = None  # torch's iterator, which owns the workers
        self._ending: weakref.finalize[Any, WindowLoader] | None = None  # what ends them

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self.sampler)

    def share(self, rank: int, world: int) -> None:
        """From the next epoch on, give every batch's windows ``rank``, ``rank + world``, … only: those of a process."""
        self._share.rank, self._share.world = rank, world

    def set_batch_size(self, windows: int) -> None:
        """Serve batches of so many windows, from the next epoch on."""
        self.sampler.batch_size = windows

    def epoch(self, epoch: int, *, first_batch: int = 0) -> Iterator[Batch]:
        """The batches of ``epoch``, from ``first_batch`` on.

        Raises:
            RecordingError: events of a window cannot be read.
        """
        self.sampler.start(epoch, first_batch)
        batches: Any = iter(self._loader)
        if self._loader.num_workers and self._batches is None:
            # Python ends workers that are left with the SIGTERM that they ignore, and then waits for them for ever.
            atexit.register(_close, weakref.ref(self))
            # Left to the garbage collector, torch's iterator finds its queues closed and its workers not told to end.
            self._ending = weakref.finalize(self, batches._shutdown_workers)
            self._ending.atexit = False
            self._batches = batches  # the same one for every epoch, as workers persist
        return self._raising(batches)

    def _raising(self, batches: Iterator[Batch | SpikeyoloError]) -> Iterator[Batch]:
        """The batches, and with whoever holds them this loader: its workers end with it."""
        for batch in batches:
            if isinstance(batch, SpikeyoloError):
                raise batch
            yield batch

    def close(self) -> None:
        """End the workers; another epoch would start new ones."""
        if self._ending is not None:
            self._ending()
            self._batches = self._loader._iterator = self._ending = None


def _close(loader: weakref.ref[WindowLoader]) -> None:
    alive = loader()
    if alive is not None:
        alive.close()


def leave_signals_to_the_trainer(worker: int) -> None:
    """Ctrl-C and a scheduler's SIGTERM reach the whole group; a worker that died of it would crash the run that is
    about to save its state. Workers end with their parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def empty_batch(shape: tuple[int, ...]) -> Batch:
    """No window, of frames ``[T, C, H, W]``: what a process has of a last batch that has fewer windows than there are
    processes."""
    none = torch.zeros(0, dtype=torch.int64)
    targets = Targets(
        batch_index=none,
        time_step=none,
        xyxy=torch.zeros(0, 4),
        class_id=none,
        track_id=none,
        recording=none,
        supervised=torch.zeros(shape[0], 0, dtype=torch.bool),
    )
    return Batch(frames=torch.zeros(shape[0], 0, *shape[1:], dtype=torch.uint8), targets=targets, windows=())


def collate(samples: Sequence[Sample]) -> Batch:
    """Join windows to a batch: frames ``[T, B, C, H, W]``, targets in order of batch index."""
    frames = torch.from_numpy(np.stack([sample.frames for sample in samples], axis=1))
    supervised = torch.from_numpy(np.stack([sample.supervised for sample in samples], axis=1))
    counts = [len(sample.boxes) for sample in samples]
    boxes = [sample.boxes for sample in samples]
    targets = Targets(
        batch_index=torch.repeat_interleave(torch.arange(len(samples)), torch.tensor(counts)),
        time_step=torch.from_numpy(np.concatenate([b.step for b in boxes])),
        xyxy=torch.from_numpy(np.concatenate([b.xyxy for b in boxes])),
        class_id=torch.from_numpy(np.concatenate([b.class_id for b in boxes])),
        track_id=torch.from_numpy(np.concatenate([b.track_id for b in boxes])),
        recording=torch.repeat_interleave(
            torch.tensor([sample.window.recording for sample in samples]), torch.tensor(counts)
        ),
        supervised=supervised,
    )
    follows = tuple(sample.follows for sample in samples)
    return Batch(
        frames=frames,
        targets=targets,
        windows=tuple(sample.window for sample in samples),
        follows=() if all(lane is None for lane in follows) else follows,
    )
