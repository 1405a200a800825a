"""How many more events lie inside labelled boxes than outside, under any shift of the labels in time and any change of
the boxes: the one measure by which labels and events are held against one another.

Time is cut into bins. Of every bin the boxes are known (interpolated between label times, as training does), and its
events. A shift moves the boxes by whole bins against the events::

    bins of labels     │ boxes 0 │ boxes 1 │ boxes 2 │
    bins of events           │ events 0 │ events 1 │ events 2 │     shift = +1 bin: boxes come later
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
Change = Callable[[Float32], Float32]


@dataclass(frozen=True, eq=False)
class Stretch:
    """A part of one recording: its events, thinned evenly, and the boxes of every bin.

    Attributes:
        name: of the recording.
        start_us: of the first bin, µs.
        bin_us: length of a bin, µs.
        x, y: ``[N]`` float32, px, in the order of time.
        p: ``[N]`` uint8, polarity.
        first_event: ``[K + 1]`` int64, first event of each bin.
        xyxy: ``[M, 4]`` float32, px of the sensor, not cut at its edges.
        first_box: ``[L + 1]`` int64, first box of each of the labels' bins.
        known: ``[L]`` bool, whether it is known what the bin shows.
        before: bins of labels before the first bin of events; as many come after the last.
        width, height: of the sensor, px.
        kept: share of the events that thinning left.
    """

    name: str
    start_us: int
    bin_us: int
    x: Float32
    y: Float32
    p: npt.NDArray[np.uint8]
    first_event: Int64
    xyxy: Float32
    first_box: Int64
    known: npt.NDArray[np.bool_]
    before: int
    width: int
    height: int
    kept: float = 1.0

    @property
    def bins(self) -> int:
        return len(self.first_event) - 1

    @property
    def end_us(self) -> int:
        return self.start_us + self.bins * self.bin_us


@dataclass(frozen=True)
class Density:
    """Events in bins of which the boxes are known.

    Attributes:
        events: all of them.
        inside: those in a box.
        expected: those that would be in a box if events lay evenly over the sensor.
        bins: how many these are.
    """

    events: float
    inside: float
    expected: float
    bins: float

    def __add__(self, other: Density) -> Density:
        return Density(
            self.events + other.events,
            self.inside + other.inside,
            self.expected + other.expected,
            self.bins + other.bins,
        )

    @property
    def ratio(self) -> float:
        """Event density inside boxes to that outside; 1 where boxes tell nothing, or nothing can be told."""
        outside, room = self.events - self.inside, self.events - self.expected
        if self.expected <= 0 or room <= 0 or outside <= 0:
            return 1.0
        return (self.inside / self.expected) / (outside / room)

    @property
    def information(self) -> float:
        """What the boxes tell of where an event lies, nats an event: the divergence of the shares of events inside and
        outside from those of the areas; negative where there are fewer events inside than outside."""
        if self.events <= 0 or not 0 < self.expected < self.events:
            return 0.0
        p, q = self.inside / self.events, self.expected / self.events
        gain = (p * np.log(p / q) if p > 0 else 0.0) + ((1 - p) * np.log((1 - p) / (1 - q)) if p < 1 else 0.0)
        return float(gain if p >= q else -gain)


NOTHING = Density(0.0, 0.0, 0.0, 0.0)


def density(stretches: Sequence[Stretch], *, shift_us: float = 0.0, change: Change | None = None) -> Density:
    """Of all stretches together.

    Args:
        shift_us: the boxes come so much later, µs, rounded to bins.
        change: of boxes ``[M, 4]``; None leaves them.
    """
    total = NOTHING
    for item in stretches:
        xyxy = item.xyxy if change is None else np.ascontiguousarray(change(item.xyxy), np.float32)
        found = _count(
            item.x,
            item.y,
            item.first_event,
            xyxy,
            item.first_box,
            item.known,
            item.before - round(shift_us / item.bin_us),
            float(item.width),
            float(item.height),
        )
        total += Density(*found)
    return total


@numba.njit(nogil=True, cache=True)
def _count(
    x: Any, y: Any, first_event: Any, xyxy: Any, first_box: Any, known: Any, ahead: Any, width: Any, height: Any
) -> Any:
    """Events, events inside a box, the sum over events of the boxes' share of the sensor, and the bins that have boxes
    and events; a bin of events belongs to that of labels ``ahead`` further on."""
    events, inside, expected, bins = 0.0, 0.0, 0.0, 0.0
    for k in range(len(first_event) - 1):
        j = k + ahead
        if j < 0 or j >= len(known) or not known[j] or first_box[j] == first_box[j + 1]:
            continue
        low, high = first_event[k], first_event[k + 1]
        if low == high:
            continue
        area = 0.0
        for b in range(first_box[j], first_box[j + 1]):
            wide = min(xyxy[b, 2], width) - max(xyxy[b, 0], 0.0)
            tall = min(xyxy[b, 3], height) - max(xyxy[b, 1], 0.0)
            if wide > 0 and tall > 0:
                area += wide * tall
        bins += 1.0
        events += high - low
        expected += (high - low) * min(area / (width * height), 1.0)
        for i in range(low, high):
            for b in range(first_box[j], first_box[j + 1]):
                if xyxy[b, 0] <= x[i] + 0.5 < xyxy[b, 2] and xyxy[b, 1] <= y[i] + 0.5 < xyxy[b, 3]:
                    inside += 1.0
                    break
    return events, inside, expected, bins
