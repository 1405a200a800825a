"""From a table of detections to the same with track ids: at once, or piece by piece in constant memory.

A new track counts only after ``confirm_us``. Its first detections are its own nevertheless: rows are held back until
it is decided, so that both ways give the same ids, whatever the pieces.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from spikeyolo.detections import DetectionTable, Looks
from spikeyolo.errors import DetectionError
from spikeyolo.tracking.motion import Index
from spikeyolo.tracking.trackers import Tracker


class HeldRows:
    """The track ids of one recording's detections, as soon as they are decided.

    Ids count from 1 in the order in which tracks begin.

    Args:
        tracker: its settings.
        step_us: time from one step to the next, µs: steps between two that are fed found nothing. None: unknown;
            then nobody looked between them.
    """

    def __init__(self, tracker: Tracker, *, step_us: int | None = None) -> None:
        self._tracks = tracker.start()
        self._step_us = step_us
        self._held: deque[tuple[int, Any, Index]] = deque()
        self._ids: dict[int, int] = {}

    def feed(self, t_us: int, rows: Any, found: DetectionTable) -> Iterator[tuple[Any, Index]]:
        """Take in a step's detections; gives back what was fed before, and is decided now, with its ids.

        Args:
            t_us: later than the step before.
            rows: whatever the caller calls them.
            found: what was detected; maybe nothing.

        Raises:
            DetectionError: the time does not go on, or a value is not finite.
        """
        tracks = self._tracks
        if tracks is None:
            yield rows, found.track_id
            return
        if self._step_us is not None and tracks.t_us is not None and 2 * (t_us - tracks.t_us) > 3 * self._step_us:
            tracks.update(t_us - self._step_us, found.xywh[:0], found.score[:0], found.class_id[:0])
        serials = tracks.update(t_us, found.xywh, found.score, found.class_id, found.embedding)
        self._held.append((t_us, rows, serials))
        undecided = tracks.undecided_us
        while self._held and (undecided is None or self._held[0][0] < undecided):
            _, rows, serials = self._held.popleft()
            yield rows, self._numbered(serials)

    def end(self) -> Iterator[tuple[Any, Index]]:
        """What is still held: tracks that are not confirmed at the end are none."""
        while self._held:
            _, rows, serials = self._held.popleft()
            yield rows, self._numbered(serials)

    def _numbered(self, serials: Index) -> Index:
        assert self._tracks is not None
        counted = self._tracks.counts(serials)
        for serial in sorted(serials[counted].tolist()):
            self._ids.setdefault(serial, len(self._ids) + 1)
        ids = np.full(len(serials), -1, np.int64)
        ids[counted] = [self._ids[serial] for serial in serials[counted].tolist()]
        return ids


def track_table(
    table: DetectionTable, tracker: Tracker, *, step_us: int | None = None, looks: Looks | None = None
) -> DetectionTable:
    """The same rows in the same order, with track ids, -1 for those of no track.

    Where several time steps end at one time, as in windows that overlap, the last one counts.

    Args:
        table: of any number of recordings.
        tracker: its settings; ids are unique in a recording.
        step_us: time between two steps, µs, see :class:`HeldRows`.
        looks: every time at which the detector ran, in place of ``step_us``, with or without detections.

    Raises:
        DetectionError: a value is not finite.
    """
    ids = np.full(len(table), -1, np.int64)
    for recording in range(len(table.recordings)):
        held = HeldRows(tracker, step_us=None if looks is not None else step_us)
        looked = None if looks is None else _times(looks, table.recordings[recording])
        rows = np.flatnonzero(table.recording == recording)
        for t_us, of_step in _steps(table, rows, looked):
            for done, found in held.feed(t_us, of_step, table[of_step]):
                ids[done] = found
        for done, found in held.end():
            ids[done] = found
    return replace(table, track_id=ids)


def track_stream(
    tables: Iterable[DetectionTable], tracker: Tracker, *, step_us: int | None = None
) -> Iterator[DetectionTable]:
    """The same as :func:`track_table` for tables that come one after the other, in constant memory.

    Args:
        tables: one recording after the other, each in order of time; a time may be divided between two tables.
        tracker: its settings.
        step_us: time between two steps, µs, see :class:`HeldRows`.

    Yields:
        Tables of the same rows in order of time, with track ids, each as soon as it is decided.

    Raises:
        DetectionError: times step back, or a value is not finite.
    """
    name: str | None = None
    held = HeldRows(tracker, step_us=step_us)
    last: DetectionTable | None = None  # of one time, of which more may come
    for piece in tables:
        for table in _of_one_recording(piece):
            done: list[DetectionTable] = []
            if table.recordings[0] != name:
                done += _fed(held, last) + _ended(held)
                name, held, last = table.recordings[0], HeldRows(tracker, step_us=step_us), None
            if last is not None:
                if int(table.t_us.min()) < int(last.t_us[0]):
                    raise DetectionError(
                        f"{name}: found detections at {table.t_us.min()} µs after some at {last.t_us[0]} µs; expected "
                        "them in order of time"
                    )
                table = _joined([last, table])
            order = np.argsort(table.t_us, kind="stable")
            steps = np.split(order, np.flatnonzero(np.diff(table.t_us[order])) + 1)
            for rows in steps[:-1]:
                done += _fed(held, table[rows])
            last = table[steps[-1]]
            if done:
                yield from _joined_by_recording(done)
    yield from _joined_by_recording(_fed(held, last) + _ended(held))


def _fed(held: HeldRows, step: DetectionTable | None) -> list[DetectionTable]:
    """Feed all rows of one time."""
    if step is None:
        return []
    counted = step.step == step.step.max()
    done = []
    for (table, those), ids in held.feed(int(step.t_us[0]), (step, counted), step[counted]):
        done.append(_with_ids(table, those, ids))
    return done


def _ended(held: HeldRows) -> list[DetectionTable]:
    return [_with_ids(table, counted, ids) for (table, counted), ids in held.end()]


def _with_ids(table: DetectionTable, counted: npt.NDArray[np.bool_], ids: Index) -> DetectionTable:
    every = np.full(len(table), -1, np.int64)
    every[counted] = ids
    return replace(table, track_id=every)


def _of_one_recording(table: DetectionTable) -> Iterator[DetectionTable]:
    """The parts of a table by recording, in the order of their first rows."""
    used, first = np.unique(table.recording, return_index=True)
    for recording in used[np.argsort(first)].tolist():
        rows = table[table.recording == recording]
        yield replace(rows, recordings=(table.recordings[recording],), recording=np.zeros(len(rows), np.int64))


def _joined_by_recording(tables: list[DetectionTable]) -> Iterator[DetectionTable]:
    start = 0
    for end in range(1, len(tables) + 1):
        if end == len(tables) or tables[end].recordings != tables[start].recordings:
            yield _joined(tables[start:end])
            start = end


def _joined(tables: list[DetectionTable]) -> DetectionTable:
    """The rows of tables of one recording."""
    columns = ["recording", "t_us", "step", "class_id", "score", "xywh", "track_id"]
    if tables[0].embedding is not None:
        columns.append("embedding")
    joined: dict[str, Any] = {name: np.concatenate([getattr(one, name) for one in tables]) for name in columns}
    return replace(tables[0], **joined)


def _times(looks: Looks, name: str) -> Index:
    if name not in looks.recordings:
        return np.empty(0, np.int64)
    return np.unique(looks.t_us[looks.recording == looks.recordings.index(name)])


def _steps(table: DetectionTable, rows: Index, looked: Index | None) -> Iterator[tuple[int, Index]]:
    """Times in order, each with the rows that count at it; the times of looks at which nothing was found too."""
    rows = rows[np.lexsort((-table.step[rows], table.t_us[rows]))]
    times, first = np.unique(table.t_us[rows], return_index=True)
    bounds = np.append(first, len(rows))
    every = times if looked is None else np.union1d(times, looked)
    there, place = np.isin(every, times), np.searchsorted(times, every)
    for time, found, k in zip(every.tolist(), there.tolist(), place.tolist()):
        group = rows[bounds[k] : bounds[k + 1]] if found else rows[:0]
        yield time, group[table.step[group] == table.step[group[0]]] if len(group) else group
