"""Which detections stand for which look: those of one time, the nearest within the protocol's tolerance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from spikeyolo.detections import DetectionTable, Looks

Array = npt.NDArray[np.int64]


def rows_of_looks(
    found: DetectionTable, looks: Looks, judged: npt.NDArray[np.bool_], *, tolerance_us: int, frames: Looks | None
) -> tuple[Array, Array]:
    """Pair looks with detections.

    A look takes the detections of one time: the nearest at which the detector ran, of two equally near ones the
    earlier. When the detector ran is told by ``frames``; without them it is where the table has rows, and a time that
    is itself a look's stands for no other look. Where rows of several time steps lie at one time, those of the
    highest step stand for it.

    Args:
        found: detections; its recordings are those of ``looks``.
        looks: all of them, also those that do not count.
        judged: ``[L]`` bool, those that count.
        tolerance_us: how far a detection may lie from its look.
        frames: every time at which the detector ran, with or without detections; its recordings are those of
            ``looks``.

    Returns:
        ``image`` and ``row``, each ``[R]`` int64: index among the judged looks, and row of the table; by image.
    """
    last = tolerance_us + 1
    times = [looks.t_us, found.t_us] + ([] if frames is None else [frames.t_us])
    first = min((int(t.min()) for t in times if len(t)), default=0)
    span = max((int(t.max()) for t in times if len(t)), default=0) - first + 2 * last

    def key(recording: Array, t_us: Array) -> Array:
        return recording * span + (t_us - first)

    order = np.lexsort((found.step, found.t_us, found.recording))
    row_key = key(found.recording, found.t_us)[order]
    step = found.step[order]
    ends = np.flatnonzero(np.append(row_key[1:] != row_key[:-1], True)[: len(row_key)])
    lengths = np.diff(ends, prepend=-1)
    order = order[step == np.repeat(step[ends], lengths)]
    row_key = key(found.recording, found.t_us)[order]

    look_key = key(looks.recording, looks.t_us)
    wanted = look_key[judged]
    if frames is not None:
        taken = _nearest(np.unique(np.concatenate((key(frames.recording, frames.t_us), row_key))), wanted, tolerance_us)
    else:
        ran = np.unique(row_key)
        taken = np.where(np.isin(wanted, ran), wanted, _nearest(np.setdiff1d(ran, look_key), wanted, tolerance_us))
    start, end = np.searchsorted(row_key, taken, "left"), np.searchsorted(row_key, taken, "right")
    count = end - start
    image = np.repeat(np.arange(len(wanted)), count)
    within = np.arange(len(image)) - np.repeat(np.cumsum(count) - count, count)
    return image, order[np.repeat(start, count) + within]


def _nearest(ran: Array, wanted: Array, tolerance: int) -> Array:
    """The nearest of ``ran`` (sorted) to each of ``wanted``, -1 where none is near enough."""
    if not len(ran):
        return np.full(len(wanted), -1)
    after = np.searchsorted(ran, wanted)
    before = ran[np.maximum(after - 1, 0)]
    behind = ran[np.minimum(after, len(ran) - 1)]
    nearest = np.where(np.abs(wanted - before) <= np.abs(behind - wanted), before, behind)
    return np.where(np.abs(nearest - wanted) <= tolerance, nearest, -1)
