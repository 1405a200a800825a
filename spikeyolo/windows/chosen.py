"""Which windows of one recording's part a data set takes, as its rules say."""

from __future__ import annotations

import logging

import numpy as np

from spikeyolo.windows import scored, slicing
from spikeyolo.windows.matching import BoxMatcher, Times
from spikeyolo.windows.parts import Part, used
from spikeyolo.windows.rules import WindowRules

log = logging.getLogger(__name__)


def in_a_row(part: Part, rules: WindowRules, *, beyond: bool) -> Times:
    """Ends of a labelled part's windows one behind the other."""
    end_us = part.end_us
    if part.boxes is None:  # nothing to learn or to score
        return np.empty(0, np.int64)
    if beyond:  # from the last whole step on, nothing is scored
        end_us = part.start_us + rules.slice_duration_us * scored.whole_steps(part, rules.slice_duration_us)
    return slicing.back_to_back(duration_us=rules.duration_us, start_us=part.start_us, end_us=end_us, beyond=beyond)


def windows_of(index: int, part: Part, rules: WindowRules, matcher: BoxMatcher) -> tuple[Times, Times | None]:
    """Ends of the part's windows, in time order, and by count their slices' lengths, µs."""
    span = {"start_us": part.start_us, "end_us": part.end_us}
    slice_us = None
    if rules.slicing == "by_count":
        ends, slice_us = _counted(part, rules)
        positives = len(ends)
    elif rules.slicing == "sliding":
        ends = used(slicing.sliding(duration_us=rules.duration_us, overlap=rules.overlap, **span), part)
        ends = ends[slicing.spread(len(ends), rules.max_samples_per_file)]
        positives = len(ends)
    elif part.boxes is None:
        return np.empty(0, np.int64), None
    else:
        times = matcher.label_times(index)
        anchors = used(slicing.anchored(times, duration_us=rules.duration_us, **span), part)
        anchors = anchors[slicing.spread(len(anchors), rules.max_samples_per_file)]
        positives = len(anchors)
        ends = np.sort(np.concatenate([anchors, _empty(index, part, rules, matcher, positives)]))
    if part.boxes is not None:
        _log(part, positives, len(ends) - positives)
    return ends, slice_us


def _counted(part: Part, rules: WindowRules) -> tuple[Times, Times]:
    """Ends and slice lengths of windows of a number of events."""
    recording = part.recording
    # A first event this late leaves room for rounding the slices up.
    low = recording.index_at(part.start_us + rules.time_steps - 1)
    begin, last = slicing.by_count(
        low, recording.index_at(part.end_us), events=rules.events_per_window, overlap=rules.overlap
    )
    if part.labels_from_us is not None:
        known = last >= recording.index_at(part.labels_from_us - 1)
        begin, last = begin[known], last[known]
    chosen = slicing.spread(len(begin), rules.max_samples_per_file)
    ends = slicing.times_of(last[chosen], recording.rows) + 1
    duration = ends - slicing.times_of(begin[chosen], recording.rows)
    return ends, -(-duration // rules.time_steps)


def _empty(index: int, part: Part, rules: WindowRules, matcher: BoxMatcher, positives: int) -> Times:
    """Ends of windows in which nothing is to be seen, as many as the rules ask for beside the labelled ones."""
    negatives = round(rules.negative_share * positives) if positives else rules.max_samples_per_file or 64
    if rules.negative_share == 0:
        negatives = 0
    if rules.max_samples_per_file is not None:
        negatives = min(negatives, rules.max_samples_per_file - positives)
    if negatives <= 0:
        return np.empty(0, np.int64)
    gap = max(matcher.near_us(index), round(max(1.0, rules.temporal_buffer) * rules.duration_us))
    start = part.start_us if part.labels_from_us is None else max(part.start_us, part.labels_from_us)
    ends = [
        slicing.sliding(duration_us=rules.duration_us, overlap=rules.overlap, start_us=begin, end_us=end)
        for begin, end in matcher.empty_stretches(index, start_us=start, end_us=part.end_us, gap_us=gap)
    ]
    seen = matcher.empty_looks(index, start_us=start, end_us=part.end_us)
    ends.append(slicing.anchored(seen, duration_us=rules.duration_us, start_us=part.start_us, end_us=part.end_us))
    every = np.concatenate(ends)
    return every[slicing.spread(len(every), negatives)]


def _log(part: Part, positives: int, negatives: int) -> None:
    if not log.isEnabledFor(logging.DEBUG):
        return
    log.debug(
        "%s: %d events [%d–%d µs] → %d boxes, %d labelled windows, %d empty windows",
        part.name,
        part.recording.count(part.start_us, part.end_us),
        part.start_us,
        part.end_us,
        part.counted,
        positives,
        negatives,
    )
