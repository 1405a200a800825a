"""What one of several processes gets of every batch: together they have each window once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch


class Batches(Protocol):
    """The order of windows, batch by batch."""

    def __iter__(self) -> Iterator[Any]: ...

    def __len__(self) -> int: ...


class Share(torch.utils.data.Sampler[Any]):
    """Every ``world``-th window of each batch, from the ``rank``-th on.

    A window's place in its batch decides who has it, so that a lane of a batch that follows one recording stays with
    one process. A last batch of fewer windows than processes gives some of them none.

    Args:
        batches: of all processes together.
    """

    def __init__(self, batches: Batches) -> None:
        self.batches = batches
        self.rank, self.world = 0, 1

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches:
            yield batch[self.rank :: self.world]
