"""Boxes over time: which of them are seen at a moment, and where a track has been."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from spikeyolo.report.video.overlap import overlaps

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

_GAP = 3.0  # a track that is away for so many times the usual distance between two looks is not drawn meanwhile
_TRAIL_POINTS = 24
_GATHERED = 8  # so many looks are seen together at most: in more, things move
_THE_SAME = 0.3  # overlap from which two boxes of a class are of one object
_NO_ROWS = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Seen:
    """Boxes of one moment.

    Attributes:
        xyxy: ``[M, 4]`` float64, px of the sensor.
        class_id, track_id: ``[M]`` int64; track -1 where there is none.
        score: ``[M]`` float64.
        row: ``[M]`` int64, the row of the series that each comes from.
    """

    xyxy: Float64
    class_id: Int64
    track_id: Int64
    score: Float64
    row: Int64

    def __len__(self) -> int:
        return len(self.row)


class BoxSeries:
    """Boxes of one recording: labels, detections or tracks.

    Between two looks a box that both have by its track moves from one to the other; any other stays until the next
    look, or for one and a half times the distance of near looks where none comes: a look that found nothing leaves no
    row, so that the distance of looks has to be guessed.

    Args:
        t_us: ``[M]`` int64, µs, in any order.
        xyxy: ``[M, 4]`` px of the sensor.
        class_id, track_id: ``[M]`` int64; track -1 where there is none.
        score: ``[M]``.
        longest_hold_us: boxes without a track stay for at most so long, but for ``shortest_hold_us``, µs.
        shortest_hold_us: a look is seen for so long at least, unless the next one comes before, µs.
        gather_us: what the looks within so long before the last one saw is seen too, where the last one has no box of
            the class there, µs: for looks that follow one another faster than pictures, of which each may miss a box.
    """

    def __init__(
        self,
        t_us: npt.NDArray[np.integer],
        xyxy: npt.NDArray[np.floating],
        class_id: npt.NDArray[np.integer],
        track_id: npt.NDArray[np.integer],
        score: npt.NDArray[np.floating],
        *,
        longest_hold_us: float = np.inf,
        shortest_hold_us: float = 0.0,
        gather_us: float = 0.0,
    ) -> None:
        order = np.lexsort((track_id, t_us))
        self.t_us = np.asarray(t_us, np.int64)[order]
        self.xyxy = np.asarray(xyxy, np.float64)[order]
        self.class_id = np.asarray(class_id, np.int64)[order]
        self.track_id = np.asarray(track_id, np.int64)[order]
        self.score = np.asarray(score, np.float64)[order]
        self.times, first = np.unique(self.t_us, return_index=True)
        self._bounds = np.append(first, len(self.t_us))
        gaps = np.diff(self.times) if len(self.times) > 1 else np.zeros(1)
        near, self._usual_gap_us = float(np.quantile(gaps, 0.1)), float(np.median(gaps))
        self._hold_us = max(shortest_hold_us, min(longest_hold_us, 1.5 * near))
        by_track = np.argsort(self.track_id, kind="stable")
        ids, start = np.unique(self.track_id[by_track], return_index=True)
        rows = np.split(by_track, start[1:]) if len(ids) else []
        self._rows_of = {int(k): row for k, row in zip(ids, rows, strict=True) if k >= 0}
        self._times_of = {k: self.t_us[row] for k, row in self._rows_of.items()}
        self._gather_us = gather_us

    def __len__(self) -> int:
        return len(self.t_us)

    def at(self, t_us: int) -> Seen:
        """What is seen at a moment."""
        look = int(np.searchsorted(self.times, t_us, "right")) - 1
        if look < 0:
            return self._seen(_NO_ROWS)
        if self._gather_us > 0:
            return self._seen(self._gathered(look, t_us))
        before = int(self.times[look])
        rows = np.arange(self._bounds[look], self._bounds[look + 1])
        if t_us == before:
            return self._seen(rows)
        kept = rows if t_us - before < self._hold_us else rows[:0]
        if look + 1 < len(self.times):
            gap = int(self.times[look + 1]) - before
            next_rows = np.arange(self._bounds[look + 1], self._bounds[look + 2])
            if gap <= _GAP * self._usual_gap_us:
                moving, arriving = self._common(rows, next_rows)
                kept = np.setdiff1d(kept, moving)
                share = (t_us - before) / gap
                seen = self._seen(np.concatenate((moving, kept)))
                seen.xyxy[: len(moving)] += share * (self.xyxy[arriving] - self.xyxy[moving])
                return seen
        return self._seen(kept)

    def trail(self, track_id: int, t_us: int, span_us: float) -> tuple[Float64, Float64]:
        """Centres ``[P, 2]`` of a track from ``t_us - span_us`` up to its last look, and their ages ``[P]``, µs.

        Of many looks, means of some that follow one another: a way and not its tremble.
        """
        rows, times = self._rows_of.get(track_id, _NO_ROWS), self._times_of.get(track_id, _NO_ROWS)
        first, end = np.searchsorted(times, t_us - span_us), np.searchsorted(times, t_us, "right")
        if first == end:
            return np.empty((0, 2)), np.empty(0)
        every = 1 + int(end - first) // _TRAIL_POINTS
        group = np.arange(first, end) // every  # the same ones in the next picture
        starts = np.flatnonzero(np.diff(group, prepend=-1))
        sizes = np.diff(starts, append=end - first)
        rows = rows[first:end]
        centres = 0.5 * (self.xyxy[rows, :2] + self.xyxy[rows, 2:])
        ages = (t_us - self.t_us[rows]).astype(np.float64)
        return np.add.reduceat(centres, starts) / sizes[:, None], np.add.reduceat(ages, starts) / sizes

    def _gathered(self, look: int, t_us: int) -> Int64:
        """Rows of the last look, and of some before it those that no later one has."""
        if t_us - int(self.times[look]) >= self._hold_us:
            return _NO_ROWS
        earliest = int(np.searchsorted(self.times, self.times[look] - self._gather_us, "right"))
        rows = np.arange(self._bounds[look], self._bounds[look + 1])
        for number in range(look - 1, max(earliest, look - _GATHERED + 1) - 1, -1):
            older = np.arange(self._bounds[number], self._bounds[number + 1])
            same = self.class_id[older][:, None] == self.class_id[rows][None]
            there = ((overlaps(self.xyxy[older], self.xyxy[rows]) > _THE_SAME) & same).any(axis=1)
            rows = np.concatenate((rows, older[~there]))
        return rows

    def _common(self, rows: Int64, others: Int64) -> tuple[Int64, Int64]:
        """Rows of tracks that both have, in the same order."""
        own, theirs = self.track_id[rows], self.track_id[others]
        _, first, second = np.intersect1d(own[own >= 0], theirs[theirs >= 0], return_indices=True)
        return rows[own >= 0][first], others[theirs >= 0][second]

    def _seen(self, rows: Int64) -> Seen:
        return Seen(self.xyxy[rows], self.class_id[rows], self.track_id[rows], self.score[rows], rows)


class TrackSeries(BoxSeries):
    """Boxes that all have a track: each moves from one of its own looks to the next, whatever looks missed it between.

    Args:
        boxes: of :class:`BoxSeries`: ``t_us``, ``xyxy``, ``class_id``, ``track_id``, ``score``.
        bridge_us: a track that was missed for longer is not seen meanwhile, µs; three times the usual distance of
            looks are no such gap.
        shortest_hold_us: the last box of a track is seen for so long, µs.
    """

    def __init__(self, *boxes: npt.NDArray[Any], bridge_us: float, shortest_hold_us: float = 0.0) -> None:
        super().__init__(*boxes, shortest_hold_us=shortest_hold_us)
        self._bridge_us = max(bridge_us, _GAP * self._usual_gap_us)
        self._ids = np.array(list(self._rows_of), np.int64)
        self._first_us = np.array([times[0] for times in self._times_of.values()], np.int64)
        self._last_us = np.array([times[-1] for times in self._times_of.values()], np.int64)

    def at(self, t_us: int) -> Seen:
        """What is seen at a moment."""
        rows: list[int] = []
        boxes: list[Float64] = []
        for track in self._ids[(self._first_us <= t_us) & (t_us - self._last_us < max(self._hold_us, 1))].tolist():
            own, times = self._rows_of[track], self._times_of[track]
            number = int(np.searchsorted(times, t_us, "right")) - 1
            row, past = int(own[number]), t_us - int(times[number])
            gap = int(times[number + 1] - times[number]) if number + 1 < len(times) else None
            if gap is not None and gap <= self._bridge_us:
                box = self.xyxy[row] + past / gap * (self.xyxy[own[number + 1]] - self.xyxy[row])
            elif past == 0 or past < self._hold_us:
                box = self.xyxy[row]
            else:
                continue
            rows.append(row)
            boxes.append(box)
        seen = self._seen(np.array(rows, np.int64))
        return replace(seen, xyxy=np.array(boxes, np.float64).reshape(-1, 4))
