"""What one training works on, and the ways in which it may end before its time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from spikeyolo.engine.hooks import Console, Evaluator, Logger, Pruner
from spikeyolo.engine.ranks import Ranks
from spikeyolo.engine.update.optimizer import OptimizerFactory
from spikeyolo.engine.update.schedule import Schedule
from spikeyolo.engine.update.teacher import Teacher
from spikeyolo.loss.detection import DetectionLoss
from spikeyolo.loss.firing_rate import FiringRate
from spikeyolo.windows.serving.loader import WindowLoader


class Stopped(Exception):  # noqa: N818 -- an outcome, not an error
    """Training ended before its time.

    Attributes:
        checkpoint: where it can go on.
        exit_code: 128 and the signal's number, as a shell reports it: 130 for Ctrl-C, 143 for SIGTERM (preemption).
    """

    def __init__(self, reason: str, checkpoint: Path, *, number: int = 2) -> None:
        super().__init__(f"{reason}; saved {checkpoint}")
        self.checkpoint = checkpoint
        self.exit_code = 128 + number


class Pruned(Exception):  # noqa: N818 -- an outcome, not an error
    """The sweep gave this run up."""


@dataclass(frozen=True)
class Task:
    """Everything one call of :meth:`Trainer.fit` works on.

    Attributes:
        detector: the network, on any device.
        loss, optimizer, schedule: what is minimised and how; the optimizer gets its parameters when training begins.
        train, val: loaders.
        evaluator, logger, console: see ``engine/hooks.py``.
        folder: the run's folder; checkpoints and metrics go there.
        description: what ``state.json`` says of the model (its configuration, classes, …).
        pruner: the sweep's, or None.
        teacher: a trained network to learn from beside the labels, or None.
        firing_rate: the penalty on spikes, or None.
        ranks: the processes that train together.
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
    teacher: Teacher | None = None
    firing_rate: FiringRate | None = None
    ranks: Ranks = field(default_factory=Ranks)
