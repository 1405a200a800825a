"""How long the steps of a table are, so that steps at which nothing was found are told from times at which nobody
looked."""

from __future__ import annotations

import numpy as np

from spikeyolo.detections import DetectionTable

AROUND = ("around_labels", "as_trained")  # windows of an evaluation between which nobody looked


def usual_step_us(table: DetectionTable) -> int | None:
    """The usual time between two steps of a table, µs; None where it has none, or was made around labels only.

    The median of the times between rows; not more than the time steps of the table's own making, where it tells them.
    """
    made = table.metadata
    windows = (made.get("identity") or {}).get("windows") if isinstance(made.get("identity"), dict) else None
    if isinstance(windows, dict) and windows.get("windows") in AROUND:
        return None
    order = np.lexsort((table.t_us, table.recording))
    gaps = np.diff(table.t_us[order])[np.diff(table.recording[order]) == 0]
    gaps = gaps[gaps > 0]
    if not len(gaps):
        return None
    usual = int(np.median(gaps))
    slice_us = made.get("slice_duration_us")
    every_step = len(np.unique(table.step)) > 1 or made.get("time_steps") == 1
    return min(usual, slice_us) if isinstance(slice_us, int) and every_step else usual
