"""The network on its device, with all that updates it, as the trainer's settings and the task say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spikeyolo.engine.task import Task
from spikeyolo.engine.update.average import Average
from spikeyolo.engine.update.execution import arrange, runner
from spikeyolo.engine.update.optimizer import build_optimizer
from spikeyolo.engine.update.parts import freeze
from spikeyolo.engine.update.step import TrainStep

if TYPE_CHECKING:
    from spikeyolo.engine.trainer import Trainer


def build_step(settings: Trainer, task: Task, *, average: Average | None) -> TrainStep:
    """The task's network on the trainer's device, with what updates it."""
    module = task.detector.to(settings.device)
    freeze(module, settings.freeze)
    arrange(module, channels_last=settings.channels_last, gradient_checkpointing=settings.gradient_checkpointing)
    return TrainStep(
        module,
        run=task.ranks.spread(
            module,
            runner(module, compiled=settings.compile),
            loss=task.loss,
            synchronise_norms=settings.synchronise_norms,
        ),
        loss=task.loss,
        optimizer=build_optimizer(task.optimizer, module, settings.lr_factors),
        average=average,
        precision=settings.precision,
        clip_gradient=settings.clip_gradient,
        accumulate_batches=settings.accumulated(task.train),
        teacher=None if task.teacher is None else task.teacher.to(settings.device),
        firing_rate=task.firing_rate,
        ranks=task.ranks,
    )
