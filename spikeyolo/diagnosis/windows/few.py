"""Windows with too few events to see an object in: slices without any, and true boxes with hardly one. Both come of one
cause, and are named once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spikeyolo.diagnosis.finding import Finding, share
from spikeyolo.diagnosis.windows.counted import Counted, rounded, spread_words
from spikeyolo.diagnosis.windows.fitting import times_as_long
from spikeyolo.report.pictures.diagnosis import draw_histogram
from spikeyolo.windows.parts import Part
from spikeyolo.windows.rules import WindowRules

EMPTY_SLICES = 0.5  # share of slices without any event
WITHOUT_EVENTS = 0.3  # share of true boxes without any event in their window
# The frame around n events spread evenly over a box covers about ((n - 1) / (n + 1))² of it: with 10 two thirds, with 5
# less than half, with 50 nine tenths. So few do not tell where an object ends, whatever sees them.
TOO_FEW = 10  # events of a window in the median true box
ENOUGH = 50  # what proposed windows aim at
ENOUGH_A_SLICE = 20  # the same of slices that hold none, over the whole frame
_NO_CHANCE = 0.5  # share of the events that would be in a box by chance, below which its object makes none


def longer(rules: WindowRules, slice_us: int) -> str:
    """The override that makes windows longer in time.

    Args:
        slice_us: of a time step as it should be, µs.
    """
    if rules.slicing != "by_count":
        return f"data.slice_duration_us={slice_us}"
    return f"data.events_per_window={rounded(rules.events_per_window * slice_us / rules.slice_duration_us)}"


def too_few(found: Counted, rules: WindowRules, parts: Sequence[Part]) -> list[Finding]:
    """That most slices hold no event, or else that the typical true box holds hardly any (without labels: a window)."""
    empty = float((found.events == 0).mean())
    windows = found.events.sum(1)
    boxes = len(found.in_box) > 0
    typical = float(np.median(found.in_box if boxes else windows))
    if empty <= EMPTY_SLICES and (typical >= TOO_FEW or bare_boxes(found)):
        return []
    overrides = _more_events(found, rules, parts)
    evidence = (
        ("events a slice", spread_words(found.events.ravel())),
        ("events a window", spread_words(windows)),
        *((("events in a true box", spread_words(found.in_box)),) if boxes else ()),
    )
    remedy = (
        ""
        if overrides
        else "windows in which there would be enough do not fit into the recordings: a camera with lower thresholds "
        "(its biases) gives more events"
    )
    if empty > EMPTY_SLICES:
        kind = f"of {rules.slice_duration_us} µs" if rules.slicing != "by_count" else "of windows by count"
        return [
            Finding(
                "empty_slices",
                f"{share(empty)} of slices {kind} hold no event: there is nothing to see",
                remedy=remedy,
                overrides=overrides,
                evidence=evidence,
                draw=lambda path: draw_histogram(path, found.events.ravel().astype(np.float64), label="events a slice"),
            )
        ]
    length = f"{rules.duration_us} µs" if rules.slicing != "by_count" else f"{rules.events_per_window} events"
    held = (
        f"true box holds {typical:g} events in its window of {length}"
        if boxes
        else f"window of {length} holds {typical:g} events"
    )
    return [
        Finding(
            "few_events",
            f"the median {held}: fewer than {TOO_FEW} do not tell where an object ends",
            remedy=remedy,
            overrides=overrides,
            evidence=evidence,
            draw=lambda path: draw_histogram(
                path,
                (found.in_box if boxes else windows).astype(np.float64),
                label="events in a true box" if boxes else "events a window",
                marks=(("enough", TOO_FEW),),
            ),
        )
    ]


def bare_boxes(found: Counted) -> bool:
    """Whether many true boxes hold no event although windows are long enough: their objects make none, while others
    make many, or while the window's events lie elsewhere."""
    if not len(found.in_box) or (found.in_box == 0).mean() <= WITHOUT_EVENTS:
        return False
    seen = found.in_box[found.in_box > 0]
    if len(seen) and np.median(seen) >= TOO_FEW:
        return True
    enough = np.median(found.events.sum(1)) >= TOO_FEW  # for an object, were they in its box
    return bool(enough and found.in_box.sum() < _NO_CHANCE * found.by_chance.sum())


def _more_events(found: Counted, rules: WindowRules, parts: Sequence[Part]) -> tuple[str, ...]:
    """Overrides under which windows hold enough; none where windows would not fit into the recordings."""
    unlimited = ("data.max_events_per_sample=null",) if found.kept < 1 else ()
    seen = found.in_box if len(found.in_box) else found.events.sum(1)
    usual = float(np.median(seen))
    if usual < 1:  # a count as low as that is too coarse to be scaled
        usual = float(seen.mean())
    asked = [ENOUGH / usual] if usual else []
    if (found.events == 0).mean() > EMPTY_SLICES and found.events.any():
        asked.append(ENOUGH_A_SLICE / float(found.events.mean()))
    times = found.kept * max(asked, default=0.0)
    if unlimited and times <= ENOUGH / TOO_FEW:
        return unlimited
    if times <= 1:  # no event at all, or many in few stretches of the recordings
        times = 10.0
    slice_us = rounded(times * rules.slice_duration_us)
    if slice_us > times_as_long(parts, rules) * rules.slice_duration_us:
        return ()
    return (*unlimited, longer(rules, slice_us))
