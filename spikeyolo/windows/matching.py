"""Which boxes belong to which slice of a window: what the annotators' looks say about a slice's end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from spikeyolo.events import Boxes
from spikeyolo.windows import slicing
from spikeyolo.windows.serving.shared import SharedColumns

Times = npt.NDArray[np.int64]

SAME_OBJECT_IOU = 0.3  # boxes of two looks that overlap at least so much may be one object
_FOREVER = 1 << 62  # µs
EMPTY_AFTER = 2.5  # label intervals without any label, from which on a stretch counts as looked at and empty


@dataclass(frozen=True, eq=False)
class SliceBoxes:
    """Boxes of one window, one row a box and slice, ordered by slice.

    Attributes:
        step: ``[M]`` int64, index of the slice.
        xyxy: ``[M, 4]`` float32, px of the sensor.
        class_id, track_id: ``[M]`` int64.
    """

    step: npt.NDArray[np.int64]
    xyxy: npt.NDArray[np.float32]
    class_id: npt.NDArray[np.int64]
    track_id: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.step)

    def at(self, step: int) -> SliceBoxes:
        return self.rows(self.step == step)

    def rows(self, rows: npt.NDArray[np.bool_]) -> SliceBoxes:
        """Those boxes for which ``rows`` ``[M]`` is true."""
        return SliceBoxes(self.step[rows], self.xyxy[rows], self.class_id[rows], self.track_id[rows])


class BoxMatcher:
    """Matches the labels of recordings to the slices of their windows.

    The times at which a recording was annotated are its looks. A slice shows what its end shows:

    - at a look: exactly that look's boxes;
    - between two looks no further apart than ``max_gap_us``: the objects that both show, linearly interpolated. One
      object is one track of one class; boxes without a track (-1) are one object where they are of one class and
      overlap by an IoU of at least 0.3, one to one, the largest overlap first;
    - else the boxes of the nearest look (of two, the earlier one), as long as it belongs to the window and is no
      further away than half the annotators' interval or the buffer, whichever is longer (an object is taken to be
      there around its look, not all along the window). A look belongs to a window if its time lies in the window or
      outside it by at most ``temporal_buffer`` of the window's length.

    What a slice without any box shows is known only where the nearest look is 2.5 intervals away or more: a label file
    lists objects, not looks, and such a stretch is one that the annotators found empty. Looks of which a rule left out
    every box show nothing, and nothing is known there.

    Where a label file lists its looks, one without a box is known to show nothing, as are slices between two such or
    near one; what is further from every look is unknown.

    Args:
        labels: of each recording, ordered by time; None where it is not labelled.
        left_out: of each recording, times of looks of which a rule left out every box, µs; None: there are none.
        listed: of each recording, times of the looks that its label file lists, with boxes or without, µs; None: it
            lists none.
        temporal_buffer: fraction of the window's length.
        max_gap_us: the longest time between two looks that is interpolated, µs; None takes 1.5 intervals.

    Attributes:
        interval_us: the usual time between looks, µs: the median over all recordings together (0: unknown).
        max_gap_us: as given, or what None stands for.
    """

    def __init__(
        self,
        labels: Sequence[Boxes | None],
        *,
        left_out: Sequence[Times | None] | None = None,
        listed: Sequence[Times | None] | None = None,
        temporal_buffer: float,
        max_gap_us: int | None = None,
    ) -> None:
        known = [Boxes.empty() if boxes is None else boxes for boxes in labels]
        looks = [slicing.distinct(boxes.t) for boxes in known]
        unknown, listed = left_out or [None] * len(known), listed or [None] * len(known)
        for index, several in enumerate(zip(unknown, listed, strict=True)):
            for times in several:
                if times is not None and len(times):
                    looks[index] = np.union1d(looks[index], times).astype(np.int64)
        steps = [np.diff(times) for times in looks]
        self.interval_us = _median(np.concatenate([*steps, np.empty(0, np.int64)]))
        self.temporal_buffer = temporal_buffer
        self.max_gap_us = round(1.5 * self.interval_us) if max_gap_us is None else max_gap_us
        rows = np.cumsum([0, *(len(boxes) for boxes in known)])
        first = [np.searchsorted(boxes.t, times) + row for boxes, times, row in zip(known, looks, rows)]
        self._columns = SharedColumns(
            {
                "labelled": np.array([boxes is not None for boxes in labels], np.bool_),
                "listed": np.array([times is not None for times in listed], np.bool_),
                "near_us": np.array([self._near(_median(between)) for between in steps], np.int64),
                "begin": np.cumsum([0, *(len(times) for times in looks)]),
                "looks": np.concatenate([*looks, np.empty(0, np.int64)]),
                "empty": np.concatenate([*map(_shows_nothing, looks, known, unknown, listed), np.empty(0, np.bool_)]),
                "first": np.concatenate([*first, rows[-1:]]).astype(np.int64),
                "xyxy": np.concatenate([*(boxes.xyxy for boxes in known), np.empty((0, 4), np.float32)]),
                "class_id": np.concatenate([*(boxes.class_id for boxes in known), np.empty(0, np.int64)]).astype("i4"),
                "track_id": np.concatenate([*(boxes.track_id for boxes in known), np.empty(0, np.int64)]),
            }
        )

    def _near(self, interval_us: int) -> int:
        usual = max(interval_us, self.interval_us)
        return round(EMPTY_AFTER * usual) if usual else _FOREVER  # one look alone tells of no other time

    def labelled(self, recording: int) -> bool:
        """Whether anything is known of the recording."""
        return bool(self._columns["labelled"][recording])

    def looks(self, recording: int) -> tuple[Times, Times]:
        """Times at which the recording was annotated ``[L]``, µs, and the first row of each one's boxes ``[L + 1]``."""
        low, high = self._columns["begin"][recording : recording + 2].tolist()
        return self._columns["looks"][low:high], self._columns["first"][low : high + 1]

    def label_times(self, recording: int) -> Times:
        """The looks that show a box, µs."""
        looks, first = self.looks(recording)
        return looks[first[1:] > first[:-1]]

    def near_us(self, recording: int) -> int:
        """How far from every look a stretch must be to count as one that was found empty, µs."""
        return int(self._columns["near_us"][recording])

    def empty_stretches(self, recording: int, *, start_us: int, end_us: int, gap_us: int) -> list[tuple[int, int]]:
        """See :func:`slicing.empty_stretches`; none where looks are listed, which say it themselves."""
        if self._columns["listed"][recording]:
            return []
        return slicing.empty_stretches(self.looks(recording)[0], start_us=start_us, end_us=end_us, gap_us=gap_us)

    def empty_looks(self, recording: int, *, start_us: int, end_us: int) -> Times:
        """Listed looks from ``start_us`` to ``end_us`` that are known to show nothing, µs."""
        looks = self.looks(recording)[0][self._empty(recording)]
        return looks[(looks >= start_us) & (looks <= end_us)]

    def _empty(self, recording: int) -> npt.NDArray[np.bool_]:
        low, high = self._columns["begin"][recording : recording + 2].tolist()
        rows: npt.NDArray[np.bool_] = self._columns["empty"][low:high]
        return rows

    def match(
        self, recording: int, start_us: int, slice_us: int, steps: int
    ) -> tuple[SliceBoxes, npt.NDArray[np.bool_]]:
        """Boxes of the window that starts at ``start_us`` and has ``steps`` slices of ``slice_us``, and for which
        slices it is known what they show, ``[steps]``."""
        looks, first = self.looks(recording)
        duration = slice_us * steps
        buffer = float(self.temporal_buffer * duration)
        columns = self._columns
        step, row, xyxy, known = _match(
            looks,
            first,
            self._empty(recording),
            columns["xyxy"],
            columns["class_id"],
            columns["track_id"],
            start_us,
            slice_us,
            steps,
            start_us - buffer,
            start_us + duration + buffer,
            max(buffer, self.interval_us / 2),
            self.max_gap_us,
            self.near_us(recording),
            bool(columns["listed"][recording]),
        )
        if not self.labelled(recording):
            known[:] = False
        found = SliceBoxes(step, xyxy, columns["class_id"][row].astype(np.int64), columns["track_id"][row])
        return found, known

    def at_looks(self, recording: int, times: Times, steps: Times) -> SliceBoxes:
        """The boxes of the looks at ``times`` ``[N]`` (µs), each as those of one of the slices ``steps`` ``[N]``."""
        looks, first = self.looks(recording)
        at = np.searchsorted(looks, times)
        counts = first[at + 1] - first[at]
        row = np.concatenate([*(np.arange(first[i], first[i + 1]) for i in at.tolist()), np.empty(0, np.int64)])
        columns = self._columns
        return SliceBoxes(
            np.repeat(steps, counts),
            columns["xyxy"][row],
            columns["class_id"][row].astype(np.int64),
            columns["track_id"][row],
        )

    def shown_classes(
        self, recording: int, ends: Times, slice_us: Times | int, steps: int, num_classes: int
    ) -> npt.NDArray[np.bool_]:
        """Which classes ``[N, num_classes]`` the last slices of windows that end at ``ends`` ``[N]`` (µs) show.

        Between two looks a class is taken to be shown where both of them show it.
        """
        looks, first = self.looks(recording)
        if not len(looks):
            return np.zeros((len(ends), num_classes), np.bool_)
        shown = np.zeros((len(looks), num_classes), np.bool_)
        class_id = self._columns["class_id"][first[0] : first[-1]]
        shown[np.repeat(np.arange(len(looks)), np.diff(first)), class_id] = True
        duration = np.asarray(slice_us) * steps
        buffer = self.temporal_buffer * duration
        after = np.searchsorted(looks, ends, side="left")
        before, after = np.maximum(after - 1, 0), np.minimum(after, len(looks) - 1)
        enclosed = (looks[before] < ends) & (ends < looks[after]) & (looks[after] - looks[before] <= self.max_gap_us)
        nearest = np.where(np.abs(ends - looks[before]) <= np.abs(looks[after] - ends), before, after)
        there = np.abs(looks[nearest] - ends) <= np.maximum(buffer, self.interval_us / 2)
        there &= (looks[nearest] >= ends - duration - buffer) & (looks[nearest] <= ends + buffer)
        held: npt.NDArray[np.bool_] = shown[nearest] & there[:, None]
        return np.where(enclosed[:, None], shown[before] & shown[after], held)


def _shows_nothing(looks: Times, boxes: Boxes, unknown: Times | None, listed: Times | None) -> npt.NDArray[np.bool_]:
    """Which looks ``[L]`` are listed, show no box, and are not such as a rule emptied."""
    shown = np.isin(looks, boxes.t) | np.isin(looks, () if unknown is None else unknown)
    return np.isin(looks, () if listed is None else listed) & ~shown


def _median(steps: npt.NDArray[np.int64]) -> int:
    return int(np.median(steps)) if len(steps) else 0


@numba.njit(nogil=True, cache=True)
def _match(
    looks: Any, first: Any, empty: Any, xyxy: Any, class_id: Any, track_id: Any, start_us: Any, slice_us: Any,
    steps: Any, low: Any, high: Any, hold: Any, max_gap: Any, near: Any, listed: Any,
) -> Any:  # fmt: skip
    """Step, row and box of every slice's boxes, and which slices are known.

    Args:
        looks: ``[L]`` int64, µs; the boxes of look i are the rows ``first[i]`` to ``first[i + 1] - 1``.
        empty: ``[L]`` bool, which looks are known to show nothing.
        low, high: between which a look belongs to the window, µs.
        hold: how far from a look its boxes are still there, where nothing is interpolated, µs.
    """
    begin = np.searchsorted(looks, start_us + slice_us)
    most = 0
    for i in range(max(begin - 1, 0), len(looks)):
        most = max(most, first[i + 1] - first[i])
        if looks[i] > start_us + slice_us * steps:
            break
    step = np.empty(most * steps, np.int64)
    row = np.empty(most * steps, np.int64)
    out = np.empty((most * steps, 4), np.float32)
    known = np.empty(steps, np.bool_)
    partner = np.empty(most, np.int64)
    paired = -1  # the look whose partners are known
    count = 0
    i = begin
    for k in range(steps):
        time = start_us + (k + 1) * slice_us
        while i < len(looks) and looks[i] < time:
            i += 1
        before = count
        shown = -1  # the look whose boxes are taken as they are
        nothing = False  # whether its looks are known to show nothing
        if i < len(looks) and looks[i] == time:
            shown = i
        elif 0 < i < len(looks) and looks[i] - looks[i - 1] <= max_gap:
            if paired != i - 1:
                _pair(first[i - 1], first[i], first[i + 1], xyxy, class_id, track_id, partner)
                paired = i - 1
            nothing = empty[i - 1] and empty[i]
            share = (time - looks[i - 1]) / (looks[i] - looks[i - 1])
            for a in range(first[i - 1], first[i]):
                b = partner[a - first[i - 1]]
                if b >= 0:
                    step[count] = k
                    row[count] = a
                    for c in range(4):
                        here = np.float64(xyxy[a, c])
                        out[count, c] = here + (np.float64(xyxy[b, c]) - here) * share
                    count += 1
        else:
            nearest = i if i < len(looks) else i - 1
            if 0 < i < len(looks) and time - looks[i - 1] <= looks[i] - time:
                nearest = i - 1
            if nearest >= 0 and low <= looks[nearest] <= high and abs(looks[nearest] - time) <= hold:
                shown = nearest
        if shown >= 0:
            nothing = empty[shown]
            for a in range(first[shown], first[shown + 1]):
                step[count] = k
                row[count] = a
                out[count] = xyxy[a]
                count += 1
        near_before = i > 0 and time - looks[i - 1] < near
        near_after = i < len(looks) and looks[i] - time < near
        known[k] = count > before or nothing or not (listed or near_before or near_after)
    return step[:count], row[:count], out[:count], known


@numba.njit(nogil=True, cache=True)
def _pair(begin: Any, middle: Any, end: Any, xyxy: Any, class_id: Any, track_id: Any, partner: Any) -> None:
    """For each of the rows ``[begin, middle)`` of one look, its object's row in ``[middle, end)``, the next look; -1
    where that one does not show it."""
    taken = np.zeros(end - middle, np.bool_)
    untracked = False
    for a in range(begin, middle):
        partner[a - begin] = -1
        if track_id[a] < 0:
            untracked = True
            continue
        for b in range(middle, end):
            if track_id[b] == track_id[a] and class_id[b] == class_id[a] and not taken[b - middle]:
                partner[a - begin] = b
                taken[b - middle] = True
                break
    if not untracked:
        return
    pairs = np.empty(((middle - begin) * (end - middle), 2), np.int64)
    overlap = np.empty(len(pairs))
    count = 0
    for a in range(begin, middle):
        for b in range(middle, end):
            if track_id[a] < 0 and track_id[b] < 0 and class_id[a] == class_id[b]:
                pairs[count] = (a, b)
                overlap[count] = _iou(xyxy[a], xyxy[b])
                count += overlap[count] >= SAME_OBJECT_IOU
    for best in np.argsort(-overlap[:count], kind="mergesort"):
        a, b = pairs[best]
        if partner[a - begin] < 0 and not taken[b - middle]:
            partner[a - begin] = b
            taken[b - middle] = True


@numba.njit(nogil=True, cache=True)
def _iou(a: Any, b: Any) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    inside = width * height
    return float(inside / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inside))
