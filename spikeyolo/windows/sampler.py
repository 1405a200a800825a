"""The order in which windows reach training: a function of seed and epoch alone, so that it can be resumed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from spikeyolo.windows.balance import ClassBalance


class EpochSampler(torch.utils.data.Sampler[list[tuple[int, int]]]):
    """Batches of ``(epoch, index)``.

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
        self.size = size
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.samples = samples_per_epoch or size
        self.seed = seed
        self.balance = balance
        self.epoch = 0
        self.first_batch = 0

    def start(self, epoch: int, first_batch: int = 0) -> None:
        """The next iteration yields ``epoch`` from ``first_batch`` on."""
        self.epoch, self.first_batch = epoch, first_batch

    def __len__(self) -> int:
        return -(-self.samples // self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = self.order(self.epoch)
        first, self.first_batch = self.first_batch, 0
        for batch in range(first, len(self)):
            rows = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield [(self.epoch, int(index)) for index in rows]

    def order(self, epoch: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Indices ``[samples]`` of the epoch, in order."""
        rounds = -(-self.samples // self.size)
        if not self.shuffle:
            return np.tile(np.arange(self.size), rounds)[: self.samples]
        generator = np.random.default_rng([self.seed, epoch])
        if self.balance is not None:
            return self.balance.draw(self.samples, generator)
        return np.concatenate([generator.permutation(self.size) for _ in range(rounds)])[: self.samples]
