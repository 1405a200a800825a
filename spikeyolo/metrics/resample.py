"""Average precision of any resample of recordings, from pairs that are made once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from spikeyolo.errors import ConfigError
from spikeyolo.metrics.coco import NAN
from spikeyolo.metrics.pairs import paired
from spikeyolo.metrics.score import Judged

_RECALLS = np.linspace(0, 1, 101)
IOUS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


@dataclass(frozen=True, eq=False)
class _OfClass:
    """Detections of one class, best first.

    Attributes:
        recording: ``[M]`` int64.
        right: ``[T, M]`` bool, whether it is paired with a true box, at each IoU.
        truths: ``[R]`` int64, true boxes of each recording.
    """

    recording: npt.NDArray[np.int64]
    right: npt.NDArray[np.bool_]
    truths: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ResampledPrecision:
    """One figure of mean average precision, for any weights of recordings.

    COCO's matching looks at one image at a time, so it is run once; a recording that a resample draws twice counts
    twice, as if it were there twice.

    Attributes:
        metric: ``map``, ``map50``, ``map75``, ``ap/CLASS`` or ``ap50/CLASS``.
        recordings: names of those with a look.
    """

    metric: str
    recordings: tuple[str, ...]
    _classes: tuple[_OfClass, ...]

    @classmethod
    def of(cls, judged: Judged, metric: str) -> ResampledPrecision:
        """Pair the boxes that count.

        Raises:
            ConfigError: there is no such metric, or no such class.
        """
        ious, chosen = _wanted(metric, judged.classes)
        truth, found = judged.truth, judged.found
        pairs, looked_at = paired(
            (truth.image, truth.class_id, truth.xywh),
            (found.image, found.class_id, found.xywh),
            found.score,
            ious=ious,
            max_detections=judged.max_detections,
        )
        right = np.zeros((len(ious), len(found)), np.bool_)
        for marked, of_truth in zip(right, pairs, strict=True):
            marked[of_truth[of_truth >= 0]] = True
        present, image_recording = np.unique(judged.image_recording, return_inverse=True)
        names = tuple(judged.recordings[i] for i in present)
        classes = []
        for k in chosen:
            truths = np.bincount(image_recording[truth.image[truth.class_id == k]], minlength=len(names))
            rows = np.flatnonzero(looked_at & (found.class_id == k))
            rows = rows[
                np.lexsort((found.image[rows], -found.score[rows]))
            ]  # of equal scores the first image's, as COCO
            classes.append(_OfClass(image_recording[found.image[rows]], right[:, rows], truths))
        return cls(metric, names, tuple(classes))

    def figures(self, weights: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """``[D]``, the metric of each resample, in which recording r is there ``weights[d, r]`` times (``[D, R]``
        int64); NaN where no true box is left."""
        total, defined = np.zeros(len(weights)), np.zeros(len(weights), np.int64)
        for of_class in self._classes:
            truths = weights @ of_class.truths
            defined += truths > 0
            right = [np.bincount(of_class.recording[row], minlength=weights.shape[1]) for row in of_class.right]
            every = np.bincount(of_class.recording, minlength=weights.shape[1])
            true = weights @ np.stack(right, axis=1)
            false = (weights @ every)[:, None] - true
            total += _average_precisions(weights, of_class.recording, of_class.right, truths, true, false)
        return np.where(defined > 0, total / np.maximum(defined, 1), NAN)

    def figure(self) -> float:
        """The metric over all recordings."""
        return float(self.figures(np.ones((1, len(self.recordings)), np.int64))[0])

    def each(self) -> list[float]:
        """The same, as that of the one member of :class:`MeanPrecision`."""
        return [self.figure()]

    @property
    def with_truth(self) -> int:
        """How many recordings hold a true box of the classes."""
        return int(np.any([of_class.truths > 0 for of_class in self._classes], axis=0).sum())


class MeanPrecision:
    """The mean over several detectors of one kind, as those of several seeds; recordings are drawn for all at once.

    Args:
        members: at least one, of one metric and the same recordings.

    Raises:
        ConfigError: they are of different metrics or recordings.
    """

    def __init__(self, members: Sequence[ResampledPrecision]) -> None:
        for member in members:
            if (member.metric, member.recordings) != (members[0].metric, members[0].recordings):
                raise ConfigError(
                    f"comparison: found {members[0].metric} of {len(members[0].recordings)} recordings and "
                    f"{member.metric} of {len(member.recordings)}; expected the same metric and recordings"
                )
        self.members = tuple(members)
        self.metric = members[0].metric
        self.recordings = members[0].recordings
        self.with_truth = members[0].with_truth

    def figures(self, weights: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """As of :meth:`ResampledPrecision.figures`."""
        mean: npt.NDArray[np.float64] = np.mean([member.figures(weights) for member in self.members], axis=0)
        return mean

    def figure(self) -> float:
        """The mean over all recordings."""
        return float(np.mean(self.each()))

    def each(self) -> list[float]:
        """The figure of every member."""
        return [member.figure() for member in self.members]


def _wanted(metric: str, classes: Sequence[str]) -> tuple[Sequence[float], list[int]]:
    """The IoU thresholds and the classes that a metric is the mean over."""
    kind, _, name = metric.partition("/")
    ious = {"map": IOUS, "ap": IOUS, "map50": IOUS[:1], "ap50": IOUS[:1], "map75": IOUS[5:6]}.get(kind)
    fits = name in classes if kind in ("ap", "ap50") else not name
    if ious is None or not fits:
        ap = ", ".join(f"ap50/{each}" for each in classes)
        raise ConfigError(f"metric: found {metric!r}; expected map, map50, map75, ap/CLASS or ap50/CLASS ({ap})")
    return ious, [list(classes).index(name)] if name else list(range(len(classes)))


@numba.njit(cache=True, nogil=True)
def _average_precisions(
    weights: npt.NDArray[np.int64],
    recording: npt.NDArray[np.int64],
    right: npt.NDArray[np.bool_],
    truths: npt.NDArray[np.int64],
    all_true: npt.NDArray[np.int64],
    all_false: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    """``[D]``, COCO's average precision over 101 recalls, mean over the rows of ``right``, 0 without true boxes.

    Goes from the last detection back: at each recall stands the greatest precision of all that follows, and only right
    detections raise either. ``all_true`` and ``all_false`` (``[D, T]``) are the sums of all detections' weights.
    """
    values = np.zeros(len(weights))
    for draw in range(len(weights)):
        if truths[draw] == 0:
            continue
        for row in range(right.shape[0]):
            true, false = all_true[draw, row], all_false[draw, row]
            greatest, level = 0.0, 100
            for i in range(len(recording) - 1, -1, -1):
                weight = weights[draw, recording[i]]
                if not right[row, i]:
                    false -= weight
                elif weight > 0:
                    recall = true / truths[draw]
                    while level >= 0 and recall < _RECALLS[level]:
                        values[draw] += greatest
                        level -= 1
                    greatest = max(greatest, true / (true + false))
                    true -= weight
            values[draw] += greatest * (level + 1)
    values /= 101 * right.shape[0]
    return values
