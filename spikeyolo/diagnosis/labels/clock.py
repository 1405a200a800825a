"""By how much the clock of the labels is off that of the events.

Where boxes fit their objects, most events lie inside them, and those of a moving object's edges leave its box as soon
as the box comes too early or too late. The density ratio over the shift of the labels has a flat top, decided by few
events, and steep flanks, decided by many: the shift is taken from the middle between the flanks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spikeyolo.diagnosis.deadline import Deadline
from spikeyolo.diagnosis.labels.density import Change, Density, Stretch, density
from spikeyolo.diagnosis.labels.stretches import SHIFT_US

COVERED = 0.6  # share of bins that must be labelled under a shift, of the most under any
SLOWEST_US = 200_000  # objects that take longer to cross their size are looked for as if they did not
_LEVELS = (0.5, 0.6, 0.7, 0.8)  # of the top's height over the base, at which the flanks are taken
_GAIN = 1.1  # the ratio must grow by as much for a shift to be believed
_APART = 0.35  # and the shift be as large, as a share of half the width between the flanks


@dataclass(frozen=True, eq=False)
class ClockCheck:
    """The density ratio over shifts of the labels.

    Attributes:
        shift_us: ``[S]``, what is added to label times, µs, ascending; fine around the best, coarse elsewhere.
        ratio: ``[S]``.
        best_us: the shift that aligns labels and events.
        now, best: ratio without a shift and at its largest.
        width_us: between the flanks, µs.
        reach_us: no larger shift was tried, µs.
        whole: whether all shifts were tried that were to be.
    """

    shift_us: npt.NDArray[np.float64]
    ratio: npt.NDArray[np.float64]
    best_us: float
    now: float
    best: float
    width_us: float
    reach_us: float
    whole: bool

    @property
    def off(self) -> bool:
        """Whether the labels are off by more than they are drawn loosely."""
        return self.best >= _GAIN * self.now and abs(self.best_us) >= _APART * self.width_us / 2


def check_clock(
    stretches: Sequence[Stretch],
    *,
    crossing_us: float | None,
    change: Change | None = None,
    deadline: Deadline | None = None,
) -> ClockCheck:
    """Look for the shift within ± 3 s, coarsely and then finely.

    Args:
        crossing_us: time in which objects move by their own size, µs.
        change: of the boxes; None leaves them.
        deadline: until when larger and larger shifts are tried; None tries all.
    """
    bin_us = stretches[0].bin_us
    crossing = min(SLOWEST_US if crossing_us is None else max(crossing_us, 4.0 * bin_us), SLOWEST_US)

    def step(length: float) -> int:
        return max(round(length / bin_us), 1) * bin_us

    coarse = step(crossing / 4)
    most = SHIFT_US // coarse
    shifts = coarse * np.arange(-most, most + 1, dtype=np.float64)
    outwards = np.argsort(np.abs(shifts), kind="stable")
    tried: dict[int, Density] = {}
    for index in outwards.tolist():
        if tried and deadline is not None and deadline.over:
            break
        tried[index] = density(stretches, shift_us=float(shifts[index]), change=change)
    whole = len(tried) == len(shifts)
    shifts = shifts[sorted(tried)]
    found = [tried[index] for index in sorted(tried)]
    bins = np.array([one.bins for one in found])
    told = np.array([one.information * one.events for one in found])
    told[bins < COVERED * bins.max()] = -np.inf
    centre = float(shifts[int(np.argmax(told))])
    fine = step(crossing / 40)
    reach = round(2 * crossing / fine)
    near = centre + fine * np.arange(-reach, reach + 1, dtype=np.float64)
    near_ratio = np.array([density(stretches, shift_us=shift, change=change).ratio for shift in near])
    ratio = np.array([one.ratio if count else np.nan for one, count in zip(found, bins)])
    base = float(np.nanmedian(ratio)) if np.isfinite(ratio).any() else 0.0
    best_us, width_us = _middle(near, near_ratio, base)
    if width_us >= 1.5 * reach * fine:  # no flanks: the top is all there is
        best_us = 0.0 if near[0] <= 0 <= near[-1] else best_us
    far = (shifts < near[0]) | (shifts > near[-1])
    every, values = np.concatenate([shifts[far], near]), np.concatenate([ratio[far], near_ratio])
    order = np.argsort(every)
    return ClockCheck(
        shift_us=every[order],
        ratio=values[order],
        best_us=best_us,
        now=density(stretches, change=change).ratio,
        best=float(near_ratio.max()),
        width_us=width_us,
        reach_us=max(float(np.abs(shifts).max()), min(-float(near[0]), float(near[-1]))),
        whole=whole,
    )


def _middle(shifts: npt.NDArray[np.float64], ratio: npt.NDArray[np.float64], base: float) -> tuple[float, float]:
    """The mean middle between the flanks at some levels, and the mean width; where there are none, the top and all."""
    top = int(ratio.argmax())
    middles, widths = [], []
    for level in _LEVELS:
        height = base + level * (ratio[top] - base)
        low, high = top, top
        while low > 0 and ratio[low] > height:
            low -= 1
        while high < len(ratio) - 1 and ratio[high] > height:
            high += 1
        if ratio[low] > height or ratio[high] > height or low == top or high == top:
            continue
        left = np.interp(height, ratio[[low, low + 1]], shifts[[low, low + 1]])
        right = np.interp(-height, -ratio[[high - 1, high]], shifts[[high - 1, high]])
        middles.append((left + right) / 2)
        widths.append(right - left)
    if not middles:
        return float(shifts[top]), float(shifts[-1] - shifts[0])
    return float(np.mean(middles)), float(np.mean(widths))
