"""What a loss asks of the processes that share its batch: its counts are those of all of them."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Sharing(Protocol):
    """The processes that each hold some of a batch's windows; both methods are asked by all of them at a time."""

    @property
    def world(self) -> int:
        """How many there are."""

    def sum(self, value: Tensor) -> Tensor:
        """The sum over processes of a tensor that has one shape in all; differentiable."""

    def rows(self, value: Tensor) -> Tensor:
        """The rows ``[M, ...]`` of all processes, in their order; differentiable, and M may be another in each."""


class Alone:
    """One process, which holds the whole batch."""

    world = 1

    def sum(self, value: Tensor) -> Tensor:
        return value

    def rows(self, value: Tensor) -> Tensor:
        return value
