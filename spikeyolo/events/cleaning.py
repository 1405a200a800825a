"""Rules for dirty events: those outside the sensor, and times that step back. Cleaned as they are read, and counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal

from annotated_types import Ge, Interval
from numba import njit

from spikeyolo.errors import RecordingError
from spikeyolo.events.types import Array, Events

_NONE, _OUTSIDE, _STEP_BACK, _BEYOND, _POLARITY = range(5)


@dataclass(frozen=True, kw_only=True)
class EventRules:
    """How the events of a recording are cleaned; each event a rule touches is counted (:class:`EventCounts`).

    An event outside the sensor is left out, and its time counts for nothing. A time that steps back is lifted to the
    largest so far. A recording's times then start at 0 with its first event that is kept.

    Attributes:
        strict: the first such event is an error.
        max_step_back_us: a time that steps back by more is damage, µs.
        beyond: what becomes of a recording at such a step: it is refused, or cut before it.
        max_dirty_share: a recording in which a larger share of the events is left out or lifted is refused; a single
            dirty event is never too much, unless this is 0.
    """

    strict: bool = False
    max_step_back_us: Annotated[int, Ge(0)] = 100_000
    beyond: Literal["refuse", "cut"] = "refuse"
    max_dirty_share: Annotated[float, Interval(ge=0, le=1)] = 0.001

    def as_dict(self) -> dict[str, Any]:
        """For manifests and attributes."""
        return asdict(self)

    def too_dirty(self, counts: EventCounts) -> bool:
        """Whether a recording of such counts is refused."""
        allowed = max(1.0, self.max_dirty_share * counts.in_file) if self.max_dirty_share else 0
        return counts.dirty > allowed

    def leave(self, counts: EventCounts) -> bool:
        """Whether a recording that other rules cleaned to these counts would have come out the same."""
        if counts.clean:
            return True
        gentle = counts.largest_step_back_us <= self.max_step_back_us and not self.too_dirty(counts)
        return gentle and not self.strict and not counts.cut


@dataclass(frozen=True, kw_only=True)
class EventCounts:
    """What became of a recording's events.

    Attributes:
        in_file: events in the file that have a time.
        outside_sensor: left out, as their pixel is none of the sensor's.
        stepped_back: kept at a later time than the file's, the largest before them.
        largest_step_back_us: the largest of those steps, µs.
        time_jumps: EVT time words that jumped far ahead and back with the next; a warning only.
        cut: whether the recording was cut before a larger step back.
    """

    in_file: int = 0
    outside_sensor: int = 0
    stepped_back: int = 0
    largest_step_back_us: int = 0
    time_jumps: int = 0
    cut: bool = False

    @property
    def kept(self) -> int:
        """Events that were not left out."""
        return self.in_file - self.outside_sensor

    @property
    def dirty(self) -> int:
        """Events that were left out or lifted."""
        return self.outside_sensor + self.stepped_back

    @property
    def clean(self) -> bool:
        """Whether the events would be the same under any rules."""
        return not self.dirty and not self.cut

    def as_dict(self) -> dict[str, Any]:
        """For manifests and attributes: ``in_file``, ``kept`` and each count that is not 0."""
        found = asdict(self)
        in_file = found.pop("in_file")
        return {"in_file": in_file, "kept": self.kept, **{k: v for k, v in found.items() if v}}

    @classmethod
    def from_dict(cls, counts: Mapping[str, Any]) -> EventCounts:
        """Of what :meth:`as_dict` gave; unknown names are passed over."""
        return cls(**{name: counts[name] for name in cls.__dataclass_fields__ if name in counts})

    def __add__(self, other: EventCounts) -> EventCounts:
        """Of both recordings together."""
        return EventCounts(
            in_file=self.in_file + other.in_file,
            outside_sensor=self.outside_sensor + other.outside_sensor,
            stepped_back=self.stepped_back + other.stepped_back,
            largest_step_back_us=max(self.largest_step_back_us, other.largest_step_back_us),
            time_jumps=self.time_jumps + other.time_jumps,
            cut=self.cut or other.cut,
        )

    def words(self) -> str:
        """What was cleaned, for a person; empty where nothing was."""
        parts = []
        if self.outside_sensor:
            parts.append(f"{self.outside_sensor} outside the sensor left out")
        if self.stepped_back:
            parts.append(
                f"{self.stepped_back} stepped back in time by up to {self.largest_step_back_us} µs, lifted to the time "
                "before them"
            )
        if self.cut:
            parts.append("cut at a larger step back")
        return f"of {self.in_file} events: {', '.join(parts)}" if parts else ""


class Cleaner:
    """Cleans one recording's batches, in order, in place.

    Args:
        rules: what to do.
        source: what errors call the recording.
        width, height: the sensor, px.
    """

    def __init__(self, rules: EventRules, *, source: str, width: int, height: int) -> None:
        self.rules = rules
        self.source = source
        self.width, self.height = width, height
        self.counts = EventCounts()
        self.ended = False
        self._last_us = -(1 << 63)
        self._rows_read = 0

    def clean(self, events: Events, *, suspect: bool, origin_us: int = 0) -> Events:
        """The batch as it is kept: itself where nothing is dirty, otherwise a view of its cleaned columns.

        Args:
            events: the next batch; not empty.
            suspect: False where the decoder has seen that nothing in it is dirty.
            origin_us: what was taken off the file's times, for errors.

        Raises:
            RecordingError: a polarity is above 1, an event is dirty under ``strict``, or a time steps back by more than
                ``max_step_back_us``.
        """
        rows = len(events)
        dirty = events.t[0] < self._last_us  # a decoder knows the file's last time, not the one that was lifted
        if suspect and not dirty:
            dirty = _any_dirty(events.t, events.x, events.y, events.p, self.width, self.height)
        if dirty:
            events = self._cleaned(events, origin_us)
            rows = self._rows_read
        self.counts = self.counts + EventCounts(in_file=rows)
        if len(events):
            self._last_us = int(events.t[-1])
        return events

    def finish(self) -> None:
        """Look at the whole recording's counts.

        Raises:
            RecordingError: too many events are dirty.
        """
        if self.rules.too_dirty(self.counts):
            raise RecordingError(
                f"{self.source}: too many dirty events, {self.counts.words()}; expected at most a share of "
                f"{self.rules.max_dirty_share:g} "
                f"(max_dirty_share of the event rules; {self.width}x{self.height} px is taken as the sensor)"
            )

    def note_time_jumps(self, count: int) -> None:
        """Take over what an EVT decoder has counted so far."""
        self.counts = replace(self.counts, time_jumps=count)

    def _cleaned(self, events: Events, origin_us: int) -> Events:
        t, x, y, p = events.t, events.x, events.y, events.p
        if not t.flags.writeable:
            t, x, y, p = t.copy(), x.copy(), y.copy(), p.copy()
        rules = self.rules
        kept, outside, lifted, largest, why, at, before = _clean(
            t, x, y, p, self.width, self.height, self._last_us, rules.max_step_back_us, rules.strict
        )
        index = self.counts.in_file + at
        if why == _OUTSIDE:
            raise RecordingError(
                f"{self.source}: event {index} lies at x={x[at]}, y={y[at]}; "
                f"expected a pixel of the {self.width}x{self.height} sensor (strict=true)"
            )
        if why == _POLARITY:
            raise RecordingError(f"{self.source}: event {index} has polarity {p[at]}; expected 0 (OFF) or 1 (ON)")
        if why in (_STEP_BACK, _BEYOND):
            step = f"time decreases at event {index} ({before + origin_us} µs, then {t[at] + origin_us} µs)"
        if why == _STEP_BACK:
            raise RecordingError(f"{self.source}: {step}; expected non-decreasing times (strict=true)")
        if why == _BEYOND and rules.beyond == "refuse":
            jumps = ", after a time word that jumps far ahead" if self.counts.time_jumps else ""
            raise RecordingError(
                f"{self.source}: damaged, {step}{jumps}; expected steps back of at most {rules.max_step_back_us} µs "
                "(max_step_back_us of the event rules; beyond=cut keeps the events before)"
            )
        self.ended = why == _BEYOND
        self._rows_read = at if self.ended else len(t)
        self.counts = self.counts + EventCounts(
            outside_sensor=outside, stepped_back=lifted, largest_step_back_us=largest, cut=self.ended
        )
        return Events(t[:kept], x[:kept], y[:kept], p[:kept], self.width, self.height)


@njit(nogil=True, cache=True)
def _any_dirty(t: Array, x: Array, y: Array, p: Array, width: int, height: int) -> bool:
    """Whether some invariant is broken; sums over the whole batch, which vectorise."""
    bad = 0
    for i in range(1, len(t)):
        bad += t[i] < t[i - 1]
    for i in range(len(t)):
        bad += (x[i] >= width) | (y[i] >= height) | (p[i] > 1)
    return bad > 0


@njit(nogil=True, cache=True)
def _clean(
    t: Array, x: Array, y: Array, p: Array, width: int, height: int, last_us: int, max_step_us: int, strict: bool
) -> tuple[int, int, int, int, int, int, int]:
    """Close the gaps of events left out and lift times, in place.

    Returns:
        Rows kept, outside, lifted, largest step, why it ended early, at which row, and the largest time before it.
    """
    last = last_us
    kept = outside = lifted = largest = 0
    for i in range(len(t)):
        if p[i] > 1:
            return kept, outside, lifted, largest, _POLARITY, i, last
        if x[i] >= width or y[i] >= height:
            if strict:
                return kept, outside, lifted, largest, _OUTSIDE, i, last
            outside += 1
            continue
        now = t[i]
        if now < last:
            step = last - now
            if strict:
                return kept, outside, lifted, largest, _STEP_BACK, i, last
            if step > max_step_us or step < 0:  # below 0: not even 64 bits hold it
                return kept, outside, lifted, largest, _BEYOND, i, last
            lifted += 1
            largest = max(largest, step)
            now = last
        t[kept], x[kept], y[kept], p[kept] = now, x[i], y[i], p[i]
        kept += 1
        last = now
    return kept, outside, lifted, largest, _NONE, len(t), last
