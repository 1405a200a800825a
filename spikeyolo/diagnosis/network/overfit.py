"""Whether a network can learn eight windows by heart: what cannot do that learns nothing from a whole set either."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from spikeyolo.diagnosis.finding import Finding, Section
from spikeyolo.engine.device import Precision
from spikeyolo.engine.evaluator import DetectionEvaluator, truth_at
from spikeyolo.engine.update.optimizer import AdamW, OptimizerFactory, build_optimizer
from spikeyolo.engine.update.step import TrainStep
from spikeyolo.metrics.detection import DetectionMetrics
from spikeyolo.report.pictures.diagnosis import draw_curve
from spikeyolo.windows.batch import Batch

LEARNT = 0.9  # mAP50 on windows that were learnt by heart
UNLEARNT = 0.5  # below this it is a fault; in between, a hundred steps were too few to tell
_WARM_UP = 10  # steps of rising learning rate
_LOOK_EVERY = 25  # steps
REFERENCE = partial(AdamW, lr=0.002)  # what learns eight windows, if anything does
REFERENCE_WORDS = ("optimizer=adamw", "optimizer.lr=0.002")


@dataclass(eq=False)
class Learnt:
    """How it went.

    Attributes:
        steps: updates that were made; ``asked`` for.
        losses: of every step.
        map50: step → mAP50 of the eight windows.
        seconds: of every step.
        diverged: whether the loss was not finite at last.
    """

    asked: int
    losses: list[float] = field(default_factory=list)
    map50: dict[int, float] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    diverged: bool = False

    @property
    def steps(self) -> int:
        return len(self.losses)

    @property
    def best(self) -> float:
        return max((value for value in self.map50.values() if math.isfinite(value)), default=0.0)

    @property
    def done(self) -> bool:
        """Whether all was tried, or there is nothing left to try."""
        return self.diverged or self.best >= LEARNT or self.steps >= self.asked

    @property
    def step_s(self) -> float | None:
        """Median time of a step but for the first, which compiles kernels, s."""
        later = sorted(self.seconds[1:] or self.seconds)
        return later[len(later) // 2] if later else None


def learn_by_heart(
    detector: nn.Module,
    loss: Callable[..., Any],
    factory: OptimizerFactory,
    batch: Batch,
    *,
    evaluator: DetectionEvaluator,
    steps: int,
    seconds: float,
    clip_gradient: float | None = 10.0,
    precision: Precision = "float32",
) -> Learnt:
    """Train a network on one batch until it knows it, the steps are done or the time is up; the network changes.

    Args:
        factory: builds the optimizer; its learning rate rises for ten steps and then stays.
        evaluator: of the same windows.
    """
    optimizer = build_optimizer(factory, detector)
    step = TrainStep(
        detector, run=detector, loss=loss, optimizer=optimizer, average=None, precision=precision,
        clip_gradient=clip_gradient,
    )  # fmt: skip
    found = Learnt(steps)
    began = time.monotonic()
    while not found.done and (time.monotonic() - began < seconds or found.steps < 2):
        asked = time.monotonic()
        detector.train()
        if hasattr(optimizer, "train"):
            optimizer.train()
        step.set_factor(min(1.0, (found.steps + 1) / _WARM_UP))
        total, _ = step.gradients(batch)
        step.clip()
        step.update()
        found.losses.append(float(total))
        found.seconds.append(time.monotonic() - asked)
        found.diverged = not math.isfinite(found.losses[-1])
        if not found.diverged and found.steps >= 2 * _LOOK_EVERY and found.steps % _LOOK_EVERY == 0:
            if hasattr(optimizer, "eval"):
                optimizer.eval()
            found.map50[found.steps] = _known_by_heart(detector, evaluator, batch)
    return found


def _known_by_heart(detector: nn.Module, evaluator: DetectionEvaluator, batch: Batch) -> float:
    """mAP50 of the last steps of the windows that were learnt, with their own statistics: those that norms keep follow
    far more slowly than a hundred steps."""
    detector.train()
    with torch.no_grad():
        predictions = detector(batch.frames)
    height, width = batch.frames.shape[-2:]
    metrics = DetectionMetrics(classes=evaluator.classes)
    last = batch.frames.shape[0] - 1
    for index, detections in enumerate(evaluator.decoder(predictions, frame_size=(height, width))):
        if bool(batch.targets.supervised[last, index]):
            metrics.add(detections, truth_at(batch.targets, batch_index=index, step=last))
    return float(metrics.compute()["map50"])


def check_overfit(
    build: Callable[[], nn.Module],
    loss: Callable[..., Any],
    factory: OptimizerFactory,
    batch: Batch,
    section: Section,
    *,
    evaluator: DetectionEvaluator,
    steps: int,
    seconds: float,
    clip_gradient: float | None,
    precision: Precision,
) -> Learnt:
    """Let a new network learn eight windows with the configured optimizer, and where it does not, with another one, to
    tell whether the learning rate is to blame. Facts and findings go into ``section``."""
    asked: dict[str, Any] = {
        "evaluator": evaluator,
        "steps": steps,
        "clip_gradient": clip_gradient,
        "precision": precision,
    }
    found = learn_by_heart(build(), loss, factory, batch, seconds=seconds, **asked)
    words = f"mAP50 {found.best:.3f} after {found.steps} steps"
    if found.losses:
        words += f", loss {found.losses[0]:.3g} → {found.losses[-1]:.3g}"
    section.facts.append(("eight windows by heart", words))
    section.pictures["overfit"] = lambda path: draw_curve(
        path, range(1, found.steps + 1), [("loss", found.losses)], xlabel="step", title=f"eight windows: {words}"
    )
    if found.best >= LEARNT and not found.diverged:
        return found
    if found.done and not found.diverged and found.best >= UNLEARNT:
        section.unknown.append(f"whether eight windows are learnt wholly: {words} (overfit_steps=… gives it more)")
        return found
    if not found.done:
        section.unknown.append(
            f"whether eight windows are learnt in {steps} steps: {found.steps} took {seconds:g} s "
            "(overfit_seconds=… gives it longer)"
        )
        return found
    other = learn_by_heart(build(), loss, REFERENCE, batch, seconds=seconds, **asked)

    def draw(path: Any) -> Any:
        curves = [("as configured", found.losses), (" ".join(REFERENCE_WORDS), other.losses)]
        most = max(found.steps, other.steps)
        return draw_curve(path, range(1, most + 1), curves, xlabel="step", title="loss of eight windows")

    evidence = (
        ("as configured", words),
        (" ".join(REFERENCE_WORDS), f"mAP50 {other.best:.3f} after {other.steps} steps"),
    )
    if other.best >= LEARNT:
        section.findings.append(
            Finding(
                "learning_rate",
                ("the loss is not finite" if found.diverged else f"eight windows are not learnt ({words})")
                + f", but they are with {' '.join(REFERENCE_WORDS)} (mAP50 {other.best:.2f}): the learning rate or the "
                "optimizer is to blame",
                overrides=REFERENCE_WORDS,
                evidence=evidence,
                draw=draw,
            )
        )
    elif not other.done or other.best >= UNLEARNT:
        section.unknown.append(f"why eight windows are not learnt ({words}): the time was too short to tell")
    else:
        section.findings.append(
            Finding(
                "overfit",
                f"eight windows are not learnt by heart in {steps} steps ({words}), with whatever optimizer",
                remedy="look at the findings before this one; else the network is too small or its frames too coarse",
                overrides=("model=n", "loss.focal_gamma=1.0"),
                evidence=evidence,
                draw=draw,
            )
        )
    return found
