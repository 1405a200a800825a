"""What is asked between batches and after each epoch: it may stop the run or take it back to its last checkpoint."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from torch import nn

from spikeyolo.engine.checkpoints.state import Position
from spikeyolo.engine.guards.budget import Clock
from spikeyolo.engine.hooks import Logger, Pruner
from spikeyolo.engine.ranks import Ranks
from spikeyolo.engine.record import curves, is_validated, summary
from spikeyolo.engine.task import Pruned, Task

if TYPE_CHECKING:
    from spikeyolo.engine.trainer import Trainer
    from spikeyolo.engine.update.phases import Phases


class Outcome(Enum):
    """What a callback asks of the run."""

    CONTINUE = "continue"
    STOP = "stop"
    ROLL_BACK = "roll back"
    SAVE = "save"


def agreed(ranks: Ranks, outcomes: Iterable[Outcome]) -> set[Outcome]:
    """What the first process's callbacks ask of all; nobody else's are asked.

    Raises:
        Pruned: in all processes, the sweep gives the run up.
    """
    asked: set[Outcome] = set()
    pruned: Pruned | None = None
    if ranks.is_main:
        try:
            asked = set(outcomes)
        except Pruned as error:
            pruned = error
    kinds = (Outcome.STOP, Outcome.ROLL_BACK, Outcome.SAVE)
    *answers, given_up = ranks.most(*(kind in asked for kind in kinds), pruned is not None)
    if given_up:
        raise pruned or Pruned("given up")
    return {kind for kind, asked_for in zip(kinds, answers, strict=True) if asked_for}


class Run(Protocol):
    """What a callback sees of a run."""

    @property
    def position(self) -> Position: ...

    @property
    def ranks(self) -> Ranks:
        """The processes that train together."""

    @property
    def module(self) -> nn.Module:
        """What is trained."""

    @property
    def weights(self) -> nn.Module:
        """What is validated and saved: the module, or the average of its weights."""

    @property
    def saved_at(self) -> float:
        """The clock when the run began or last wrote ``checkpoints/last``."""

    def save(self, name: str) -> None:
        """Write ``checkpoints/<name>``."""


class Callback:
    """Does nothing; a callback overrides what it needs. Its state goes into every checkpoint to go on from.

    After a roll back the state is kept, so that a callback can count how often it asked for one. Of several processes
    that train together, only the first one's callbacks are asked.
    """

    def after_batch(self, run: Run) -> Outcome:
        """Between two batches, those of the validation too."""
        return Outcome.CONTINUE

    def after_epoch(self, run: Run, row: Mapping[str, float], figure: float) -> Outcome:
        """After an epoch, its validation included where it has one, and before it is saved.

        Args:
            row: the epoch's figures, as in ``metrics.csv``.
            figure: the one that selects the best epoch; NaN where it is undefined, or the epoch was not validated.
        """
        return Outcome.CONTINUE

    def is_over(self, position: Position) -> str:
        """Why a run that goes on has no epoch to come, as the end of a sentence; empty where it has."""
        return ""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to load."""


class Tracking(Callback):
    """Sends the logger, each epoch, what ``metrics.json`` holds then, and the curves of loss and mAP."""

    def __init__(self, logger: Logger) -> None:
        self._logger = logger

    def after_epoch(self, run: Run, row: Mapping[str, float], figure: float) -> Outcome:
        self._logger.log_metrics({**summary(run.position), **curves(row)}, run.position.epoch)
        return Outcome.CONTINUE


class Pruning(Callback):
    """Reports each epoch to the sweep.

    Raises:
        Pruned: the sweep gives the run up; that is no end like any other.
    """

    def __init__(self, pruner: Pruner) -> None:
        self._pruner = pruner

    def after_epoch(self, run: Run, row: Mapping[str, float], figure: float) -> Outcome:
        if math.isfinite(figure):
            self._pruner.report(figure, run.position.epoch)
            if self._pruner.should_prune():
                raise Pruned(f"given up after epoch {run.position.epoch}")
        return Outcome.CONTINUE


class EarlyStopping(Callback):
    """Stops after ``patience`` epochs without a better figure; an epoch that is not validated stops nothing."""

    def __init__(self, patience: int) -> None:
        self._patience = patience

    def is_over(self, position: Position) -> str:
        validated = bool(position.history) and is_validated(position.history[-1])
        waited = position.epoch - 1 - position.best_epoch
        if not validated or position.best_epoch < 0 or waited < self._patience:
            return ""
        return f"trainer.patience={self._patience} is over (a larger one goes on)"

    def after_epoch(self, run: Run, row: Mapping[str, float], figure: float) -> Outcome:
        return Outcome.STOP if self.is_over(run.position) else Outcome.CONTINUE


class KeepBest(Callback):
    """Keeps the weights of the ``keep`` best epochs of this run, each in ``checkpoints/epoch_NNNN``.

    Those compete whose figures are of one network and one measurement, and whose weights are here: a run that goes on
    in another folder begins with its first epoch there.
    """

    def __init__(self, keep: int, figure: str, folder: Path) -> None:
        self._keep = keep
        self._figure = f"val/{figure}"
        self._folder = folder

    def after_epoch(self, run: Run, row: Mapping[str, float], figure: float) -> Outcome:
        position = run.position
        figures = {int(row["epoch"]): row.get(self._figure, math.nan) for row in position.history[position.best_from :]}
        here = {epoch for epoch in figures if epoch == position.epoch or (self._folder / _epoch_name(epoch)).is_dir()}
        known = [epoch for epoch in here if not math.isnan(figures[epoch])]
        best = sorted(known, key=lambda epoch: (-figures[epoch], epoch))[: self._keep]
        if position.epoch in best:
            run.save(_epoch_name(position.epoch))
        for path in self._folder.glob("epoch_*"):
            # What a person has put beside them under a longer name is not ours.
            if path.name not in map(_epoch_name, best) and path.name.removeprefix("epoch_").isdigit():
                shutil.rmtree(path)
        return Outcome.CONTINUE


def _epoch_name(epoch: int) -> str:
    return f"epoch_{epoch:04d}"


class PeriodicSaving(Callback):
    """Writes ``checkpoints/last`` between two batches where it is ``minutes`` old."""

    def __init__(self, minutes: float, clock: Clock) -> None:
        self._seconds = 60.0 * minutes
        self._clock = clock

    def after_batch(self, run: Run) -> Outcome:
        return Outcome.SAVE if self._clock() - run.saved_at >= self._seconds else Outcome.CONTINUE


def chosen(settings: Trainer, task: Task, phases: Phases) -> dict[str, Callback]:
    """By name, in the order in which they are asked: those that the settings name, and the configuration's own.

    Raises:
        ConfigError: an epoch is too short to be profiled.
    """
    found: dict[str, Callback] = {"tracking": Tracking(task.logger)}
    if task.pruner is not None:
        found["pruning"] = Pruning(task.pruner)
    if settings.patience is not None:
        found["early_stopping"] = EarlyStopping(settings.patience)
    if settings.keep > 1:
        found["keeping"] = KeepBest(settings.keep, settings.select_by, task.folder / "checkpoints")
    if settings.profile and task.ranks.is_main:
        from spikeyolo.engine.profile import Profile  # a callback itself

        found["profile"] = Profile(phases, settings.device, task)
    found |= settings.callbacks
    if settings.save_minutes is not None:  # the last, so that the state of the others belongs to what is saved
        found["saving"] = PeriodicSaving(settings.save_minutes, settings._clock)
    return found
