"""The training loop: batches in, weights out, validated each epoch, resumable between any two batches."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Protocol

import torch
from annotated_types import Ge, Gt, Interval
from torch import Tensor, nn

from spikeyolo.engine import checkpoint
from spikeyolo.engine.average import WeightAverage
from spikeyolo.engine.device import Precision, choose_device
from spikeyolo.engine.hooks import Console, Evaluator, Logger, Pruner
from spikeyolo.engine.interrupt import StopRequested, StopWatch
from spikeyolo.engine.meter import LossMeter
from spikeyolo.engine.optimizer import OptimizerFactory
from spikeyolo.engine.record import write_metrics, write_rows
from spikeyolo.engine.schedule import Schedule
from spikeyolo.errors import CheckpointError
from spikeyolo.loss.detection import DetectionLoss
from spikeyolo.windows.loader import WindowLoader

log = logging.getLogger(__name__)


class Stopped(Exception):  # noqa: N818 -- an outcome, not an error
    """Training ended before its time; ``checkpoint`` is where it can go on."""

    def __init__(self, reason: str, checkpoint: Path) -> None:
        super().__init__(f"{reason}; saved {checkpoint}")
        self.checkpoint = checkpoint


class Pruned(Exception):  # noqa: N818 -- an outcome, not an error
    """The sweep gave this run up."""


@dataclass
class Position:
    """Where a run stands; part of every checkpoint."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    elapsed_s: float = 0.0
    best_epoch: int = -1
    best: float = float("-inf")
    history: list[dict[str, float]] = field(default_factory=list)
    meter: dict[str, float] | None = None


@dataclass(frozen=True)
class Task:
    """Everything one call of :meth:`Trainer.fit` works on.

    Attributes:
        detector: the network, on any device.
        loss, optimizer, schedule: what is minimised and how.
        train, val: loaders.
        evaluator, logger, console: see ``engine/hooks.py``.
        folder: the run's folder; checkpoints and metrics go there.
        description: what ``state.json`` says of the model (its configuration, classes, …).
        pruner: the sweep's, or None.
    """

    detector: nn.Module
    loss: DetectionLoss
    optimizer: OptimizerFactory
    schedule: Schedule
    train: WindowLoader
    val: WindowLoader
    evaluator: Evaluator
    logger: Logger
    console: Console
    folder: Path
    description: Mapping[str, Any]
    pruner: Pruner | None = None


class Clock(Protocol):
    def __call__(self) -> float: ...


class Trainer:
    """Trains for ``max_epochs`` or ``max_minutes``, whichever ends first.

    Args:
        max_epochs: passes over the training windows.
        max_minutes: bound by wall clock, from the first batch; learning rates then follow the share of time used
            where that is ahead of the share of epochs, and the last validation falls inside the bound.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``bfloat16`` runs the network under autocast; neuron states and the loss stay in float32.
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
            TrainingError: the loss is not finite.
            CheckpointError: ``resume`` is not a checkpoint of this model.
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


class _Run:
    """State of one fit."""

    def __init__(self, settings: Trainer, task: Task) -> None:
        self.settings = settings
        self.task = task
        self.module = task.detector.to(settings.device)
        self.optimizer = task.optimizer.build(self.module)
        self.average = WeightAverage(self.module, decay=settings.average_decay)
        self.position = Position()
        if settings.resume is not None:
            self._restore(settings.resume)
        self.started = settings._clock() - self.position.elapsed_s
        self.validation_s = 0.0
        self.wait_s = 0.0
        self.train_s = 0.0

    def go(self, stop: StopWatch) -> dict[str, float]:
        position, settings = self.position, self.settings
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
            self.validation_s = max(self.validation_s, settings._clock() - before)
            row |= {f"val/{name}": value for name, value in figures.items()}
            row["seconds"] = settings._clock() - began
            self._finish_epoch(row, figures.get(settings.select_by, float("nan")))
            if self._time_is_up():
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
        label = f"epoch {position.epoch + 1}/{settings.max_epochs}"
        with task.console.progress(label, len(task.train) - position.batch) as advance:
            began = settings._clock()
            while position.batch < len(task.train):
                if stop.requested:
                    position.meter = meter.state()
                    raise StopRequested
                asked = settings._clock()
                batch = next(batches).to(settings.device)
                self.wait_s += settings._clock() - asked
                lr = self._set_learning_rate()
                terms = self._step(batch, meter)
                advance(f"lr {lr:.2e}" if terms is None else f"loss {float(terms):.3f}  lr {lr:.2e}")
                position.batch += 1
                if self._time_is_up():
                    break
        meter.check()
        self.train_s += settings._clock() - began
        return {**meter.means(), "lr": lr if meter.steps else 0.0}

    def _step(self, batch: Any, meter: LossMeter) -> Tensor | None:
        """One update; returns the loss where looking at it is free."""
        settings = self.settings
        with torch.autocast(settings.device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
            predictions = self.module(batch.frames)
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
        position.elapsed_s = self.settings._clock() - self.started
        position.history.append(row)
        better = figure > position.best or position.best_epoch < 0
        if better:
            position.best = figure if figure == figure else float("-inf")
            position.best_epoch = position.epoch
        position.epoch, position.batch, position.meter = position.epoch + 1, 0, None
        self.save("last")
        if better:
            self.save("best")
        write_rows(task.folder / "metrics.csv", position.history)
        write_metrics(task.folder / "metrics.json", self._summary())
        log.info("%s%s", _line(row, self.settings.max_epochs), "  (best)" if better else "")
        task.logger.log_metrics({name: value for name, value in row.items() if name != "epoch"}, position.epoch)
        if task.pruner is not None and math.isfinite(figure):
            task.pruner.report(figure, position.epoch)
            if task.pruner.should_prune():
                raise Pruned(f"given up after epoch {position.epoch}")

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
        if self.settings.max_seconds is not None:
            progress = max(progress, (self.settings._clock() - self.started) / self.settings.max_seconds)
        lr = self.task.schedule.learning_rate(
            progress, base_lr=self.task.optimizer.lr, max_epochs=self.settings.max_epochs
        )
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return lr

    def _time_is_up(self) -> bool:
        """Whether only the last validation still fits into the time given."""
        if self.settings.max_seconds is None:
            return False
        # Half again the longest validation so far, for saving and for a machine that is not always equally quick.
        reserve = 1.5 * self.validation_s if self.validation_s else 0.1 * self.settings.max_seconds
        return self.settings._clock() - self.started > self.settings.max_seconds - reserve

    def save(self, name: str) -> None:
        """Write ``checkpoints/<name>``; ``best`` holds no state to go on from."""
        position = self.position
        if position.elapsed_s == 0.0 or position.batch:
            position.elapsed_s = self.settings._clock() - self.started
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
        state = checkpoint.read_state(folder)
        training = checkpoint.load_training(folder, self.module)
        if set(state.get("position", {})) != set(vars(Position())):
            raise CheckpointError(f"{folder}/state.json: no position to go on from; expected a 'last' checkpoint")
        checkpoint.load_weights(folder, self.average.module)
        self.module.load_state_dict(training["module"])
        self.optimizer.load_state_dict(training["optimizer"])
        self.average.updates = training["average_updates"]
        torch.set_rng_state(training["generator"])
        self.position = Position(**state["position"])
        log.info("going on from %s: epoch %d, batch %d", folder, self.position.epoch + 1, self.position.batch)


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
