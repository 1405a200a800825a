"""Where detections in whole recordings are scored: at the labels, and as often where annotators found nothing; where a
label file lists looks, at those.

Steps of a part are counted from its start, in slices of one length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from spikeyolo.windows import slicing
from spikeyolo.windows.matching import BoxMatcher, Times
from spikeyolo.windows.serving.shared import SharedColumns

if TYPE_CHECKING:
    from spikeyolo.windows.parts import Part

_NO_LABEL = -1  # µs


def whole_steps(part: Part, slice_us: int) -> int:
    """Slices that lie wholly in a part."""
    return int((part.end_us - part.start_us) // slice_us)


def labelled_steps(part: Part, slice_us: int) -> tuple[Times, Times]:
    """Steps at which a part's labels are scored, the last ones that ended by their times, and the time of each, µs; of
    several labels in one step the last."""
    times = slicing.distinct(part.inside.t)
    if part.labels_from_us is not None:
        times = times[times >= part.labels_from_us]
    steps = _ended_by(part, times, slice_us)
    last = np.append(steps[1:] > steps[:-1], True)[: len(steps)] & (steps >= 0)
    return steps[last], times[last]


def empty_spans(part: Part, matcher: BoxMatcher, index: int, *, negative_share: float) -> list[tuple[int, int]]:
    """Begin and end, µs, of stretches of a labelled part in which annotators found nothing; none with
    ``negative_share=0``, or where the usual time between labels is not known."""
    if part.boxes is None or not matcher.interval_us or not negative_share:
        return []
    return matcher.empty_stretches(index, start_us=_known_from(part), end_us=part.end_us, gap_us=matcher.near_us(index))


def empty_looks(part: Part, matcher: BoxMatcher, index: int, *, negative_share: float) -> Times:
    """Times of a labelled part at which its label file lists a look that shows nothing, µs; none with
    ``negative_share=0``."""
    looks = matcher.empty_looks(index, start_us=_known_from(part), end_us=part.end_us)
    return looks if part.boxes is not None and negative_share else looks[:0]


def empty_steps(part: Part, matcher: BoxMatcher, index: int, slice_us: int, *, negative_share: float) -> Times:
    """Steps of a labelled part in stretches without any label, one an interval between labels; where looks are listed,
    the last ones that ended by those that show nothing."""
    stride = max(round(matcher.interval_us / slice_us), 1)
    ends = [
        np.arange(max(-(-(begin - part.start_us) // slice_us), 1), (end - part.start_us) // slice_us + 1, stride)
        for begin, end in empty_spans(part, matcher, index, negative_share=negative_share)
    ]
    seen = _ended_by(part, empty_looks(part, matcher, index, negative_share=negative_share), slice_us)
    return np.concatenate([*(steps - 1 for steps in ends), seen[seen >= 0]])


def _ended_by(part: Part, times: Times, slice_us: int) -> Times:
    """The last whole step of a part that ended by each time, µs; -1 where none had."""
    return np.minimum((times - part.start_us) // slice_us, whole_steps(part, slice_us)) - 1


def _known_from(part: Part) -> int:
    return part.start_us if part.labels_from_us is None else max(part.start_us, part.labels_from_us)


class ScoredSteps:
    """The scored steps of all parts, in columns that workers share.

    Args:
        parts: of one role.
        matcher: of their labels.
        slice_us: length of a step.
        negative_share: 0 scores nothing in stretches without labels.
    """

    def __init__(self, parts: Sequence[Part], matcher: BoxMatcher, *, slice_us: int, negative_share: float) -> None:
        steps, times = [], []
        for index, part in enumerate(parts):
            labelled, at = labelled_steps(part, slice_us)
            empty = empty_steps(part, matcher, index, slice_us, negative_share=negative_share)
            every = np.union1d(labelled, empty).astype(np.int64)
            of_label = np.full(len(every), _NO_LABEL, np.int64)
            of_label[np.searchsorted(every, labelled)] = at
            steps.append(every)
            times.append(of_label)
        self._columns = SharedColumns(
            {
                "begin": np.cumsum([0, *map(len, steps)]),
                "step": np.concatenate([*steps, np.empty(0, np.int64)]),
                "time": np.concatenate([*times, np.empty(0, np.int64)]),
            }
        )

    def __len__(self) -> int:
        return len(self._columns["step"])

    def between(self, recording: int, first: int, last: int) -> tuple[Times, Times, Times]:
        """Of the steps ``[first, last)``, counted from ``first``: those that are scored, and those of them with a
        label; and the time of each of these labels, µs."""
        low, high = self._columns["begin"][recording : recording + 2].tolist()
        rows = slice(*(low + np.searchsorted(self._columns["step"][low:high], (first, last))).tolist())
        steps, times = self._columns["step"][rows] - first, self._columns["time"][rows]
        return steps, steps[times != _NO_LABEL], times[times != _NO_LABEL]
