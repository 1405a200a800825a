"""Running means of the loss terms of an epoch, kept on the device, and a watch for the first one that is not finite."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from spikeyolo.errors import TrainingError


class NotFiniteError(TrainingError):
    """A loss term is not finite.

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


class LossMeter:
    """Sums loss terms without making the host wait for the device.

    Args:
        device: where the terms live.
        check_every: steps between looks at the values; a CPU's are looked at each step, which costs nothing there.
    """

    def __init__(self, device: torch.device, *, check_every: int = 50) -> None:
        self.check_every = 1 if device.type == "cpu" else check_every
        self.steps = 0
        self._counts: dict[str, int] = {}
        self._sums: dict[str, Tensor] = {}
        self._first_bad: dict[str, Tensor] = {}
        self._device = device

    def add(self, terms: Mapping[str, Tensor], step: int) -> None:
        """Add one step's terms (scalars); ``step`` is how messages number it.

        Raises:
            NotFiniteError: a term was not finite; where each step is looked at, it is not added.
        """
        if self.check_every == 1:
            for name, value in terms.items():
                if not bool(torch.isfinite(value)):
                    raise NotFiniteError(name, step)
        for name, value in terms.items():
            if name not in self._sums:
                self._begin(name, 0.0, 0)
            self._counts[name] += 1
            value = value.detach()
            self._sums[name] += value
            bad = self._first_bad[name]
            self._first_bad[name] = torch.where((bad < 0) & ~torch.isfinite(value), step, bad)
        self.steps += 1
        if self.steps % self.check_every == 0:
            self.check()

    def check(self) -> None:
        """Look at the values.

        Raises:
            NotFiniteError: a term was not finite.
        """
        bad = {name: int(step) for name, step in self._first_bad.items() if int(step) >= 0}
        if bad:
            first = min(bad, key=lambda name: bad[name])  # of terms equally early, the one computed first
            raise NotFiniteError(first, bad[first])

    def means(self) -> dict[str, float]:
        """Mean of each term over the steps that had it."""
        return {name: float(value) / self._counts[name] for name, value in self._sums.items()}

    def state(self) -> dict[str, float]:
        """For a checkpoint in mid-epoch."""
        sums = {f"sum/{name}": float(value) for name, value in self._sums.items()}
        counts = {f"count/{name}": float(count) for name, count in self._counts.items()}
        return {"steps": float(self.steps), **sums, **counts}

    def restore(self, state: Mapping[str, float]) -> None:
        """Go on from :meth:`state`."""
        self.steps = int(state["steps"])
        for key, value in state.items():
            if key.startswith("sum/"):
                name = key.removeprefix("sum/")
                self._begin(name, value, int(state.get(f"count/{name}", self.steps)))

    def _begin(self, name: str, total: float, count: int) -> None:
        self._counts[name] = count
        self._sums[name] = torch.tensor(total, dtype=torch.float64, device=self._device)
        self._first_bad[name] = torch.full((), -1, dtype=torch.int64, device=self._device)
