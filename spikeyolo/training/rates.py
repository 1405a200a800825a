"""What a person asks of learning rates before a training: how the schedule runs, and which rate teaches."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import count, islice

from spikeyolo.engine.guards.memory import in_memory
from spikeyolo.engine.record import write_rows
from spikeyolo.engine.task import Task
from spikeyolo.engine.trainer import Trainer
from spikeyolo.engine.update.build import build_step
from spikeyolo.engine.update.range_test import UPDATES, range_test
from spikeyolo.engine.update.schedule_free import is_schedule_free
from spikeyolo.errors import ConfigError
from spikeyolo.report.pictures.rates import draw_range_test, draw_schedule
from spikeyolo.windows.batch import Batch

log = logging.getLogger("spikeyolo")


def show(trainer: Trainer, task: Task) -> None:
    """What ``trainer.preview_schedule`` and ``trainer.range_test`` ask for, in place of a training.

    Raises:
        ConfigError: inside a sweep, whose trials train.
        TrainingError: no learning rate teaches.
    """
    try:
        if task.ranks.world > 1:
            key = "preview_schedule" if trainer.preview_schedule else "range_test"
            raise ConfigError(
                f"trainer.{key}: found true in {task.ranks.world} processes; expected the command without torchrun"
            )
        if task.pruner is not None:
            key = "preview_schedule" if trainer.preview_schedule else "range_test"
            raise ConfigError(f"trainer.{key}: found true in a sweep, whose trials have to train; expected false")
        if trainer.preview_schedule:
            preview_schedule(trainer, task)
        if trainer.range_test:
            find_rate(trainer, task)
    finally:
        task.train.close()
        task.val.close()


def preview_schedule(trainer: Trainer, task: Task) -> None:
    """Draw the learning rate of every update to come into ``figures/schedule.png``; nothing is trained."""
    base_lr = float(build_step(trainer, task, average=None).optimizer.defaults["lr"])
    rates = trainer.planned_rates(task.schedule, task.train, base_lr=base_lr)
    title = f"{type(task.schedule).__name__}, {len(rates)} updates"
    path = draw_schedule(task.folder / "figures" / "schedule.png", rates, epochs=trainer.max_epochs, title=title)
    log.info("learning rates from %.2e over %.2e to %.2e: %s", rates[0], max(rates), rates[-1], path)


def find_rate(trainer: Trainer, task: Task) -> None:
    """Train a throw-away copy over rising learning rates; ``figures/range_test.png`` and ``range_test.csv`` show them.

    Raises:
        TrainingError: no rate teaches, or the memory is full.
    """
    step = build_step(trainer, task, average=None)
    needed = UPDATES * trainer.accumulated(task.train)
    shape: Sequence[int] = ()
    with task.console.progress("range test", needed) as advance, in_memory(lambda: shape, trainer.device):

        def batches() -> Iterator[Batch]:
            nonlocal shape
            for batch in islice((batch for epoch in count() for batch in task.train.epoch(epoch)), needed):
                shape = batch.frames.shape
                yield batch.to(trainer.device)
                advance("")

        found = range_test(step, batches(), base_lr=float(step.optimizer.defaults["lr"]), updates=UPDATES)
    rows = [{"lr": rate, "loss": loss} for rate, loss in zip(found.rates, found.losses, strict=True)]
    write_rows(task.folder / "range_test.csv", rows)
    path = draw_range_test(
        task.folder / "figures" / "range_test.png",
        found.rates,
        found.losses,
        fastest=found.fastest,
        least=found.least,
    )
    peak = max(found.fastest, found.least / 10.0)
    log.info(
        "range test: the loss falls fastest at %.1e and is least at %.1e: try optimizer.lr=%.1e%s; %s",
        found.fastest,
        found.least,
        found.fastest,
        "" if is_schedule_free(step.optimizer) else f", and with scheduler=cyclic scheduler.max_lr={peak:.1e}",
        path,
    )
