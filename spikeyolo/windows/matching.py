"""Which boxes belong to which slice of a window."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from spikeyolo.events import Boxes

Times = npt.NDArray[np.int64]


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
    """Matches one recording's labels to the slices of its windows.

    A label belongs to a window if its time lies in the window or outside it by at most ``temporal_buffer`` of the
    window's length. Within a window, each track has at most one box a slice, at the slice's end time:

    - between two labels of the track no further apart than ``max_gap_us``: linearly interpolated;
    - else the nearest belonging label's box, as long as it is no further away than half the annotators' interval or
      the buffer, whichever is longer (an object is taken to be there around its label, not all along the window).

    Boxes without a track (-1) are taken from the nearest label time, all together, under the same bound.

    Args:
        boxes: the recording's labels, ordered by time.
        temporal_buffer: fraction of the window's length.
        label_interval_us: usual time between label times, µs.
        max_gap_us: the longest gap between two labels of a track that is interpolated, µs.
    """

    def __init__(self, boxes: Boxes, *, temporal_buffer: float, label_interval_us: int, max_gap_us: int) -> None:
        self.boxes = boxes
        self.temporal_buffer = temporal_buffer
        self.label_interval_us = label_interval_us
        self.max_gap_us = max_gap_us

    @cached_property
    def _neighbours(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        # Found when a window is first matched: most recordings of a large set are opened long before that.
        return _track_neighbours(self.boxes)

    def belonging(self, start_us: int, end_us: int) -> npt.NDArray[np.int64]:
        """Rows of the labels that belong to the window ``[start_us, end_us)``."""
        buffer = self.temporal_buffer * (end_us - start_us)
        first = np.searchsorted(self.boxes.t, start_us - buffer, side="left")
        last = np.searchsorted(self.boxes.t, end_us + buffer, side="right")
        return np.arange(first, last, dtype=np.int64)

    def shown_classes(self, ends: Times, slice_us: Times | int, steps: int, num_classes: int) -> npt.NDArray[np.bool_]:
        """Which classes ``[N, num_classes]`` the last slices of windows that end at ``ends`` ``[N]`` (µs) show.

        A class is shown where one of its labels belongs to the window and is near enough to its end for :meth:`match`
        to take the box as it is; that a track may be interpolated over longer than that is left out of account.
        """
        buffer = self.temporal_buffer * steps * np.asarray(slice_us)
        reach = np.maximum(np.maximum(buffer, self.label_interval_us / 2), slice_us)
        window = buffer + np.asarray(slice_us) * steps
        low = np.searchsorted(self.boxes.t, ends - np.minimum(reach, window), side="left")
        high = np.searchsorted(self.boxes.t, ends + buffer, side="right")
        shown = np.zeros((len(ends), num_classes), np.bool_)
        for class_id in np.unique(self.boxes.class_id):
            until = np.concatenate([[0], np.cumsum(self.boxes.class_id == class_id)])
            shown[:, class_id] = until[high] > until[low]
        return shown

    def match(self, start_us: int, slice_us: int, steps: int) -> SliceBoxes:
        """Boxes of the window that starts at ``start_us`` and has ``steps`` slices of ``slice_us``."""
        end_us = start_us + slice_us * steps
        rows = self.belonging(start_us, end_us)
        reach = max(self.temporal_buffer * (end_us - start_us), self.label_interval_us / 2, slice_us)
        if self.unknown(start_us, end_us):  # between two looks: only tracks that both of them saw are known here
            rows, reach = self._enclosing(start_us, end_us), -1.0
        if not len(rows):
            none = np.empty(0, np.int64)
            return SliceBoxes(none, np.empty((0, 4), np.float32), none, none)
        chosen, step = _nearest_rows(self.boxes, rows, start_us, slice_us, steps)
        time = start_us + (step + 1) * slice_us
        xyxy, interpolated = self._interpolate(chosen, time)
        keep = interpolated | (np.abs(self.boxes.t[chosen] - time) <= reach)
        chosen, step, xyxy = chosen[keep], step[keep], xyxy[keep]
        order = np.argsort(step, kind="stable")
        chosen, step = chosen[order], step[order]
        return SliceBoxes(step, xyxy[order], self.boxes.class_id[chosen], self.boxes.track_id[chosen])

    def unknown(self, start_us: int, end_us: int) -> bool:
        """Whether nobody can say what the window ``[start_us, end_us)`` shows: no label belongs to it, but one is too
        near (2.5 times the annotators' interval) for the stretch to be one they found empty."""
        if len(self.belonging(start_us, end_us)):
            return False
        near = round(2.5 * self.label_interval_us)
        first = np.searchsorted(self.boxes.t, start_us - near, side="right")
        return bool(first < np.searchsorted(self.boxes.t, end_us + near, side="left"))

    def _enclosing(self, start_us: int, end_us: int) -> npt.NDArray[np.int64]:
        """Rows of the last label time before the window and of the first one after it."""
        t = self.boxes.t
        before, after = np.searchsorted(t, start_us, side="left"), np.searchsorted(t, end_us, side="right")
        if before == 0 or after == len(t):
            return np.empty(0, np.int64)
        first = np.searchsorted(t, t[before - 1], side="left")
        last = np.searchsorted(t, t[after], side="right")
        return np.arange(first, last, dtype=np.int64)

    def _interpolate(
        self, rows: npt.NDArray[np.int64], time: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Boxes ``[N, 4]`` of ``rows`` moved to ``time`` (µs) along their tracks, and whether that was possible."""
        t = self.boxes.t
        previous, following = self._neighbours
        neighbour = np.where(time < t[rows], previous[rows], following[rows])
        exact = time == t[rows]
        gap = np.abs(t[neighbour] - t[rows])
        possible = (neighbour >= 0) & (gap > 0) & (gap <= self.max_gap_us) & ~exact
        # A neighbour further than its own gap cannot enclose the time.
        possible &= np.abs(time - t[rows]) <= gap
        share = np.where(possible, np.abs(time - t[rows]) / np.maximum(gap, 1), 0.0)[:, None]
        here, there = self.boxes.xyxy[rows].astype(np.float64), self.boxes.xyxy[neighbour].astype(np.float64)
        return (here + (there - here) * share).astype(np.float32), possible | exact


def _track_neighbours(boxes: Boxes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Row of the same track's previous and next label, -1 where there is none."""
    previous = np.full(len(boxes), -1, np.int64)
    following = np.full(len(boxes), -1, np.int64)
    order = np.lexsort((boxes.t, boxes.class_id, boxes.track_id))
    a, b = order[:-1], order[1:]
    same = (boxes.track_id[a] == boxes.track_id[b]) & (boxes.class_id[a] == boxes.class_id[b])
    same &= boxes.track_id[a] >= 0
    previous[b[same]] = a[same]
    following[a[same]] = b[same]
    return previous, following


def _nearest_rows(
    boxes: Boxes, rows: npt.NDArray[np.int64], start_us: int, slice_us: int, steps: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """For each slice, of every track the belonging row nearest to the slice's end: (row, step), both ``[N]``."""
    time = start_us + slice_us * np.arange(1, steps + 1, dtype=np.int64)
    track, t = boxes.track_id[rows], boxes.t[rows]
    distance = np.abs(t[:, None] - time[None, :])  # [rows, steps]
    chosen: list[npt.NDArray[np.int64]] = []
    step: list[npt.NDArray[np.int64]] = []
    # A track is one object of one class; two classes under one number are two objects.
    identity = np.where(track >= 0, track * 4096 + boxes.class_id[rows], -1)
    for key in np.unique(identity):
        members = np.flatnonzero(identity == key)
        if key >= 0:
            chosen.append(rows[members[np.argmin(distance[members], axis=0)]])
            step.append(np.arange(steps, dtype=np.int64))
            continue
        nearest = distance[members].min(axis=0)
        at_slice = distance[members] == nearest[None, :]
        # Of two label times equally near, the earlier one is taken, so that no object is there twice.
        earliest = np.where(at_slice, t[members][:, None], np.iinfo(np.int64).max).min(axis=0)
        member, k = np.nonzero(at_slice & (t[members][:, None] == earliest[None, :]))
        chosen.append(rows[members[member]])
        step.append(k.astype(np.int64))
    return np.concatenate(chosen), np.concatenate(step)
