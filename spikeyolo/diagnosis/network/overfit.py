"""Whether a network can learn a few windows by heart: what cannot do that learns nothing from a whole set either."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from spikeyolo.diagnosis.deadline import Deadline
from spikeyolo.diagnosis.finding import Finding, Section
from spikeyolo.diagnosis.machine.usage import Usage, watched
from spikeyolo.diagnosis.network import mends
from spikeyolo.diagnosis.settings import Settings
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
REFERENCE_LR = 0.002
REFERENCE = partial(AdamW, lr=REFERENCE_LR)  # what learns a few windows, if anything does
REFERENCE_WORDS = ("optimizer=adamw", f"optimizer.lr={REFERENCE_LR:g}")


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
    deadline: Deadline,
    clip_gradient: float | None = 10.0,
    precision: Precision = "float32",
) -> Learnt:
    """Train a network on one batch until it knows it, the steps are done or the time is up; the network changes.

    Args:
        factory: builds the optimizer; its learning rate rises for ten steps and then stays.
        evaluator: of the same windows.
        deadline: after it no update begins, but two are always made: the first one compiles kernels.
    """
    optimizer = build_optimizer(factory, detector)
    step = TrainStep(
        detector, run=detector, loss=loss, optimizer=optimizer, average=None, precision=precision,
        clip_gradient=clip_gradient,
    )  # fmt: skip
    found = Learnt(
        steps, batch.frames.shape[1], fixed_bytes=sum(4 * p.numel() * p.element_size() for p in detector.parameters())
    )
    while not found.done and (found.steps < 2 or not deadline.over):
        asked = deadline.clock()
        detector.train()
        if hasattr(optimizer, "train"):
            optimizer.train()
        step.set_factor(min(1.0, (found.steps + 1) / _WARM_UP))
        total, _ = step.gradients(batch)
        step.clip()
        step.update()
        found.losses.append(float(total))
        found.seconds.append(deadline.clock() - asked)
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
    deadline: Deadline,
    clip_gradient: float | None,
    precision: Precision,
    settings: Settings | None = None,
) -> Learnt:
    """Let a new network learn a few windows with the configured optimizer, and where it does not, with another one, to
    tell whether the learning rate is to blame. Facts and findings go into ``section``.

    Args:
        seconds: that the first one may take, s.
        deadline: of both together.
        settings: the configuration; None knows nothing of it.
    """
    settings = settings or Settings()
    count = batch.frames.shape[1]
    windows = "one window" if count == 1 else f"{count} windows"
    verb = "is" if count == 1 else "are"
    asked: dict[str, Any] = {
        "evaluator": evaluator,
        "steps": steps,
        "clip_gradient": clip_gradient,
        "precision": precision,
    }
    with watched(batch.frames.device) as usage:
        found = learn_by_heart(build(), loss, factory, batch, deadline=deadline.part(seconds), **asked)
    found.usage = usage
    words = f"mAP50 {found.best:.3f} after {found.steps} steps" if found.map50 else f"{found.steps} steps"
    if found.losses:
        words += f", loss {found.losses[0]:.3g} → {found.losses[-1]:.3g}"
    section.facts.append((f"{windows} by heart", words))
    section.pictures["overfit"] = lambda path: draw_curve(
        path, range(1, found.steps + 1), [("loss", found.losses)], xlabel="step", title=f"{windows}: {words}"
    )
    if found.best >= LEARNT and not found.diverged:
        return found
    if found.done and not found.diverged and not found.map50:
        section.unknown.append(
            f"whether {windows} {verb} learnt: overfit_steps={steps} are fewer than the {2 * _LOOK_EVERY} after which "
            "that is looked at"
        )
        return found
    if found.done and not found.diverged and found.best >= UNLEARNT:
        section.unknown.append(f"whether {windows} {verb} learnt wholly: {words} (overfit_steps=… gives it more)")
        return found
    if not found.done:
        section.unknown.append(
            f"whether {windows} {verb} learnt in {steps} steps: {found.steps} took {sum(found.seconds):.0f} s "
            "(overfit_seconds=… gives it longer)"
        )
        return found
    if deadline.over:
        section.unknown.append(f"why {windows} {verb} not learnt ({words}): the time was up")
        return found
    other = learn_by_heart(build(), loss, REFERENCE, batch, deadline=deadline, **asked)

    def draw(path: Any) -> Any:
        curves = [("as configured", found.losses), (" ".join(REFERENCE_WORDS), other.losses)]
        most = max(found.steps, other.steps)
        return draw_curve(path, range(1, most + 1), curves, xlabel="step", title=f"loss of {windows}")

    evidence = (
        ("as configured", words),
        (" ".join(REFERENCE_WORDS), f"mAP50 {other.best:.3f} after {other.steps} steps"),
    )
    if other.best >= LEARNT:
        section.findings.append(
            Finding(
                "learning_rate",
                ("the loss is not finite" if found.diverged else f"{windows} {verb} not learnt ({words})")
                + f"; with {' '.join(REFERENCE_WORDS)} it works (mAP50 {other.best:.2f}): the learning rate or the "
                "optimizer is to blame",
                overrides=mends.another_optimizer(settings, REFERENCE_WORDS, REFERENCE_LR),
                evidence=evidence,
                draw=draw,
            )
        )
    elif not other.done or other.best >= UNLEARNT:
        section.unknown.append(f"why {windows} {verb} not learnt ({words}): the time was too short to tell")
    else:
        section.findings.append(
            Finding(
                "overfit",
                f"{windows} {verb} not learnt by heart in {steps} steps ({words}), with whatever optimizer",
                remedy="look at the findings before this one; else the network is too small or its frames too coarse",
                overrides=mends.more_able(settings),
                evidence=evidence,
                draw=draw,
            )
        )
    return found
