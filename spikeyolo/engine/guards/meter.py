"""Running means of the loss terms of an epoch, kept on the device, and a watch for those that are not finite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from spikeyolo.errors import TrainingError

_NEVER = 2**62


class NotFiniteError(TrainingError):
    """Loss terms are not finite, and leaving those steps out is not enough.

    Attributes:
        term, step: the first.
    """

    def __init__(self, term: str, step: int) -> None:
        super().__init__(
            f"loss term '{term}' is not finite at step {step}; training stopped (a smaller "
            "optimizer.lr or trainer.clip_gradient usually helps)"
        )
        self.term = term
        self.step = step


@dataclass(frozen=True)
class Look:
    """What was not finite between two looks of the host.

    Attributes:
        skipped: steps with a term that was not finite.
        in_a_row: how many of them are the last ones, those before the former look included; 0: the last was finite.
        longest: most of them in a row, those before the former look included.
        term, step: the first; '' and -1 where there was none.
    """

    skipped: int
    in_a_row: int
    longest: int
    term: str
    step: int


class LossMeter:
    """Sums loss terms without making the host wait for the device; a step with one that is not finite is not summed.

    Args:
        device: where the terms live.
        check_every: steps between looks at the values; a CPU's are looked at each step, which costs nothing there.
        in_a_row: how many of the last steps, before this meter's, were not finite.
    """

    def __init__(self, device: torch.device, *, check_every: int = 50, in_a_row: int = 0) -> None:
        self.check_every = 1 if device.type == "cpu" else check_every
        self.steps = 0
        self._device = device
        self._names: list[str] = []
        self._rows: dict[tuple[str, ...], Tensor] = {}  # terms that came together → where they stand below
        self._sums = torch.zeros(0, dtype=torch.float64, device=device)
        self._counts = torch.zeros(0, dtype=torch.int64, device=device)
        self._first_bad = torch.zeros(0, dtype=torch.int64, device=device)  # since the last look
        self._skipped, self._in_a_row, self._longest = torch.tensor([0, in_a_row, in_a_row], device=device).unbind()

    def add(self, terms: Mapping[str, Tensor], step: int) -> Tensor:
        """Add one step's terms (scalars), unless one is not finite; ``step`` is how messages number it.

        Returns:
            ``[]`` bool, on the device: whether all are finite.
        """
        rows = self._rows_of(tuple(terms))
        values = torch.stack([value.detach().to(self._device, torch.float64) for value in terms.values()])
        finite = values.isfinite()
        good = finite.all()
        self._sums.index_add_(0, rows, torch.where(good, values, 0.0))
        self._counts.index_add_(0, rows, good.long().expand(len(rows)))
        self._first_bad.scatter_reduce_(0, rows, torch.where(finite, _NEVER, step), "amin")
        self._skipped = self._skipped + ~good
        self._in_a_row = torch.where(good, 0, self._in_a_row + 1)
        self._longest = torch.maximum(self._longest, self._in_a_row)
        self.steps += 1
        return good

    @property
    def is_due(self) -> bool:
        """Whether the host should look, after the last step."""
        return self.steps % self.check_every == 0

    def look(self) -> Look:
        """Wait for the device and see what was not finite since the last look."""
        counts = torch.stack((self._skipped, self._in_a_row, self._longest))
        skipped, in_a_row, longest, *bad = torch.cat((counts, self._first_bad)).tolist()
        step, term = min(zip(bad, self._names), key=lambda found: found[0], default=(_NEVER, ""))  # of equals the first
        if skipped:
            self._first_bad.fill_(_NEVER)
            self._skipped = torch.zeros_like(self._skipped)
        self._longest = self._in_a_row
        return Look(skipped, in_a_row, longest, *((term, step) if skipped else ("", -1)))

    def means(self) -> dict[str, float]:
        """Mean of each term over the steps that had it."""
        return {name: total / count for name, (total, count) in self._known().items()}

    def state(self) -> dict[str, float]:
        """For a checkpoint in mid-epoch."""
        known = self._known()
        sums = {f"sum/{name}": total for name, (total, _) in known.items()}
        counts = {f"count/{name}": float(count) for name, (_, count) in known.items()}
        return {"steps": float(self.steps), **sums, **counts}

    def restore(self, state: Mapping[str, float]) -> None:
        """Go on from :meth:`state`."""
        self.steps = int(state["steps"])
        names = [key.removeprefix("sum/") for key in state if key.startswith("sum/")]
        for name in names:
            row = self._rows_of((name,))
            self._sums[row] = state[f"sum/{name}"]
            self._counts[row] = int(state.get(f"count/{name}", self.steps))

    def _known(self) -> dict[str, tuple[float, int]]:
        """Sum and number of each term that was added."""
        found = zip(self._names, self._sums.tolist(), self._counts.tolist(), strict=True)
        return {name: (total, count) for name, total, count in found if count}

    def _rows_of(self, names: tuple[str, ...]) -> Tensor:
        """``[len(names)]`` int64; new terms get rows of their own, behind the others."""
        if names not in self._rows:
            new = [name for name in names if name not in self._names]
            self._names += new
            self._sums = torch.cat((self._sums, self._sums.new_zeros(len(new))))
            self._counts = torch.cat((self._counts, self._counts.new_zeros(len(new))))
            self._first_bad = torch.cat((self._first_bad, self._first_bad.new_full((len(new),), _NEVER)))
            self._rows[names] = torch.tensor([self._names.index(name) for name in names], device=self._device)
        return self._rows[names]
