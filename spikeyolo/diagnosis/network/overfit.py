"""Whether a network can learn a few windows by heart: what cannot do that learns nothing from a whole set either."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from spikeyolo.diagnosis.deadline import Deadline
from spikeyolo.diagnosis.finding import Draw, Finding, Section
from spikeyolo.diagnosis.machine.usage import watched
from spikeyolo.diagnosis.network import mends
from spikeyolo.diagnosis.network.by_heart import LEARNT, LOOK_EVERY, ByHeart, Learnt
from spikeyolo.diagnosis.settings import Settings
from spikeyolo.engine.device import Precision
from spikeyolo.engine.evaluator import DetectionEvaluator
from spikeyolo.engine.update.optimizer import AdamW, OptimizerFactory
from spikeyolo.engine.update.schedule import Schedule
from spikeyolo.report.pictures.diagnosis import draw_curve
from spikeyolo.windows.batch import Batch

UNLEARNT = 0.5  # mAP50 below which it is a fault; up to LEARNT, a hundred steps were too few to tell
AT_PEAK = 40  # steps at the schedule's highest learning rate, those in which it rises among them
REFERENCE_LR = 0.002
REFERENCE = partial(AdamW, lr=REFERENCE_LR)  # what learns a few windows, if anything does
REFERENCE_WORDS = ("optimizer=adamw", f"optimizer.lr={REFERENCE_LR:g}")


@dataclass(frozen=True, eq=False)
class _Said:
    """What sentences, facts and pictures are made of."""

    windows: str
    verb: str
    words: str


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
    schedule: Schedule | None = None,
    max_epochs: int = 1,
    settings: Settings | None = None,
) -> Learnt:
    """Let a new network learn a few windows with the configured optimizer, then go on at the highest learning rate of
    the schedule; where that does not learn them, with another optimizer, to tell whether the learning rate is to blame.
    Facts and findings go into ``section``.

    Args:
        seconds: that learning at the optimizer's learning rate may take, s.
        deadline: of everything together.
        schedule: of the learning rate; None: it is the optimizer's throughout.
        max_epochs: of the training.
        settings: the configuration; None knows nothing of it.
    """
    settings = settings or Settings()
    count = batch.frames.shape[1]
    windows, verb = ("one window", "is") if count == 1 else (f"{count} windows", "are")

    def student(factory: OptimizerFactory) -> ByHeart:
        return ByHeart(
            build(), loss, factory, batch, evaluator=evaluator, clip_gradient=clip_gradient, precision=precision
        )

    with watched(batch.frames.device) as usage:
        first = student(factory)
        found = first.learn(steps, deadline=deadline.part(seconds))
    found.usage = usage
    words = f"mAP50 {found.best:.3f} after {found.steps} steps" if found.map50 else f"{found.steps} steps"
    if found.losses:
        words += f", loss {found.losses[0]:.3g} → {found.losses[-1]:.3g}"
    said = _Said(windows, verb, words)
    section.facts.append((f"{windows} by heart", words))
    section.pictures["overfit"] = _curves(said, [("loss", found.losses)], title=f"{windows}: {words}")
    peak = 1.0 if schedule is None else schedule.peak(base_lr=first.base_lr, max_epochs=max_epochs)
    tried = found.known or (found.done and not found.diverged and bool(found.map50))
    if peak > 1.0 and tried and _at_peak(first, found, peak, section, said, settings, steps, deadline):
        return found
    if found.known:
        return found
    if found.done and not found.diverged and not found.map50:
        section.unknown.append(
            f"whether {windows} {verb} learnt: overfit_steps={steps} are fewer than the {2 * LOOK_EVERY} after which "
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
    other = student(REFERENCE).learn(steps, deadline=deadline)
    curves = [("as configured", found.losses), (" ".join(REFERENCE_WORDS), other.losses)]
    draw = _curves(said, curves)
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


def _at_peak(
    student: ByHeart,
    found: Learnt,
    factor: float,
    section: Section,
    said: _Said,
    settings: Settings,
    steps: int,
    deadline: Deadline,
) -> bool:
    """Go on at the highest learning rate of the schedule: a network that knows the windows has to keep them, and one
    that learnt too slowly gets another chance. Returns whether nothing is left to be asked."""
    peak = factor * student.base_lr
    most = AT_PEAK if found.known else steps
    then = student.go_on_at(factor, most, deadline=deadline, until_known=not found.known)
    over = then.diverged or then.steps == most or (then.known and not found.known)
    if not over and found.known:
        section.unknown.append(
            f"whether {said.windows} {said.verb} kept at the schedule's highest learning rate: the time was up"
        )
    if not over:
        return found.known
    words = "the loss is not finite" if then.diverged else f"mAP50 {then.last:.3f} after {then.steps} steps more"
    section.facts.append((f"at the schedule's highest learning rate, {peak:.3g}", words))
    if not found.known or then.last >= UNLEARNT:
        return then.known or found.known
    section.findings.append(
        Finding(
            "learning_rate",
            f"{said.windows} {said.verb} learnt at optimizer.lr={student.base_lr:g} ({said.words}) and lost again at "
            f"the schedule's highest learning rate, {peak:.3g} ({words}): it is too high",
            remedy="trainer.range_test=true finds how high it may be",
            overrides=mends.lower_peak(settings, student.base_lr),
            evidence=((f"at {student.base_lr:g}", said.words), (f"at {peak:.3g}", words)),
            draw=_curves(said, [("loss", found.losses + then.losses)]),
        )
    )
    return True


def _curves(said: _Said, curves: list[tuple[str, list[float]]], *, title: str = "") -> Draw:
    def draw(path: Path) -> Path:
        most = max(len(losses) for _, losses in curves)
        return draw_curve(path, range(1, most + 1), curves, xlabel="step", title=title or f"loss of {said.windows}")

    return draw
