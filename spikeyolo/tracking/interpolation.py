"""Boxes in the gaps of tracks: between two detections of a track that was missed for a while, straight lines."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from spikeyolo.detections import DetectionTable


def interpolated(table: DetectionTable, *, gap_us: int) -> DetectionTable:
    """The rows of a table of tracks, and one at each of the table's times that lies in a gap of a track.

    Args:
        table: with track ids.
        gap_us: gaps that are longer stay, µs; 0: all.

    Returns:
        Rows by recording and time. A new row has the score of the weaker neighbour, the step that stands for its time
        (the table's highest there), and, where there are embeddings, that of the neighbour before.
    """
    order = np.lexsort((table.t_us, table.track_id, table.recording))
    order = order[table.track_id[order] >= 0]
    same = (np.diff(table.recording[order]) == 0) & (np.diff(table.track_id[order]) == 0)
    before, after = order[:-1][same], order[1:][same]
    wide = table.t_us[after] - table.t_us[before] <= gap_us
    before, after = before[wide], after[wide]
    standing = standing_rows(table)
    by_recording = [standing[table.recording[standing] == r] for r in range(len(table.recordings))]
    times = [table.t_us[of_times] for of_times in by_recording]
    rows: list[np.ndarray[Any, Any]] = []
    for one, other in zip(before.tolist(), after.tolist()):
        recording = table.recording[one]
        start = np.searchsorted(times[recording], table.t_us[one], "right")
        between = by_recording[recording][start : np.searchsorted(times[recording], table.t_us[other])]
        rows.append(np.column_stack((np.full_like(between, one), np.full_like(between, other), between)))
    new = np.concatenate([np.empty((0, 3), np.int64), *rows])
    left, right, stands = new.T
    t_us = table.t_us[stands]
    share = (t_us - table.t_us[left]) / (table.t_us[right] - table.t_us[left])
    xywh = table.xywh[left] + share[:, None].astype(np.float32) * (table.xywh[right] - table.xywh[left])
    index = np.concatenate((np.arange(len(table)), left))
    whole = table[index]
    for name, values in (
        ("t_us", t_us),
        ("step", table.step[stands]),  # the scores take one step a time
        ("score", np.minimum(table.score[left], table.score[right])),
        ("xywh", xywh),
    ):
        getattr(whole, name)[len(table) :] = values
    return whole[np.lexsort((whole.track_id, whole.t_us, whole.recording))]


def standing_rows(table: DetectionTable) -> npt.NDArray[np.int64]:
    """One row of each time of each recording, of the highest step there; in order."""
    order = np.lexsort((table.step, table.t_us, table.recording))
    ends = (np.diff(table.recording[order]) != 0) | (np.diff(table.t_us[order]) != 0)
    rows: npt.NDArray[np.int64] = order[np.append(ends, True)[: len(order)]]
    return rows
