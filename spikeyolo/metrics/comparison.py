"""Whether one detector is better than another: a paired bootstrap over recordings, and what seeds make.

Windows of one recording are not independent, so whole recordings are drawn. The interval is the percentile interval
widened for few recordings (Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 2015,
section 5.3: its levels are those at which a normal interval would have Student's width). Of very few recordings no
interval can judge: all n of them favour one of two equal detectors in 2^(1 - n) of all cases.

Where both sides have several seeds, these are chance too: Welch's interval of the means over seeds is joined with that
over recordings as independent ones are, each end by the root of the squared distances (Zou and Donner, "Construction of
confidence limits about effect measures", Statistics in Medicine 2008).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtr, stdtrit

from spikeyolo.detections import DetectionTable, GroundTruth, Looks
from spikeyolo.errors import ConfigError
from spikeyolo.metrics.coco import NAN
from spikeyolo.metrics.protocols import Protocol
from spikeyolo.metrics.resample import MeanPrecision, ResampledPrecision
from spikeyolo.metrics.score import judge

Verdict = Literal["better", "worse", "cannot be told"]


@dataclass(frozen=True)
class Comparison:
    """A difference and how sure it is.

    Attributes:
        metric: its name.
        first, second: the figures.
        difference: second − first.
        low, high: its interval; NaN with fewer than two recordings.
        over_recordings: the same with the seeds held fixed.
        confidence: of the interval.
        recordings: how many hold a true box of the metric's classes.
        verdict: of the second, held against the first.
    """

    metric: str
    first: float
    second: float
    difference: float
    low: float
    high: float
    over_recordings: tuple[float, float]
    confidence: float
    recordings: int
    verdict: Verdict

    def words(self) -> str:
        """The verdict, and how much there was to judge by where it is none."""
        if self.verdict != "cannot be told":
            return self.verdict
        needed = fewest_recordings(self.confidence)
        few = f" ({needed} are needed)" if self.recordings < needed else ""
        return f"cannot be told with {self.recordings} recording{'' if self.recordings == 1 else 's'}{few}"

    def sentence(self) -> str:
        """In words, as in ``better: map50 0.512 → 0.561, +0.049 [+0.021, +0.078] (95 %, 31 recordings)``."""
        interval = "" if math.isnan(self.low) else f" [{self.low:+.3f}, {self.high:+.3f}]"
        return (
            f"{self.words()}: {self.metric} {self.first:.3f} → {self.second:.3f}, {self.difference:+.3f}{interval} "
            f"({100 * self.confidence:g} %, {self.recordings} recordings)"
        )


def compare(
    first: DetectionTable,
    second: DetectionTable,
    truth: GroundTruth,
    protocol: Protocol,
    *,
    metric: str = "map50",
    frames: tuple[Looks | None, Looks | None] = (None, None),
    draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Compare two tables of detections of the same recordings.

    Args:
        first, second: detections.
        truth, protocol: as of :func:`spikeyolo.metrics.score`.
        metric: ``map``, ``map50``, ``map75``, ``ap/CLASS`` or ``ap50/CLASS``.
        frames: when each detector ran, as of :func:`spikeyolo.metrics.score`.
        draws: resamples of the recordings; with a few hundred the ends of the interval are too uncertain.
        confidence: of the interval.
        seed: of the draws.

    Raises:
        DetectionError, ConfigError: as of :func:`spikeyolo.metrics.score`, or there is no such metric.
    """
    before, after = (
        ResampledPrecision.of(judge(table, truth, protocol, frames=ran), metric)
        for table, ran in zip((first, second), frames)
    )
    return paired_difference(before, after, draws=draws, confidence=confidence, seed=seed)


def paired_difference(
    first: ResampledPrecision | MeanPrecision,
    second: ResampledPrecision | MeanPrecision,
    *,
    draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """The same from figures whose pairs are made; several detectors are compared without making them again.

    With fewer than :func:`fewest_recordings` the verdict is that it cannot be told, whatever the interval.

    Raises:
        ConfigError: they are of different metrics or recordings.
    """
    if (first.metric, first.recordings) != (second.metric, second.recordings):
        raise ConfigError(
            f"comparison: found {first.metric} of {len(first.recordings)} recordings and {second.metric} of "
            f"{len(second.recordings)}; expected the same metric and recordings"
        )
    count = len(first.recordings)
    figures = first.figure(), second.figure()
    difference = figures[1] - figures[0]
    low, high, telling = NAN, NAN, first.with_truth
    if telling > 1:
        rng = np.random.default_rng(seed)
        weights = rng.multinomial(count, np.full(count, 1 / count), draws)
        differences = second.figures(weights) - first.figures(weights)
        differences = differences[~np.isnan(differences)]  # no true box was drawn
        quantile = stdtrit(telling - 1, (1 + confidence) / 2) * math.sqrt(telling / (telling - 1))
        levels = ndtr(np.array([-quantile, quantile]))
        if len(differences):
            low, high = (float(value) for value in np.quantile(differences, levels))
    over_recordings = low, high
    half = _half_width_of_seeds(first.each(), second.each(), confidence)
    if half > 0:
        low = difference - math.hypot(max(difference - low, 0), half)
        high = difference + math.hypot(max(high - difference, 0), half)
    verdict: Verdict = "cannot be told"
    if telling >= fewest_recordings(confidence):
        verdict = "better" if low > 0 else "worse" if high < 0 else verdict
    return Comparison(first.metric, *figures, difference, low, high, over_recordings, confidence, telling, verdict)


def fewest_recordings(confidence: float) -> int:
    """From how many recordings on two equal detectors are told apart no more often than 1 - confidence even where any
    agreement of all recordings is taken for a difference: 6 at 95 %."""
    return next(count for count in itertools.count(2) if 2.0 ** (1 - count) <= 1 - confidence)


def _half_width_of_seeds(first: Sequence[float], second: Sequence[float], confidence: float) -> float:
    """Of Welch's interval of the difference of two means over seeds; 0 unless both have several."""
    if min(len(first), len(second)) < 2:
        return 0.0
    of_means = [float(np.var(each, ddof=1)) / len(each) for each in (first, second)]
    variance = sum(of_means)
    if not variance > 0:
        return 0.0
    degrees = variance**2 / sum(one**2 / (len(each) - 1) for one, each in zip(of_means, (first, second), strict=True))
    return float(stdtrit(degrees, (1 + confidence) / 2)) * math.sqrt(variance)
