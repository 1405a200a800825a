"""The training loop: batches in, weights out, validated each epoch, resumable between any two batches."""

from __future__ import annotations

import difflib
import logging
import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Interval
from torch import Tensor, nn

from spikeyolo.engine import checkpoint
from spikeyolo.engine.average import WeightAverage
from spikeyolo.engine.budget import Clock, TimeBudget
from spikeyolo.engine.device import Precision, choose_device
from spikeyolo.engine.execution import arrange, runner
from spikeyolo.engine.interrupt import StopRequested, StopWatch
from spikeyolo.engine.meter import LossMeter
from spikeyolo.engine.position import Position, read_position
from spikeyolo.engine.record import write_metrics, write_rows
from spikeyolo.engine.task import Pruned, Stopped, Task
from spikeyolo.errors import ConfigError, TrainingError

log = logging.getLogger(__name__)


class Trainer:
    """Trains for ``max_epochs`` or ``max_minutes``, whichever ends first.

    Args:
        max_epochs: passes over the training windows.
        max_minutes: bound by wall clock, from the first batch; learning rates then follow the share of time used
            where that is ahead of the share of epochs, and the last validation falls inside the bound.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``bfloat16`` runs the network under autocast; neuron states and the loss stay in float32.
        channels_last: maps and weights lie as ``[N, H, W, C]`` in memory; the same values, other speed.
        gradient_checkpointing: residual blocks compute their inner maps again in the backward pass: less memory for
            about a third more time.
        compile: the training network through ``torch.compile``: minutes at the start, then whatever it gains.
        clip_gradient: largest norm of all gradients together; None leaves them.
        average_decay: of the running average of weights, which is what is validated and saved.
        threads: CPU threads of torch; None leaves torch's choice.
        resume: checkpoint folder to go on from, such as ``…/checkpoints/last``.
        select_by: validation figure that decides which checkpoint is ``best`` (larger is better).
        clock: seconds; for tests.
    """

    def __init__(
        self,
        *,
        max_epochs: Annotated[int, Ge(1)] = 25,
        max_minutes: Annotated[float, Gt(0)] | None = None,
        device: str = "auto",
        precision: Precision = "float32",
        channels_last: bool = True,
        gradient_checkpointing: bool = False,
        compile: bool = False,
        clip_gradient: Annotated[float, Gt(0)] | None = 10.0,
        average_decay: Annotated[float, Interval(ge=0, lt=1)] = 0.998,
        threads: Annotated[int, Ge(1)] | None = None,
        resume: str | None = None,
        select_by: str = "map50",
        clock: Clock = time.monotonic,
    ) -> None:
        self.max_epochs = max_epochs
        self.max_seconds = None if max_minutes is None else 60.0 * max_minutes
        self.device = choose_device(device)
        self.precision: Precision = precision
        self.channels_last = channels_last
        self.gradient_checkpointing = gradient_checkpointing
        self.compile = compile
        self.clip_gradient = clip_gradient
        self.average_decay = average_decay
        self.threads = threads
        self.resume = None if resume is None else Path(resume)
        self.select_by = select_by
        self._clock = clock

    def fit(self, task: Task) -> dict[str, float]:
        """Train and return the validation figures of the best epoch, with those of the run itself.

        Raises:
            Stopped: the user asked to stop; a checkpoint was saved.
            Pruned: the sweep asked to stop.
            TrainingError: the loss is not finite, or the figures cannot be written.
            CheckpointError: ``resume`` is not a checkpoint of this model, or none can be written.
            ConfigError: the evaluator has no figure of the name ``select_by``.
        """
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        run = _Run(self, task)
        with StopWatch() as stop:
            try:
                return run.go(stop)
            except StopRequested:
                run.save("last")
                raise Stopped("stopped", task.folder / "checkpoints" / "last") from None
            except TrainingError as error:
                last = task.folder / "checkpoints" / "last"
                kept = f"the last good checkpoint is {last}" if last.is_dir() else "there is no checkpoint yet"
                raise TrainingError(f"{error}; {kept}") from error

    def check_selection(self, judged: Mapping[str, float]) -> None:
        """Refuse a ``select_by`` that no figure has, rather than after an epoch.

        Args:
            judged: figures as the evaluator names them.

        Raises:
            ConfigError: none has the name.
        """
        chosen = self.select_by
        if chosen not in judged:
            close = difflib.get_close_matches(chosen, judged, n=1)
            hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(judged)}"
            raise ConfigError(f"trainer.select_by: found {chosen!r}, which is no figure of the evaluator; {hint}")

    def check_resume(self, detector: nn.Module, description: Mapping[str, Any]) -> None:
        """Look at ``resume`` before data is converted for a run that cannot go on.

        Raises:
            CheckpointError: it is not a checkpoint of this model to go on from.
        """
        if self.resume is not None:
            read_position(self.resume, detector, description)


class _Run:
    """State of one fit."""

    def __init__(self, settings: Trainer, task: Task) -> None:
        self.settings = settings
        self.task = task
        self.module = task.detector.to(settings.device)
        arrange(
            self.module,
            channels_last=settings.channels_last,
            gradient_checkpointing=settings.gradient_checkpointing,
        )
        self.run = runner(self.module, compiled=settings.compile)
        self.optimizer = task.optimizer.build(self.module)
        self.average = WeightAverage(self.module, decay=settings.average_decay)
        self.position = Position()
        self.budget = TimeBudget(
            settings._clock, settings.max_seconds, started=settings._clock(), val_batches=len(task.val)
        )
        if settings.resume is not None:
            self._restore(settings.resume)
        self.wait_s = 0.0
        self.train_s = 0.0

    def go(self, stop: StopWatch) -> dict[str, float]:
        position, settings = self.position, self.settings
        # The evaluator's figures of nothing have the names of those to come.
        settings.check_selection(self.task.evaluator.evaluate(self.average.module, (), device=settings.device))
        if position.step:
            self._write()
        while position.epoch < settings.max_epochs:
            began = settings._clock()
            train = self._train_epoch(stop)
            row = {"epoch": float(position.epoch + 1), **{f"train/{name}": value for name, value in train.items()}}
            before = settings._clock()
            batches = stop.watch(self.task.val.epoch(0))
            with self.task.console.progress(f"validation {position.epoch + 1}", len(self.task.val)) as advance:
                figures = self.task.evaluator.evaluate(
                    self.average.module, _told(batches, advance), device=settings.device
                )
            self.budget.validation_s = max(self.budget.validation_s, settings._clock() - before)
            row |= {f"val/{name}": value for name, value in figures.items()}
            row["seconds"] = settings._clock() - began
            self._finish_epoch(row, figures.get(settings.select_by, float("nan")))
            if self.budget.is_up():
                log.info("time is up after epoch %d of %d", position.epoch, settings.max_epochs)
                break
        return self._summary()

    def _train_epoch(self, stop: StopWatch) -> dict[str, float]:
        position, task, settings = self.position, self.task, self.settings
        meter = LossMeter(settings.device)
        if position.meter is not None:
            meter.restore(position.meter)
        self.module.train()
        batches = iter(task.train.epoch(position.epoch, first_batch=position.batch))
        self.budget.batch_s = 0.0
        label = f"epoch {position.epoch + 1}/{settings.max_epochs}"
        with task.console.progress(label, len(task.train) - position.batch) as advance:
            began = settings._clock()
            while position.batch < len(task.train):
                if stop.requested:
                    meter.check()  # weights that are not finite never replace a good checkpoint
                    position.meter = meter.state()
                    raise StopRequested
                asked = settings._clock()
                batch = next(batches).to(settings.device)
                self.wait_s += settings._clock() - asked
                position.lr = lr = self._set_learning_rate()
                terms = self._step(batch, meter)
                advance(f"lr {lr:.2e}" if terms is None else f"loss {float(terms):.3f}  lr {lr:.2e}")
                position.batch += 1
                self.budget.batch_s = max(self.budget.batch_s, settings._clock() - asked)
                if self.budget.is_up():
                    break
        meter.check()
        position.meter = meter.state()  # a stop during validation must not lose the epoch's means
        self.train_s += settings._clock() - began
        return {**meter.means(), "lr": position.lr}

    def _step(self, batch: Any, meter: LossMeter) -> Tensor | None:
        """One update; returns the loss where looking at it is free."""
        settings = self.settings
        with torch.autocast(settings.device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
            predictions = self.run(batch.frames)
        terms = self.task.loss(predictions, batch.targets)
        self.optimizer.zero_grad(set_to_none=True)
        terms.total.backward()  # type: ignore[no-untyped-call]
        limit = float("inf") if settings.clip_gradient is None else settings.clip_gradient
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), limit, foreach=True)
        self.position.step += 1
        named = {**terms.named(), "total": terms.total, "positives": terms.num_positives.double(), "gradient": norm}
        meter.add(named, self.position.step)
        self.optimizer.step()
        self.average.update(self.module)
        return terms.total.detach() if settings.device.type == "cpu" else None

    def _finish_epoch(self, row: dict[str, float], figure: float) -> None:
        position, task = self.position, self.task
        position.elapsed_s = self.budget.elapsed()
        position.history.append(row)
        better = figure > position.best or not math.isfinite(position.best)  # the latest, until one is defined
        if better:
            position.best = figure if figure == figure else float("-inf")
            position.best_epoch = position.epoch
        position.epoch, position.batch, position.meter = position.epoch + 1, 0, None
        if better:
            self.save("best")
        self._write()
        log.info("%s%s", _line(row, self.settings.max_epochs), "  (best)" if better else "")
        task.logger.log_metrics({name: value for name, value in row.items() if name != "epoch"}, position.epoch)
        if task.pruner is not None and math.isfinite(figure):
            task.pruner.report(figure, position.epoch)
            if task.pruner.should_prune():
                raise Pruned(f"given up after epoch {position.epoch}")

    def _write(self) -> None:
        """Everything needed to go on, and the figures so far."""
        self.save("last")
        write_rows(self.task.folder / "metrics.csv", self.position.history)
        write_metrics(self.task.folder / "metrics.json", self._summary())

    def _summary(self) -> dict[str, float]:
        """Flat: figures of the best epoch, of the last one under ``last/``, and of the run."""
        position = self.position
        if not position.history:
            return {}
        best, last = position.history[position.best_epoch], position.history[-1]
        seconds = sum(row["seconds"] for row in position.history)
        return {
            **{name: value for name, value in best.items() if name.startswith("val/")},
            **{f"last/{name}": value for name, value in last.items() if name.startswith(("val/", "train/"))},
            "best_epoch": position.best_epoch + 1,
            "epochs": len(position.history),
            "seconds_per_epoch": seconds / len(position.history),
            "data_wait_share": self.wait_s / self.train_s if self.train_s else 0.0,
        }

    def _set_learning_rate(self) -> float:
        total = self.settings.max_epochs * len(self.task.train)
        progress = (self.position.epoch * len(self.task.train) + self.position.batch) / total
        progress = max(progress, self.budget.share())
        lr = self.task.schedule.learning_rate(
            progress, base_lr=self.task.optimizer.lr, max_epochs=self.settings.max_epochs
        )
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return lr

    def save(self, name: str) -> None:
        """Write ``checkpoints/<name>``; ``best`` holds no state to go on from."""
        position = self.position
        if position.elapsed_s == 0.0 or position.batch:
            position.elapsed_s = self.budget.elapsed()
        training = None
        if name == "last":
            training = {
                "module": self.module.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "average_updates": self.average.updates,
                "generator": torch.get_rng_state(),
            }
        state = {**self.task.description, "position": vars(position)}
        checkpoint.save(
            self.task.folder / "checkpoints" / name, weights=self.average.module, training=training, state=state
        )

    def _restore(self, folder: Path) -> None:
        self.position, training = read_position(folder, self.module, self.task.description)
        checkpoint.load_weights(folder, self.average.module)
        self.module.load_state_dict(training["module"])
        self.optimizer.load_state_dict(training["optimizer"])
        self.average.updates = training["average_updates"]
        torch.set_rng_state(training["generator"])
        self.budget.started -= self.position.elapsed_s
        self._bring_best(folder.parent / "best")
        log.info("going on from %s: epoch %d, batch %d", folder, self.position.epoch + 1, self.position.batch)

    def _bring_best(self, best: Path) -> None:
        """The best checkpoint so far may stay the best: this run's folder gets a copy."""
        place = self.task.folder / "checkpoints" / "best"
        if best.is_dir():
            checkpoint.copy(best, place)
        elif self.position.history:
            log.warning("%s: no best checkpoint beside the one to go on from; its weights take that place", best)
            self.position.best_epoch = len(self.position.history) - 1
            self.position.best = self.position.history[-1].get(f"val/{self.settings.select_by}", float("-inf"))
            self.save("best")


def _told(items: Iterable[Any], advance: Any) -> Iterable[Any]:
    for item in items:
        yield item
        advance("")


def _line(row: Mapping[str, float], epochs: int) -> str:
    shown = [f"epoch {int(row['epoch'])}/{epochs}"]
    for name, label in (("train/total", "loss"), ("train/box", "box"), ("train/class", "class"), ("train/dfl", "dfl")):
        if name in row:
            shown.append(f"{label} {row[name]:.3f}")
    for name, label in (("val/map50", "mAP50"), ("val/map", "mAP")):
        if name in row:
            shown.append(f"{label} {row[name]:.3f}")
    return "  ".join([*shown, f"{row['seconds']:.1f} s"])
