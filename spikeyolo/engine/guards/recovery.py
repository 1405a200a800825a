"""What a run does about losses that are not finite: it leaves the step out, then goes back, then stops."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from spikeyolo.engine.guards.meter import NotFiniteError
from spikeyolo.engine.ranks import Ranks
from spikeyolo.windows.batch import Batch

IN_A_ROW = 3

log = logging.getLogger(__name__)


class Recovery:
    """Counts steps that were not finite.

    One is left out. The third in a row, or one that has spoilt the norms' statistics, takes the run back to its last
    checkpoint, to go on at half the learning rate; where that happens again before an epoch is whole, the run stops.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self.in_a_row = 0
        self.taken_back = False

    def went_well(self) -> None:
        """A step was finite."""
        self.in_a_row = 0

    def epoch_went_well(self) -> None:
        self.taken_back = False

    def leaves_out(self, error: NotFiniteError, buffers: Iterable[Tensor]) -> bool:
        """Whether the step is left out and the run goes on with the next.

        Args:
            error: of the step.
            buffers: of the network, after its forward pass.
        """
        self.in_a_row += 1
        whole = all(bool(torch.isfinite(buffer).all()) for buffer in buffers if buffer.is_floating_point())
        if self.in_a_row < IN_A_ROW and not self._ranks.any(not whole):
            log.warning("loss term '%s' is not finite at step %d: the step is left out", error.term, error.step)
            return True
        return False

    def takes_back(self, last: Path) -> bool:
        """Whether the run goes back to ``last``; not twice without an epoch between."""
        if self.taken_back or not self._ranks.first(last.is_dir()):
            return False
        self.taken_back, self.in_a_row = True, 0
        return True


def save_batch(path: Path, batch: Batch, error: NotFiniteError) -> None:
    """Keep a batch whose loss was not finite, for ``torch.load(path, weights_only=True)``."""
    kept = {"term": error.term, "step": error.step, "frames": batch.frames, "targets": vars(batch.targets)}
    torch.save(kept, path)
