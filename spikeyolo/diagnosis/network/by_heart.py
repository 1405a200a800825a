"""A new network that learns one batch by heart."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from spikeyolo.diagnosis.deadline import Deadline
from spikeyolo.diagnosis.machine.usage import Usage
from spikeyolo.engine.device import Precision
from spikeyolo.engine.evaluator import DetectionEvaluator, truth_at
from spikeyolo.engine.update.optimizer import OptimizerFactory, build_optimizer
from spikeyolo.engine.update.step import TrainStep
from spikeyolo.metrics.detection import DetectionMetrics
from spikeyolo.windows.batch import Batch

LEARNT = 0.9  # mAP50 on windows that were learnt by heart
LOOK_EVERY = 25  # steps
WARM_UP = 10  # steps of rising learning rate


@dataclass(eq=False)
class Learnt:
    """How it went.

    Attributes:
        asked: updates that were asked for; ``steps`` were made.
        windows: of the batch.
        losses: of every step.
        map50: step → mAP50 of the windows.
        seconds: of every step.
        diverged: whether the loss was not finite at last.
        usage: of memory and GPU.
        fixed_bytes: of that memory, what does not depend on the number of windows: weights, gradients, two momenta.
    """

    asked: int
    windows: int
    losses: list[float] = field(default_factory=list)
    map50: dict[int, float] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    diverged: bool = False
    usage: Usage = field(default_factory=Usage)
    fixed_bytes: int = 0

    @property
    def steps(self) -> int:
        return len(self.losses)

    @property
    def best(self) -> float:
        return max((value for value in self.map50.values() if math.isfinite(value)), default=0.0)

    @property
    def last(self) -> float:
        """The newest mAP50; 0 where nothing was looked at, or the loss is not finite."""
        return 0.0 if self.diverged or not self.map50 else list(self.map50.values())[-1]

    @property
    def known(self) -> bool:
        """Whether the windows were learnt, and the loss stayed finite."""
        return self.best >= LEARNT and not self.diverged

    @property
    def done(self) -> bool:
        """Whether all was tried, or there is nothing left to try."""
        return self.diverged or self.best >= LEARNT or self.steps >= self.asked

    @property
    def step_s(self) -> float | None:
        """Median time of a step but for the first, which compiles kernels, s."""
        later = sorted(self.seconds[1:] or self.seconds)
        return later[len(later) // 2] if later else None


class ByHeart:
    """A network that learns one batch; it changes.

    Args:
        factory: builds the optimizer.
        evaluator: of the same windows.
    """

    def __init__(
        self,
        detector: nn.Module,
        loss: Callable[..., Any],
        factory: OptimizerFactory,
        batch: Batch,
        *,
        evaluator: DetectionEvaluator,
        clip_gradient: float | None = 10.0,
        precision: Precision = "float32",
    ) -> None:
        self.detector = detector
        self.batch = batch
        self.evaluator = evaluator
        self.optimizer = build_optimizer(factory, detector)
        self.step = TrainStep(
            detector, run=detector, loss=loss, optimizer=self.optimizer, average=None, precision=precision,
            clip_gradient=clip_gradient,
        )  # fmt: skip

    @property
    def base_lr(self) -> float:
        """The optimizer's learning rate."""
        return float(self.optimizer.defaults["lr"])

    def learn(self, steps: int, *, deadline: Deadline) -> Learnt:
        """Train until the windows are known, the steps are done or the time is up; the learning rate rises for ten
        steps and then stays.

        Args:
            deadline: after it no update begins, but two are always made: the first one compiles kernels.
        """
        found = self._empty(steps)
        while not found.done and (found.steps < 2 or not deadline.over):
            self._update(found, min(1.0, (found.steps + 1) / WARM_UP), deadline)
            if not found.diverged and found.steps >= 2 * LOOK_EVERY and found.steps % LOOK_EVERY == 0:
                found.map50[found.steps] = self._map50()
        return found

    def go_on_at(self, factor: float, steps: int, *, deadline: Deadline, until_known: bool) -> Learnt:
        """Train on while the learning rate rises to ``factor`` times the optimizer's in ten steps and then stays.

        Args:
            until_known: end as soon as the windows are.
            deadline: after it no update begins.
        """
        found = self._empty(steps)
        while found.steps < steps and not found.diverged and not deadline.over:
            share = min(1.0, (found.steps + 1) / WARM_UP)
            self._update(found, 1.0 + (factor - 1.0) * share, deadline)
            if not found.diverged and (found.steps % LOOK_EVERY == 0 or found.steps == steps):
                found.map50[found.steps] = self._map50()
            if until_known and found.known:
                break
        return found

    def _empty(self, steps: int) -> Learnt:
        fixed = sum(4 * weight.numel() * weight.element_size() for weight in self.detector.parameters())
        return Learnt(steps, self.batch.frames.shape[1], fixed_bytes=fixed)

    def _update(self, found: Learnt, factor: float, deadline: Deadline) -> None:
        asked = deadline.clock()
        self.detector.train()
        if hasattr(self.optimizer, "train"):
            self.optimizer.train()
        self.step.set_factor(factor)
        total, _ = self.step.gradients(self.batch)
        self.step.clip()
        self.step.update()
        found.losses.append(float(total))
        found.seconds.append(deadline.clock() - asked)
        found.diverged = not math.isfinite(found.losses[-1])

    def _map50(self) -> float:
        """mAP50 of the last steps of the windows, with their own statistics: those that norms keep follow far more
        slowly than a hundred steps."""
        if hasattr(self.optimizer, "eval"):
            self.optimizer.eval()
        self.detector.train()
        with torch.no_grad():
            predictions = self.detector(self.batch.frames)
        height, width = self.batch.frames.shape[-2:]
        metrics = DetectionMetrics(classes=self.evaluator.classes)
        last, targets = self.batch.frames.shape[0] - 1, self.batch.targets
        for index, detections in enumerate(self.evaluator.decoder(predictions, frame_size=(height, width))):
            if bool(targets.supervised[last, index]):
                metrics.add(detections, truth_at(targets, batch_index=index, step=last))
        return float(metrics.compute()["map50"])
