"""The order in which windows reach training: a function of seed and epoch alone, so that it can be resumed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from spikeyolo.windows.serving.balance import ClassBalance


class Draw(NamedTuple):
    """What a sampler asks the windows for.

    Attributes:
        epoch, window: which window (its index); together the seed of its augmentation.
        along: the window of the same lane whose augmentation this one shares, so that a lane shows one picture from
            its beginning on; None for a window that stands alone.
        follows: the neurons' state after the window before, of the same recording, goes on into this one.
    """

    epoch: int
    window: int
    along: int | None = None
    follows: bool = False


class BatchSampler(torch.utils.data.Sampler[list[Draw]]):
    """Batches of one epoch after another, the n-th of which can be had without those before.

    Args:
        batch_size: windows a batch.
    """

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.epoch = 0
        self.first_batch = 0

    def start(self, epoch: int, first_batch: int = 0) -> None:
        """The next iteration yields ``epoch`` from ``first_batch`` on."""
        self.epoch, self.first_batch = epoch, first_batch

    def __len__(self) -> int:
        """Batches an epoch."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[list[Draw]]:
        first, self.first_batch = self.first_batch, 0
        yield from self.batches(self.epoch, first)

    def batches(self, epoch: int, first: int) -> Iterator[list[Draw]]:
        """The batches of an epoch from number ``first`` on."""
        raise NotImplementedError


class EpochSampler(BatchSampler):
    """Windows that stand alone.

    Args:
        size: windows there are.
        batch_size: windows a batch; the last batch of an epoch may be smaller.
        shuffle: a new order each epoch; otherwise 0, 1, 2, …
        samples_per_epoch: windows an epoch; None takes each once. More than ``size`` repeats windows, evenly.
        seed: of the order.
        balance: draws a shuffled epoch's windows by class and file; None takes all alike.
    """

    def __init__(
        self,
        *,
        size: int,
        batch_size: int,
        shuffle: bool,
        samples_per_epoch: int | None = None,
        seed: int = 0,
        balance: ClassBalance | None = None,
    ) -> None:
        super().__init__(batch_size)
        self.size = size
        self.shuffle = shuffle
        self.samples = samples_per_epoch or size
        self.seed = seed
        self.balance = balance

    def __len__(self) -> int:
        return -(-self.samples // self.batch_size)

    def batches(self, epoch: int, first: int) -> Iterator[list[Draw]]:
        order = self.order(epoch)
        for batch in range(first, len(self)):
            rows = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield [Draw(epoch, int(index)) for index in rows]

    def order(self, epoch: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Indices ``[samples]`` of the epoch, in order."""
        rounds = -(-self.samples // self.size)
        if not self.shuffle:
            return np.tile(np.arange(self.size), rounds)[: self.samples]
        generator = np.random.default_rng([self.seed, epoch])
        if self.balance is not None:
            return self.balance.draw(self.samples, generator)
        return np.concatenate([generator.permutation(self.size) for _ in range(rounds)])[: self.samples]
