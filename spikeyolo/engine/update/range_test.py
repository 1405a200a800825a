"""A learning rate found by trying: it rises from update to update, and the loss shows which rates teach."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from spikeyolo.engine.update.parts import train_mode
from spikeyolo.engine.update.step import TrainStep
from spikeyolo.errors import TrainingError
from spikeyolo.windows.batch import Batch

LOWEST, HIGHEST = 1e-6, 1.0
UPDATES = 100
_SMOOTHING = 0.9  # share of the mean that stays
_DIVERGED = 4.0  # a mean so many times the least one ends the test
_BEGINNING = 10  # updates whose mean is still made of few losses


@dataclass(frozen=True)
class RangeTest:
    """Losses over rising learning rates (arXiv 1506.01186, section 3.3).

    Attributes:
        rates: of the updates, ascending, each the last by the same factor.
        losses: running mean of the loss at each of them.
        fastest: where the loss fell fastest over the logarithm of the rate: a rate for ``optimizer.lr``.
        least: where the loss was least: beyond it the rate is too high.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    fastest: float
    least: float


def range_test(step: TrainStep, batches: Iterable[Batch], *, base_lr: float, updates: int = UPDATES) -> RangeTest:
    """Train ``step``'s module over rising rates, from 1e-6 to 1, until the loss grows; the module is spent afterwards.

    Args:
        step: at its start.
        batches: as many as the updates are made of, or more; on the module's device.
        base_lr: the optimizer's learning rate, of which groups may have a multiple.
        updates: between the lowest and the highest rate.

    Raises:
        TrainingError: the loss fell at no rate, so that none was found.
    """
    train_mode(step.module)
    rates: list[float] = []
    losses: list[float] = []
    mean = 0.0
    given = iter(batches)
    for number in range(updates):
        rate = LOWEST * (HIGHEST / LOWEST) ** (number / max(1, updates - 1))
        step.set_factor(rate / base_lr)
        parts = []  # an update is of as many batches as in a training, and so is its loss
        for batch in given:
            loss, _ = step.gradients(batch)
            parts.append(float(loss))
            if step.is_due(last=False):
                break
        if not parts:
            break
        step.clip()
        step.update()
        value = sum(parts) / len(parts)
        mean = _SMOOTHING * mean + (1.0 - _SMOOTHING) * value
        smooth = mean / (1.0 - _SMOOTHING ** (number + 1))
        if not math.isfinite(value):
            break
        rates.append(rate)
        losses.append(smooth)
        if smooth > _DIVERGED * min(losses):
            break
    return _read(rates, losses)


def _read(rates: list[float], losses: list[float]) -> RangeTest:
    first = min(_BEGINNING, len(losses) // 4)
    least = min(range(first, len(losses)), key=losses.__getitem__, default=0)
    # Rates are equally far apart in their logarithm, so differences over three of them are slopes.
    slopes = {at: losses[at + 1] - losses[at - 1] for at in range(max(1, first), least)}
    fastest = min(slopes, key=slopes.__getitem__, default=None)
    if fastest is None or slopes[fastest] >= 0.0:
        raise TrainingError(
            f"trainer.range_test: the loss fell at no learning rate between {LOWEST:g} and {HIGHEST:g}, in "
            f"{len(losses)} updates; expected data and a network that can be trained"
        )
    return RangeTest(tuple(rates), tuple(losses), rates[fastest], rates[least])
