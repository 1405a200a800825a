"""Whether the recordings of a role can be learnt from and measured on: refused, or said, before the first batch."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np

from spikeyolo.errors import ConfigError, LabelError
from spikeyolo.events.conversion.identity import first_event_us, label_span
from spikeyolo.events.datasets import Source
from spikeyolo.events.labels import LabelRules
from spikeyolo.events.labels.units import RULES_AT, TimeUnit, meant_unit
from spikeyolo.events.splits import Role
from spikeyolo.windows.dataset import WindowDataset
from spikeyolo.windows.parts import Part, absent_classes

log = logging.getLogger(__name__)

_BEGINS: dict[Role, str] = {"val": "data.train_until_us", "test": "data.test_from_us"}


def check_boxes(parts: Sequence[Part], classes: Sequence[str]) -> None:
    """Refuse training recordings without any box; say of which classes there is none.

    Raises:
        LabelError: there is no box to learn from.
    """
    absent = absent_classes(parts, classes)
    if len(absent) == len(classes):
        raise LabelError(
            f"train: none of {len(parts)} recordings has a box; expected labelled objects of "
            f"{', '.join(classes)} to learn from"
        )
    if absent:
        log.warning("train: no box of %s in %d recordings: they cannot be learnt", ", ".join(absent), len(parts))


def check_windows(dataset: WindowDataset) -> None:
    """Refuse training windows of which none shows a box.

    Raises:
        LabelError: nothing could be learnt from them.
    """
    if shows_a_box(dataset):
        return
    unit = next((found for part in dataset.parts if (found := stored_unit(part)) is not None), None)
    expected = (
        "labels near the ends of their time steps: a longer data.temporal_buffer, or label times that fit the events "
        "(python -m spikeyolo.doctor looks for what is wrong with them)"
        if unit is None
        else f"time_unit={unit} in the label rules, with which label times fit their recording ({RULES_AT})"
    )
    raise LabelError(
        f"train: none of {len(dataset)} windows holds a box on a step that is learnt from, of "
        f"{sum(part.counted for part in dataset.parts)} boxes in {len(dataset.parts)} recordings; expected {expected}"
    )


def say_undefined(role: Role, parts: Sequence[Part], classes: Sequence[str]) -> bool:
    """Say which figures the recordings of a role leave undefined; returns whether some are defined."""
    absent = absent_classes(parts, classes)
    if len(absent) == len(classes):
        found = f"{len(parts)} recordings without any box"
        log.warning("%s: %s: %s/map50, %s/map … will not be defined", role, found, role, role)
        return False
    if absent:
        names = ", ".join(absent)
        figures = ", ".join(f"{role}/ap/{name}, {role}/ap50/{name}" for name in absent)
        log.warning("%s: no box of %s in %d recordings: %s will not be defined", role, names, len(parts), figures)
    return True


def say_undefined_windows(role: Role, dataset: WindowDataset) -> None:
    """Say that no window of a role shows a box."""
    if not shows_a_box(dataset):
        words = "%s: none of %d windows holds a box on a step that is scored: %s/map50, %s/map … will not be defined"
        log.warning(words, role, len(dataset), role, role)


def check_begun(role: Role, parts: Sequence[Part], sources: Sequence[Source]) -> None:
    """Refuse a role that begins, in each recording, only after its end.

    Args:
        sources: of the parts, in their order.

    Raises:
        ConfigError: it does.
    """
    if role not in _BEGINS or any(part.start_us < part.end_us for part in parts):
        return
    lasts = [part.recording.end_us - first_event_us(part.recording) for part in parts]
    if not lasts:
        return
    longest = int(np.argmax(lasts))
    source = sources[longest]
    if source.start_us is not None and source.start_us >= lasts[longest]:
        raise ConfigError(
            f"{_BEGINS[role]}: found {source.start_us}; expected less than {lasts[longest]}, where "
            f"{source.address(source.events)} ends (µs from its first event)"
        )


def shows_a_box(dataset: WindowDataset) -> bool:
    """Whether any window has a box on a supervised step; looks no further than to the first."""
    placement = dataset.encoder.placement()
    for index in _near_labels(dataset):
        boxes, supervised = dataset.targets(dataset.window(index), placement)
        if supervised[boxes.step].any():
            return True
    return False


def stored_unit(part: Part) -> TimeUnit | None:
    """The unit that the label times of a part must be in, where they were read as µs; None: no other fits so much
    better."""
    if part.boxes is None:
        return None
    first = first_event_us(part.recording)
    span_us = label_span(part.recording, (part.recording.start_us, part.recording.end_us))
    tolerance_us = LabelRules().time_tolerance_us
    return meant_unit(
        part.boxes.t - first, "us", span_us=span_us, tolerance_us=tolerance_us, on_clock=lambda t: t + first
    )


def _near_labels(dataset: WindowDataset) -> Iterator[int]:
    """Indices of the windows near enough to a look that shows a box for it to be on one of their steps."""
    matcher = dataset.matcher
    recording, begins, ends = dataset.bounds()
    for part in range(len(dataset.parts)):
        times = matcher.label_times(part)
        rows = np.flatnonzero(recording == part) if len(times) else times
        begin, end = begins[rows], ends[rows]
        reach = np.maximum(matcher.temporal_buffer * (end - begin), max(matcher.interval_us, matcher.max_gap_us)) + 1
        near = np.searchsorted(times, end + reach) > np.searchsorted(times, begin - reach)
        yield from rows[near].tolist()
