"""Boxes over time: which of them are seen at a moment, and where a track has been."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

_GAP = 3.0  # a track that is away for so many times the usual distance between two looks is not drawn meanwhile
_TRAIL_POINTS = 24


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

    def __len__(self) -> int:
        return len(self.t_us)

    def at(self, t_us: int) -> Seen:
        """What is seen at a moment."""
        look = int(np.searchsorted(self.times, t_us, "right")) - 1
        if look < 0:
            return self._seen(np.empty(0, np.int64))
        before = int(self.times[look])
        rows = np.arange(self._bounds[look], self._bounds[look + 1])
        if t_us == before:
            return self._seen(rows)
        moving = np.empty(0, np.int64)
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
        rows = self._rows_of.get(track_id, np.empty(0, np.int64))
        times = self.t_us[rows]
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

    def _common(self, rows: Int64, others: Int64) -> tuple[Int64, Int64]:
        """Rows of tracks that both have, in the same order."""
        own, theirs = self.track_id[rows], self.track_id[others]
        _, first, second = np.intersect1d(own[own >= 0], theirs[theirs >= 0], return_indices=True)
        return rows[own >= 0][first], others[theirs >= 0][second]

    def _seen(self, rows: Int64) -> Seen:
        return Seen(self.xyxy[rows], self.class_id[rows], self.track_id[rows], self.score[rows], rows)
