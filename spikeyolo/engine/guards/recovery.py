"""What a run does about losses that are not finite: it leaves the step out, then goes back, then stops."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from spikeyolo.engine.checkpoints import checkpoint
from spikeyolo.engine.guards.meter import Look, NotFiniteError
from spikeyolo.engine.ranks import Ranks
from spikeyolo.errors import TrainingError
from spikeyolo.windows.batch import Batch

IN_A_ROW = 3

log = logging.getLogger(__name__)


class Recovery:
    """Judges steps that were not finite.

    One is left out. The third in a row, or one that has spoilt the norms' statistics, takes the run back to its last
    checkpoint, to go on at half the learning rate; where that happens again before an epoch is whole, the run stops.

    Attributes:
        in_a_row: how many of the last steps were not finite.
        is_wary: whether the host looks at every step, so that it knows which batch it was: from the first such step
            that it sees until the epoch ends.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self.in_a_row = 0
        self.is_wary = False
        self.taken_back = False

    def epoch_is_over(self) -> None:
        """An epoch whose last steps were left out is no sign that the run goes well again."""
        if not self.in_a_row:
            self.is_wary = self.taken_back = False

    def judge(self, found: Look, buffers: Iterable[Tensor]) -> None:
        """Say that steps are left out, where that is enough. All processes come here with the same ``found``.

        Args:
            found: since the last look.
            buffers: of the network.

        Raises:
            NotFiniteError: it is not.
        """
        self.in_a_row = found.in_a_row
        if not found.skipped:
            return
        self.is_wary = True
        if found.longest >= IN_A_ROW or self._ranks.any(not are_finite(buffers)):
            raise NotFiniteError(found.term, found.step)
        more = f", and {found.skipped - 1} more after it" if found.skipped > 1 else ""
        log.warning("loss term '%s' is not finite at step %d: the step is left out%s", found.term, found.step, more)

    def takes_back(self, last: Path) -> bool:
        """Whether the run goes back to ``last``; not twice without an epoch between."""
        if self.taken_back or not self._ranks.first(checkpoint.is_there(last)):
            return False
        self.taken_back, self.in_a_row = True, 0
        return True


def are_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether all values of all floating tensors are finite; the host waits once."""
    floating = [tensor for tensor in tensors if tensor.is_floating_point() and tensor.numel()]
    if not floating:
        return True
    return bool(torch.stack([norm.double() for norm in torch._foreach_norm(floating, torch.inf)]).isfinite().all())


def with_batch(error: NotFiniteError, batch: Batch | None, path: Path) -> TrainingError:
    """The error that ends a run, with the batch saved for ``torch.load(path, weights_only=True)`` where it is known."""
    if batch is None:
        return error
    kept = {"term": error.term, "step": error.step, "frames": batch.frames, "targets": vars(batch.targets)}
    buffer = io.BytesIO()
    torch.save(kept, buffer)
    try:
        path.write_bytes(buffer.getvalue())
    except OSError as failure:  # a full disk must not hide what has ended the run
        path.unlink(missing_ok=True)
        return TrainingError(f"{error}; its batch cannot be saved as {path} ({failure.strerror or failure})")
    return TrainingError(f"{error}; its batch is {path}")
