"""Learning rates over training, as a factor of each parameter group's own rate: pure functions of the share of training
done, so that a run bounded by epochs and a run bounded by the clock follow the same curve."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated

from annotated_types import Ge, Gt, Interval

from spikeyolo.errors import ConfigError


class Schedule(ABC):
    """A factor of the learning rate for each share of training done, with a linear warm-up before it.

    Args:
        warmup_epochs: epochs in which the learning rate rises linearly from ``warmup_start`` of its value; never
            more than half of the training.
        warmup_start: share of the learning rate at the first step.
    """

    def __init__(self, *, warmup_epochs: float, warmup_start: float) -> None:
        self.warmup_epochs = warmup_epochs
        self.warmup_start = warmup_start

    @abstractmethod
    def curve(self, progress: float, base_lr: float) -> float:
        """Factor after warm-up, for ``progress`` in 0..1 of the whole training."""

    def factor(self, progress: float, *, base_lr: float, max_epochs: int) -> float:
        """Factor of every group's own rate at ``progress`` (0 at the first step, 1 at the end).

        Args:
            base_lr: the optimizer's learning rate, to which a peak given as a rate (``max_lr``) is compared.
        """
        progress = min(max(progress, 0.0), 1.0)
        value = self.curve(progress, base_lr)
        share = min(self.warmup_epochs / max_epochs, 0.5)
        if progress < share:
            value *= self.warmup_start + (1.0 - self.warmup_start) * progress / share
        return value


class StepSchedule(Schedule):
    """Multiplied by ``gamma`` at each milestone.

    Args:
        milestones: shares of the training, ascending, e.g. ``[0.6, 0.85]``.
        gamma: factor at each of them.
    """

    def __init__(
        self,
        *,
        milestones: Sequence[Annotated[float, Interval(gt=0, lt=1)]] = (0.6, 0.85),
        gamma: Annotated[float, Interval(gt=0, le=1)] = 0.1,
        warmup_epochs: Annotated[float, Ge(0)] = 1.0,
        warmup_start: Annotated[float, Interval(ge=0, le=1)] = 0.05,
    ) -> None:
        super().__init__(warmup_epochs=warmup_epochs, warmup_start=warmup_start)
        if list(milestones) != sorted(milestones):
            raise ConfigError(f"scheduler.milestones: found {list(milestones)}; expected ascending shares of training")
        self.milestones = tuple(milestones)
        self.gamma = gamma

    def curve(self, progress: float, base_lr: float) -> float:
        return self.gamma ** sum(progress >= milestone for milestone in self.milestones)


class CosineSchedule(Schedule):
    """Half a cosine from the optimizer's learning rate to ``final_share`` of it (SGDR without restarts,
    arXiv 1608.03983)."""

    def __init__(
        self,
        *,
        final_share: Annotated[float, Interval(ge=0, le=1)] = 0.01,
        warmup_epochs: Annotated[float, Ge(0)] = 1.0,
        warmup_start: Annotated[float, Interval(ge=0, le=1)] = 0.05,
    ) -> None:
        super().__init__(warmup_epochs=warmup_epochs, warmup_start=warmup_start)
        self.final_share = final_share

    def curve(self, progress: float, base_lr: float) -> float:
        share = 0.5 * (1.0 + math.cos(math.pi * progress))
        return self.final_share + (1.0 - self.final_share) * share


class CyclicSchedule(Schedule):
    """One cycle: from the optimizer's learning rate up to ``max_lr`` and down again (arXiv 1708.07120).

    Args:
        max_lr: the peak of the optimizer's learning rate; None is three times that rate.
        rise: share of the training until the peak.
        final_share: learning rate at the end, as a share of the optimizer's.
    """

    def __init__(
        self,
        *,
        max_lr: Annotated[float, Gt(0)] | None = None,
        rise: Annotated[float, Interval(gt=0, lt=1)] = 0.3,
        final_share: Annotated[float, Interval(ge=0, le=1)] = 0.01,
        warmup_epochs: Annotated[float, Ge(0)] = 0.0,
        warmup_start: Annotated[float, Interval(ge=0, le=1)] = 0.05,
    ) -> None:
        super().__init__(warmup_epochs=warmup_epochs, warmup_start=warmup_start)
        self.max_lr = max_lr
        self.rise = rise
        self.final_share = final_share

    def curve(self, progress: float, base_lr: float) -> float:
        peak = 3.0 if self.max_lr is None else self.max_lr / base_lr
        if progress < self.rise:
            low, share = 1.0, 0.5 * (1.0 - math.cos(math.pi * progress / self.rise))
        else:
            low = self.final_share
            share = 0.5 * (1.0 + math.cos(math.pi * (progress - self.rise) / (1.0 - self.rise)))
        return low + (peak - low) * share
