"""Training for a number of updates on one thread: what studies compare that hold at any load of the machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from spikeyolo import schema
from spikeyolo.engine.update.average import WeightAverage
from spikeyolo.engine.update.optimizer import build_optimizer
from spikeyolo.engine.update.step import TrainStep
from spikeyolo.model.detector import Detector


@dataclass
class Trained:
    """What came of a training: the averaged weights, the data, and loss and gradient norm of every update."""

    weights: Detector
    data: Any
    evaluator: Any
    losses: list[float]
    norms: list[float]


@dataclass
class Prepared:
    """A composed training before its first update, with averaged weights."""

    step: TrainStep
    weights: Any
    data: Any
    loader: Any
    base_lr: float


def prepare(config: Any) -> Prepared:
    """Build what a training is made of.

    Args:
        config: of ``spikeyolo.train``.
    """
    torch.manual_seed(config.seed)
    data = schema.build(config.data)
    detector = schema.build(config.model, num_classes=len(data.classes), in_channels=data.encoder.channels)
    loader = data.train_loader(augmentation=schema.build(config.augment), seed=config.seed)
    average = WeightAverage(decay=0.98)
    weights: Any = average.start(detector)
    optimizer = build_optimizer(schema.build(config.optimizer, _partial_=True), detector)
    step = TrainStep(detector, run=detector, loss=schema.build(config.loss), optimizer=optimizer, average=average,
                     precision="float32", clip_gradient=10.0)  # fmt: skip
    detector.train()
    return Prepared(step, weights, data, loader, float(optimizer.defaults["lr"]))


def fit(
    config: Any, steps: int, *, whole_batches: bool = False, before: Callable[[Detector, float], None] | None = None
) -> Trained:
    """Train a composed configuration: the same windows in the same order wherever data and seed are the same.

    Args:
        config: of ``spikeyolo.train``.
        steps: updates.
        whole_batches: leave out batches of fewer windows than ``data.batch_size``.
        before: called before each update with the network and the share of the updates that are done.
    """
    made = prepare(config)
    step, data, loader = made.step, made.data, made.loader
    schedule = schema.build(config.scheduler)
    base, epochs = made.base_lr, max(steps // len(loader), 1)
    losses: list[float] = []
    norms: list[float] = []
    epoch = 0
    while len(losses) < steps:
        for batch in loader.epoch(epoch):
            done = len(losses)
            if done == steps:
                break
            if whole_batches and len(batch.windows) < data.batch_size:
                continue
            if before is not None:
                before(step.module, done / steps)
            step.set_factor(schedule.factor(done / steps, base_lr=base, max_epochs=epochs, step=done, max_steps=steps))
            loss, _ = step.gradients(batch)
            norm = step.clip()
            step.update()
            losses.append(float(loss))
            norms.append(float("nan") if norm is None else float(norm))
        epoch += 1
    return Trained(made.weights, data, schema.build(config.evaluator, classes=data.classes), losses, norms)
