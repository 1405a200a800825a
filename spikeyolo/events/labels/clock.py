"""Whose clock label times are on, and how they come to the events': never guessed, but a refusal names what fits."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from spikeyolo.errors import LabelError

LabelClock = Literal["start", "camera", "unix"]
Times = npt.NDArray[np.int64]


def on_events_clock(
    t: Times, label_clock: LabelClock, *, source: Any, start_us: int, time_offset_us: int, recording_clock: str
) -> Times:
    """Label times ``[M]``, µs, on the clock of the stored events.

    Args:
        label_clock: ``start``, they count from the first event; ``camera``, they are on the clock of the events file;
            ``unix``, they count from 1970, as the events file's own times must.
        source: what errors call the label file.
        start_us: time of the recording's first event, as stored.
        time_offset_us: what was taken off the times of the events file.
        recording_clock: what those count from, ``camera`` or ``unix``.

    Raises:
        LabelError: the labels are on unix time, the recording is not.
    """
    if label_clock == "start":
        return t + start_us
    if label_clock == "unix" and recording_clock != "unix":
        raise LabelError(
            f"{source}: label_clock is unix, but the events file counts on its camera's clock (from {time_offset_us} "
            "µs on); expected label_clock=start or label_clock=camera"
        )
    return t - time_offset_us


def fitting_clocks(
    t: Times, label_clock: LabelClock, *, span_us: tuple[int, int], time_offset_us: int, recording_clock: str
) -> str:
    """A clause for the refusal of labels outside the recording: which other ``label_clock`` puts all inside it."""
    first, end = span_us
    inside = {
        "start": (t >= 0) & (t < end - first),
        "unix" if recording_clock == "unix" else "camera": (t - time_offset_us >= first) & (t - time_offset_us < end),
    }
    fits = [f"label_clock={name}" for name, rows in inside.items() if name != label_clock and rows.all()]
    return f"; they would fit with {' or '.join(fits)} (found label_clock={label_clock})" if fits else ""
