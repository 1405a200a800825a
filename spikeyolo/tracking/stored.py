"""Tracks of a stored table, which is read piece by piece where its rows are in order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spikeyolo.detections import DetectionTable
from spikeyolo.detections.pieces import joined, read_pieces
from spikeyolo.tracking.interpolation import standing_rows
from spikeyolo.tracking.table import track_stream, track_table
from spikeyolo.tracking.trackers import Tracker


@dataclass(frozen=True, eq=False)
class Tracked:
    """What a tracker made of a stored table.

    Attributes:
        table: its rows with a track, and of its other rows at least one of each time, of its highest step.
        rows: how many there were.
        best: the best score, 0 without rows.
        span_us: from the first time to the last, µs.
    """

    table: DetectionTable
    rows: int
    best: float
    span_us: int

    @property
    def tracked(self) -> int:
        """Rows with a track."""
        return int((self.table.track_id >= 0).sum())

    @property
    def tracks(self) -> int:
        """How many tracks there are."""
        own = self.table.track_id >= 0
        return len(np.unique(np.column_stack((self.table.recording[own], self.table.track_id[own])), axis=0))


def track_whole(table: DetectionTable, tracker: Tracker, *, step_us: int | None) -> Tracked:
    """The tracks of a table at hand; arguments as of :func:`track_table`.

    Raises:
        DetectionError: a value is not finite.
    """
    span_us = int(np.ptp(table.t_us)) if len(table) else 0
    best = float(table.score.max(initial=0))
    return Tracked(track_table(table, tracker, step_us=step_us), len(table), best, span_us)


def track_file(source: Path, tracker: Tracker, *, step_us: int | None) -> Tracked:
    """The same of a file that has an :func:`~spikeyolo.detections.pieces.outline`, in memory that its rows without a
    track do not fill.

    Raises:
        DetectionError: it cannot be read, or a value is not finite.
    """
    kept, rows, best = [], 0, 0.0
    times: list[int] = []
    for piece in track_stream(read_pieces(source), tracker, step_us=step_us):
        rows, best = rows + len(piece), max(best, float(piece.score.max()))
        times = [function([*times, *piece.t_us[[0, -1]].tolist()]) for function in (min, max)]
        own = piece.track_id >= 0
        own[standing_rows(piece)] = True  # a piece holds whole steps
        kept.append(piece[own])
    return Tracked(joined(kept), rows, best, times[1] - times[0])
