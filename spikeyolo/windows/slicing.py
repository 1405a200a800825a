"""Which windows of a recording exist: around its labels, through its empty stretches, or sliding all along it.

A window of T slices looks back from its end, which for a labelled window is the label's time::

                 window (T = 4)              label
    events  ┊·  ··┊ · ·· ┊··   ·┊ ····· ┊ ◄── end, half-open
            start                        end
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.int64]


def anchored(label_times: Times, *, duration_us: int, start_us: int, end_us: int) -> Times:
    """Ends ``[N]`` (µs) of the windows that look back from each different label time.

    Only windows that lie wholly in ``[start_us, end_us)`` exist; a label at the very end of a recording counts
    although its last event may precede it.
    """
    times = np.unique(label_times)
    return times[(times - duration_us >= start_us) & (times <= end_us)]


def sliding(*, duration_us: int, overlap: float, start_us: int, end_us: int) -> Times:
    """Ends ``[N]`` (µs) of windows all over ``[start_us, end_us)``, neighbours sharing ``overlap`` of their length."""
    stride = max(1, round(duration_us * (1.0 - overlap)))
    return np.arange(start_us + duration_us, end_us + 1, stride, dtype=np.int64)


def empty_stretches(label_times: Times, *, start_us: int, end_us: int, gap_us: int) -> list[tuple[int, int]]:
    """Stretches where an annotated recording holds no object: further than ``gap_us`` from every label time.

    A label file lists objects, not looks: a stretch much longer than the annotators' interval without any box is
    one they found empty.
    """
    times = np.unique(label_times)  # those just before the start and just after the end count too
    begins = np.clip(np.concatenate([[start_us], times + gap_us]), start_us, end_us)
    ends = np.clip(np.concatenate([times - gap_us, [end_us]]), start_us, end_us)
    return [(int(begin), int(end)) for begin, end in zip(begins, ends, strict=True) if end > begin]


def label_interval(label_times: Times) -> int:
    """The usual time between looks of the annotator, µs: the median step between different label times (0: unknown)."""
    steps = np.diff(np.unique(label_times))
    return int(np.median(steps)) if len(steps) else 0


def spread(count: int, limit: int | None) -> npt.NDArray[np.int64]:
    """``min(count, limit)`` indices spread evenly over ``range(count)``."""
    if limit is None or count <= limit:
        return np.arange(count, dtype=np.int64)
    return np.floor((np.arange(limit) + 0.5) * count / limit).astype(np.int64)
