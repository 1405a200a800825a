"""How windows are cut and matched, as a data set's configuration says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Slicing = Literal["around_labels", "sliding", "by_count"]
TargetRule = Literal["per_slice", "last"]


@dataclass(frozen=True)
class WindowRules:
    """How windows are cut and matched.

    Attributes:
        slice_duration_us: length of one time step, µs; ``by_count`` sets each window's own.
        time_steps: T.
        slicing: ``around_labels`` looks back from each label time; ``sliding`` covers everything; ``by_count`` too, in
            windows of ``events_per_window`` events: such a window ends 1 µs after its last event, and its T slices
            last the T-th part of the time back to its first event each, rounded up to whole µs.
        events_per_window: at least as many a window holds ``by_count``; more where events of one time, or of the few
            µs that rounding adds before the first, belong to it too.
        overlap: share of a window's length that it has in common with the next one, where windows slide.
        temporal_buffer: share of a window's length by which a label may lie outside it and still belong to it.
        max_label_gap_us: the longest time between two looks of the annotators that is interpolated, µs; None takes 1.5
            times their usual interval, the median over all recordings of the role.
        targets: ``per_slice`` gives every time step its boxes; ``last`` supervises only the last one.
        max_samples_per_file: windows of one recording, spread evenly; None takes all.
        max_events_per_sample: a window with more events is thinned evenly; None takes all.
        negative_share: windows from empty stretches of labelled recordings, as a share of the labelled windows.
    """

    slice_duration_us: int
    time_steps: int
    slicing: Slicing = "around_labels"
    events_per_window: int = 50_000
    overlap: float = 0.25
    temporal_buffer: float = 0.2
    max_label_gap_us: int | None = None
    targets: TargetRule = "per_slice"
    max_samples_per_file: int | None = None
    max_events_per_sample: int | None = None
    negative_share: float = 0.1

    @property
    def duration_us(self) -> int:
        return self.slice_duration_us * self.time_steps
