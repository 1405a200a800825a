"""Whose clock label times are on, and how they come to the events': never guessed, but a refusal names what fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from spikeyolo.errors import LabelError

LabelClock = Literal["start", "camera", "unix"]
Times = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class EventsClock:
    """Brings label times to the clock of the stored events.

    Attributes:
        label_clock: ``start``, they count from the first event; ``camera``, they are on the clock of the events file;
            ``unix``, they count from 1970, as the events file's own times must.
        source: what errors call the label file.
        start_us: time of the recording's first event, as stored.
        time_offset_us: what was taken off the times of the events file.
        recording_clock: what those count from, ``camera`` or ``unix``.
        shift_us: by how much the labels' clock is behind, µs.
    """

    label_clock: LabelClock
    source: str
    start_us: int
    time_offset_us: int
    recording_clock: str
    shift_us: int = 0

    def of(self, t: Times) -> Times:
        """Label times ``[M]``, µs, on the clock of the stored events.

        Raises:
            LabelError: the labels are on unix time, the recording is not.
        """
        t = t + self.shift_us
        if self.label_clock == "start":
            return t + self.start_us
        if self.label_clock == "unix" and self.recording_clock != "unix":
            raise LabelError(
                f"{self.source}: label_clock is unix, but the events file counts on its camera's clock (from "
                f"{self.time_offset_us} µs on); expected label_clock=start or label_clock=camera"
            )
        return t - self.time_offset_us

    def fitting(self, t: Times, span_us: tuple[int, int]) -> str:
        """A clause for the refusal of labels outside the recording: which other ``label_clock`` puts all inside it."""
        first, end = span_us
        t = t + self.shift_us
        inside = {
            "start": (t >= 0) & (t < end - first),
            "unix" if self.recording_clock == "unix" else "camera": (t - self.time_offset_us >= first)
            & (t - self.time_offset_us < end),
        }
        fits = [f"label_clock={name}" for name, rows in inside.items() if name != self.label_clock and rows.all()]
        return f"; they would fit with {' or '.join(fits)} (found label_clock={self.label_clock})" if fits else ""
