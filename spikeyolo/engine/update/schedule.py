"""Learning rates over training, as a factor of each parameter group's own rate: functions of the share of training
done, so that a run bounded by epochs and a run bounded by the clock follow the same curve."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from annotated_types import Ge, Gt, Interval

from spikeyolo.errors import ConfigError

_PEAK_STEPS = 1000  # of a training, among which the highest learning rate is looked for


class Schedule:
    """A factor of the learning rate for each share of training done, multiplied by a linear warm-up.

    Args:
        warmup_epochs: epochs in which the learning rate rises linearly from ``warmup_start`` of its value; never
            more than half of the training.
        warmup_start: share of the learning rate at the first step.
        warmup_steps: updates of the warm-up, in place of ``warmup_epochs``; never more than half of the training.
    """

    def __init__(self, *, warmup_epochs: float, warmup_start: float, warmup_steps: int | None) -> None:
        self.warmup_epochs = warmup_epochs
        self.warmup_start = warmup_start
        self.warmup_steps = warmup_steps

    def curve(self, progress: float, base_lr: float, max_epochs: int) -> float:
        """Factor without warm-up, for ``progress`` in 0..1 of the whole training."""
        raise NotImplementedError

    def factor(self, progress: float, *, base_lr: float, max_epochs: int, step: int = 0, max_steps: int = 1) -> float:
        """Factor of every group's own rate at ``progress`` (0 at the first step, 1 at the end).

        Args:
            base_lr: the optimizer's learning rate, to which a peak given as a rate (``max_lr``) is compared.
            max_epochs: of the training.
            step: updates made so far.
            max_steps: updates of the training.
        """
        progress = min(max(progress, 0.0), 1.0)
        value = self.curve(progress, base_lr, max_epochs)
        done, share = progress, min(self.warmup_epochs / max_epochs, 0.5)
        if self.warmup_steps is not None:
            done, share = step, min(self.warmup_steps, max_steps / 2)
        if done < share:
            value *= self.warmup_start + (1.0 - self.warmup_start) * done / share
        return value

    def peak(self, *, base_lr: float, max_epochs: int) -> float:
        """The highest factor of the whole training.

        Args:
            base_lr: the optimizer's learning rate.
            max_epochs: of the training.
        """
        shares = [step / _PEAK_STEPS for step in range(_PEAK_STEPS + 1)]
        return max(self.factor(share, base_lr=base_lr, max_epochs=max_epochs, step=1) for share in shares)

    def after_epoch(self, figure: float) -> None:
        """What validation found; only a schedule that follows it listens.

        Args:
            figure: the one that selects the best epoch; NaN where it is undefined.
        """

    def forget(self) -> None:
        """Figures so far were measured with other settings than those to come."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to load."""


class ConstantSchedule(Schedule):
    """The optimizer's learning rate throughout."""

    def __init__(
        self,
        *,
        warmup_epochs: Annotated[float, Ge(0)] = 1.0,
        warmup_start: Annotated[float, Interval(ge=0, le=1)] = 0.05,
        warmup_steps: Annotated[int, Ge(0)] | None = None,
    ) -> None:
        super().__init__(warmup_epochs=warmup_epochs, warmup_start=warmup_start, warmup_steps=warmup_steps)

    def curve(self, progress: float, base_lr: float, max_epochs: int) -> float:
        return 1.0


class StepSchedule(Schedule):
    """Multiplied by ``gamma`` at each milestone, or each time so many epochs are over.

    Args:
        milestones: shares of the training, ascending, e.g. ``[0.6, 0.85]``.
        every_epochs: epochs from one multiplication to the next, in place of the milestones.
        gamma: factor at each of them.
    """

    def __init__(
        self,
        *,
        milestones: Sequence[Annotated[float, Interval(gt=0, lt=1)]] = (0.6, 0.85),
        every_epochs: Annotated[float, Gt(0)] | None = None,
        gamma: Annotated[float, Interval(gt=0, le=1)] = 0.1,
        warmup_epochs: Annotated[float, Ge(0)] = 1.0,
        warmup_start: Annotated[float, Interval(ge=0, le=1)] = 0.05,
        warmup_steps: Annotated[int, Ge(0)] | None = None,
    ) -> None:
        super().__init__(warmup_epochs=warmup_epochs, warmup_start=warmup_start, warmup_steps=warmup_steps)
        if list(milestones) != sorted(milestones):
            raise ConfigError(f"scheduler.milestones: found {list(milestones)}; expected ascending shares of training")
        self.milestones = tuple(milestones)
        self.every_epochs = every_epochs
        self.gamma = gamma

    def curve(self, progress: float, base_lr: float, max_epochs: int) -> float:
        if self.every_epochs is not None:
            # a hair more, so that rounding of progress cannot put a boundary into the epoch after it
            return self.gamma ** math.floor(progress * max_epochs / self.every_epochs + 1e-9)
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
        warmup_steps: Annotated[int, Ge(0)] | None = None,
    ) -> None:
        super().__init__(warmup_epochs=warmup_epochs, warmup_start=warmup_start, warmup_steps=warmup_steps)
        self.final_share = final_share

    def curve(self, progress: float, base_lr: float, max_epochs: int) -> float:
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
        warmup_steps: Annotated[int, Ge(0)] | None = None,
    ) -> None:
        super().__init__(warmup_epochs=warmup_epochs, warmup_start=warmup_start, warmup_steps=warmup_steps)
        self.max_lr = max_lr
        self.rise = rise
        self.final_share = final_share

    def curve(self, progress: float, base_lr: float, max_epochs: int) -> float:
        peak = 3.0 if self.max_lr is None else self.max_lr / base_lr
        if progress < self.rise:
            low, share = 1.0, 0.5 * (1.0 - math.cos(math.pi * progress / self.rise))
        else:
            low = self.final_share
            share = 0.5 * (1.0 + math.cos(math.pi * (progress - self.rise) / (1.0 - self.rise)))
        return low + (peak - low) * share


class TriangularSchedule(Schedule):
    """Cycles of straight lines between the optimizer's learning rate and ``max_lr`` (arXiv 1506.01186).

    Args:
        max_lr: the peak of the optimizer's learning rate; None is three times that rate.
        cycles: of the training.
        shrink: factor of the height from one cycle to the next; 0.5 is the paper's ``triangular2``.
    """

    def __init__(
        self,
        *,
        max_lr: Annotated[float, Gt(0)] | None = None,
        cycles: Annotated[int, Ge(1)] = 4,
        shrink: Annotated[float, Interval(gt=0, le=1)] = 0.5,
        warmup_epochs: Annotated[float, Ge(0)] = 0.0,
        warmup_start: Annotated[float, Interval(ge=0, le=1)] = 0.05,
        warmup_steps: Annotated[int, Ge(0)] | None = None,
    ) -> None:
        super().__init__(warmup_epochs=warmup_epochs, warmup_start=warmup_start, warmup_steps=warmup_steps)
        self.max_lr = max_lr
        self.cycles = cycles
        self.shrink = shrink

    def curve(self, progress: float, base_lr: float, max_epochs: int) -> float:
        peak = 3.0 if self.max_lr is None else self.max_lr / base_lr
        cycle = min(math.floor(progress * self.cycles), self.cycles - 1)
        height = 1.0 - abs(2.0 * (progress * self.cycles - cycle) - 1.0)
        return 1.0 + (peak - 1.0) * self.shrink**cycle * height


class PlateauSchedule(Schedule):
    """Multiplied by ``gamma`` when validation has not improved for more than ``patience`` epochs.

    Counting begins with the first figure above 0: a detector finds nothing for its first epochs at any rate.

    Args:
        patience: epochs without a better figure that are borne.
        gamma: factor when they are over.
        threshold: share by which a figure must be above the best one to be better.
        cooldown: epochs after a multiplication that are not counted.
        final_share: smallest share of the optimizer's learning rate.
    """

    def __init__(
        self,
        *,
        patience: Annotated[int, Ge(0)] = 5,
        gamma: Annotated[float, Interval(gt=0, lt=1)] = 0.3,
        threshold: Annotated[float, Ge(0)] = 0.001,
        cooldown: Annotated[int, Ge(0)] = 0,
        final_share: Annotated[float, Interval(ge=0, le=1)] = 0.01,
        warmup_epochs: Annotated[float, Ge(0)] = 1.0,
        warmup_start: Annotated[float, Interval(ge=0, le=1)] = 0.05,
        warmup_steps: Annotated[int, Ge(0)] | None = None,
    ) -> None:
        super().__init__(warmup_epochs=warmup_epochs, warmup_start=warmup_start, warmup_steps=warmup_steps)
        self.patience = patience
        self.gamma = gamma
        self.threshold = threshold
        self.cooldown = cooldown
        self.final_share = final_share
        self.share = 1.0
        self.best = -math.inf
        self.waited = 0  # epochs without a better figure
        self.cooling = 0  # epochs that are not counted

    def curve(self, progress: float, base_lr: float, max_epochs: int) -> float:
        return self.share

    def after_epoch(self, figure: float) -> None:
        if math.isnan(figure) or max(figure, self.best) <= 0.0:  # which says nothing of the rate
            return
        better = figure > self.best * (1.0 + self.threshold)
        if better:
            self.best = figure
        if better or self.cooling:
            self.waited, self.cooling = 0, max(0, self.cooling - 1)
            return
        self.waited += 1
        if self.waited > self.patience:
            self.share = max(self.final_share, self.share * self.gamma)
            self.waited, self.cooling = 0, self.cooldown

    def forget(self) -> None:
        self.best, self.waited = -math.inf, 0

    def state_dict(self) -> dict[str, Any]:
        return {"share": self.share, "best": self.best, "waited": self.waited, "cooling": self.cooling}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state:  # another schedule, from which the run goes on, has none
            self.share, self.best = float(state["share"]), float(state["best"])
            self.waited, self.cooling = int(state["waited"]), int(state["cooling"])
