"""One fit: epochs of batches, each validated and saved, with callbacks between."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from contextlib import nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING

from torch import Tensor

from spikeyolo.engine.callbacks import Outcome, agreed, chosen
from spikeyolo.engine.checkpoints.state import Generator, Position, TrainingState
from spikeyolo.engine.guards.budget import TimeBudget, said_if_slow
from spikeyolo.engine.guards.interrupt import StopRequested, StopWatch
from spikeyolo.engine.guards.memory import in_memory
from spikeyolo.engine.guards.meter import LossMeter, NotFiniteError
from spikeyolo.engine.guards.recovery import Recovery, with_batch
from spikeyolo.engine.record import epoch_line, is_validated, summary
from spikeyolo.engine.run_files import RunFiles
from spikeyolo.engine.task import Pruned, Task
from spikeyolo.engine.update.build import build_step
from spikeyolo.engine.update.optimizer import OptimizerState
from spikeyolo.engine.update.parts import train_mode
from spikeyolo.engine.update.schedule import ConstantSchedule
from spikeyolo.engine.update.schedule_free import ScheduleFreeAverage, is_schedule_free
from spikeyolo.engine.validation import Validation
from spikeyolo.windows.batch import Batch

if TYPE_CHECKING:
    from spikeyolo.engine.trainer import Trainer

log = logging.getLogger(__name__)


class _RolledBack(Exception):  # noqa: N818 -- an outcome, not an error
    """A callback asked for the last checkpoint."""


class TrainingRun:
    """One fit: epochs of batches, each validated and saved."""

    def __init__(self, settings: Trainer, task: Task) -> None:
        self.settings = settings
        self.task = task
        self.ranks = task.ranks
        self.step = build_step(settings, task, average=settings.average)
        self.module, optimizer = self.step.module, self.step.optimizer
        if is_schedule_free(optimizer):
            self.step.average = ScheduleFreeAverage(optimizer)
            if not isinstance(task.schedule, ConstantSchedule):
                log.warning(
                    "scheduler: found %s beside a schedule-free optimizer, which goes with scheduler=constant",
                    type(task.schedule).__name__,
                )
        average = self.step.average
        self.weights = self.module if average is None else average.start(self.module)  # what is validated and saved
        self.base_lr = float(optimizer.defaults["lr"])
        self.position = Position()
        self.meter: LossMeter | None = None  # of the epoch, None between epochs
        self.callbacks = chosen(settings, task, self.step.phases)
        self.state = TrainingState(
            module=self.module,
            optimizer=OptimizerState(optimizer, self.module),
            step=self.step,
            schedule=task.schedule,
            generator=Generator(),
            **({} if average is None else {"average": average}),
            **{f"callback/{name}": callback for name, callback in self.callbacks.items()},
        )
        self.budget = TimeBudget(
            settings._clock,
            settings.max_seconds,
            started=settings._clock(),
            val_batches=len(task.val),
            agreed=self.ranks.first,
        )
        self.validation = Validation(self)
        self.files = RunFiles(self)
        if settings.resume is not None:
            self.files.resume(settings.resume)
        self.warm_up_s = self.position.warm_up_s  # of the runs this one goes on from
        self.stopping = False
        self.recovery = Recovery(self.ranks)
        self.spoilt: Batch | None = None  # the last batch whose loss was not finite, where it is known
        self.wait_s = 0.0
        self.train_s = 0.0

    def go(self, stop: StopWatch) -> dict[str, float]:
        position, settings = self.position, self.settings
        # The evaluator's figures of nothing have the names of those to come.
        settings.check_selection(self.task.evaluator.evaluate(self.weights, (), device=settings.device))
        if position.step:
            self.files.write_epoch()
        with self.files.behind:
            self._epochs(stop)
        return self.figures()

    def _epochs(self, stop: StopWatch) -> None:
        position, settings = self.position, self.settings
        for callback in self.callbacks.values() if position.batch == 0 else ():
            if reason := callback.is_over(position):
                log.info("stopped already, after epoch %d of %d: %s", position.epoch, settings.max_epochs, reason)
                return
        while position.epoch < settings.max_epochs:
            if position.batch == 0 and self._is_spent():
                log.info("time is up after epoch %d of %d", position.epoch, settings.max_epochs)
                break
            try:
                self._epoch(stop)
            except _RolledBack:
                self._roll_back()
                continue
            except NotFiniteError as error:
                self.files.behind.wait()
                if stop.requested or not self.recovery.takes_back(self.task.folder / "checkpoints" / "last"):
                    path = self.task.folder / f"not_finite_batch{self.ranks.rank or ''}.pt"
                    raise with_batch(error, self.spoilt, path) from error
                self._go_back_slower(error)
                continue
            self.recovery.epoch_is_over()
            if self.stopping:
                log.info("stopped after epoch %d of %d, as a callback asked", position.epoch, settings.max_epochs)
                break
        try:
            self._validate_the_last(stop)
        except _RolledBack:
            self._roll_back()
            self._epochs(stop)

    def _epoch(self, stop: StopWatch) -> None:
        position, settings = self.position, self.settings
        began = settings._clock()
        train = self._train(stop)
        row = {"epoch": float(position.epoch + 1), **{f"train/{name}": value for name, value in train.items()}}
        if self.validation.is_due(position.epoch) or self.stopping or self._is_spent():
            row |= self.validation.row(stop, epoch=position.epoch)
        if position.skipped:
            row["train/skipped"] = float(position.skipped)
        if position.overflowed:
            row["train/overflowed"] = float(position.overflowed)
        row["seconds"] = settings._clock() - began
        self._finish_epoch(row)

    def _validate_the_last(self, stop: StopWatch) -> None:
        """Where it was not the last epoch's turn, but none follows after all; callbacks are told of it once more."""
        position = self.position
        if not position.history or is_validated(position.history[-1]):
            return
        found = self.validation.row(stop, epoch=position.epoch - 1)
        position.epoch -= 1
        self._finish_epoch({**position.history.pop(), **found})

    def _train(self, stop: StopWatch) -> dict[str, float]:
        position, task, settings = self.position, self.task, self.settings
        self.meter = meter = LossMeter(settings.device, in_a_row=self.recovery.in_a_row)
        meter.check_every = 1 if self.recovery.is_wary else meter.check_every
        if position.meter is not None:
            meter.restore(position.meter)
        train_mode(self.module)
        batches = iter(task.train.epoch(position.epoch, first_batch=position.batch))
        label = f"epoch {position.epoch + 1}/{settings.max_epochs}"
        with task.console.progress(label, len(task.train) - position.batch) as advance:
            began = settings._clock()
            while position.batch < len(task.train) and not self.stopping and not self._is_spent():
                if stop.is_asked():
                    self.look()
                    raise StopRequested
                asked = settings._clock()
                with self.step.phases("loader"):
                    batch = next(batches)
                with self.step.phases("transfer"):
                    batch = batch.to(settings.device)
                self.wait_s += settings._clock() - asked
                position.lr = self.step.set_factor(self._factor())
                with said_if_slow("compiling kernels, once") if self.budget.first_s is None else nullcontext():
                    loss = self._update(batch, meter)
                position.batch += 1
                self.budget.count(settings._clock() - asked)
                advance(self._shown(loss))
                self.ask(callback.after_batch(self) for callback in self.callbacks.values())
        self.look()
        self.train_s += settings._clock() - began
        return {**meter.means(), "lr": position.lr}

    def _is_spent(self) -> bool:
        """Whether the time is up; a run that has trained nothing yet trains a batch at least."""
        return bool(self.position.epoch or self.position.batch) and self.budget.is_up()

    def _shown(self, loss: Tensor) -> str:
        """Beside the bar: what looking at is free, and the time to the end of the training."""
        position, settings = self.position, self.settings
        shown = [f"loss {float(loss):.3f}"] if settings.device.type == "cpu" else []
        shown.append(f"lr {position.lr:.2e}")
        epochs = settings.max_epochs - position.epoch
        batches = epochs * len(self.task.train) - position.batch
        left = self.budget.left(batches=batches, validations=self.validation.to_come(position.epoch))
        if left is not None:
            shown.append(f"{timedelta(seconds=round(left))} left in all")
        return "  ".join(shown)

    def _update(self, batch: Batch, meter: LossMeter) -> Tensor:
        position, step = self.position, self.step
        with in_memory(lambda: batch.frames.shape, self.settings.device, processes=self.ranks.world):
            loss, terms = step.gradients(batch)
            due = step.is_due(last=position.batch + 1 == len(self.task.train))
            with step.phases("update"):
                norm = step.clip() if due else None
            if norm is not None:
                terms["gradient"] = norm
            step.doubt(meter.add(terms, position.step + 1))
            if meter.is_due and self.look(batch):
                return loss
            with step.phases("update"):
                position.step += due and step.update()
        position.overflowed += due and norm is None
        return loss

    def look(self, batch: Batch | None = None) -> bool:
        """Learn which steps were not finite since the last look; all processes come here together.

        Args:
            batch: of the last step.

        Returns:
            whether the last step is left out.

        Raises:
            NotFiniteError: leaving steps out is not enough.
        """
        meter = self.meter
        if meter is None:
            return False
        found = meter.look()
        if found.skipped:
            self.position.skipped += found.skipped
            self.position.step -= self.step.undone()
            self.spoilt = batch if meter.check_every == 1 else None
            meter.check_every = 1  # from now on the host knows which batch it was
        if found.in_a_row:
            self.step.drop()
        self.recovery.judge(found, self.module.buffers())
        return found.in_a_row > 0

    def ask(self, outcomes: Iterable[Outcome]) -> None:
        """Do as callbacks ask: all are asked, rolling back comes before stopping and saving.

        Raises:
            _RolledBack: one asked for it.
            Pruned: the sweep gives the run up.
        """
        asked = agreed(self.ranks, outcomes)
        self.stopping = self.stopping or Outcome.STOP in asked
        if Outcome.ROLL_BACK in asked:
            raise _RolledBack
        if Outcome.SAVE in asked:
            self.files.save_last_behind()

    def _finish_epoch(self, row: dict[str, float]) -> None:
        position = self.position
        figure = row.get(f"val/{self.settings.select_by}", float("nan"))
        position.elapsed_s = self.budget.elapsed()
        position.warm_up_s = self.warm_up_s + self.budget.warm_up_s
        position.history.append(row)
        better = figure > position.best or not math.isfinite(position.best)  # the latest, until one is defined
        if better:
            position.best = figure if figure == figure else float("-inf")
            position.best_epoch = position.epoch
        position.epoch, position.batch, position.meter, self.meter = position.epoch + 1, 0, None, None
        self.task.schedule.after_epoch(figure)
        log.info("%s%s", epoch_line(row, self.settings.max_epochs), "  (best)" if better and is_validated(row) else "")
        try:
            self.ask(callback.after_epoch(self, row, figure) for callback in self.callbacks.values())
        except _RolledBack:
            raise
        except BaseException as error:
            # The others of several processes do not come here with an error of one of them.
            if self.ranks.world == 1 or isinstance(error, Pruned):
                self._keep(better)
            raise
        self._keep(better)  # after the callbacks, whose state belongs to it

    def _keep(self, better: bool) -> None:
        """Everything needed to go on, then the best weights, which a run that goes on could make of it."""
        self.files.write_epoch()
        if better:
            self.files.save_behind("best")

    def figures(self) -> dict[str, float]:
        figures, teacher = summary(self.position), self.task.teacher
        seconds = {"data_wait_share": self.wait_s}
        if teacher is not None:
            seconds["teacher_share"] = teacher.seconds
        shares = {name: spent / self.train_s if self.train_s else 0.0 for name, spent in seconds.items()}
        return {**figures, **shares} if figures else {}

    def _factor(self) -> float:
        """Of every group's learning rate, for the next update."""
        position, epoch, settings = self.position, len(self.task.train), self.settings
        progress = (position.epoch * epoch + position.batch) / (settings.max_epochs * epoch)
        return position.lr_share * self.task.schedule.factor(
            max(progress, self.budget.share()),
            base_lr=self.base_lr,
            max_epochs=settings.max_epochs,
            step=position.step,
            max_steps=settings.max_epochs * math.ceil(epoch / settings.accumulated(self.task.train)),
        )

    @property
    def saved_at(self) -> float:
        return self.files.saved_at

    def save_last(self) -> None:
        """Write ``checkpoints/last`` with the states of all processes, which come here together."""
        self.files.save_last_behind()
        self.files.behind.wait()

    def save(self, name: str) -> None:
        """Write ``checkpoints/<name>``; ``best`` holds no state to go on from.

        Raises:
            TrainingError: the weights are not finite, and never replace good ones.
            CheckpointError: it cannot be written.
        """
        self.files.save_behind(name)
        self.files.behind.wait()

    def _roll_back(self) -> None:
        self.files.roll_back()
        log.warning("back to epoch %d, batch %d, as a callback asked", self.position.epoch + 1, self.position.batch)

    def _go_back_slower(self, error: NotFiniteError) -> None:
        """To the last checkpoint, from where learning rates are half of what they were."""
        position = self.position
        kept = position.lr_share / 2, position.skipped, position.overflowed
        self.meter = None  # of steps that are taken back
        self.files.roll_back()
        position.lr_share, position.skipped, position.overflowed = kept
        self.files.save_last_behind()  # a run that ends before its next save goes on as slowly
        log.warning(
            "loss term '%s' is not finite at step %d: back to epoch %d, batch %d, with half the learning rate",
            error.term,
            error.step,
            position.epoch + 1,
            position.batch,
        )
