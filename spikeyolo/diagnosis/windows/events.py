"""Events of windows, whatever their labels: slices with nothing to see, pixels that give most of what there is."""

from __future__ import annotations

import numpy as np

from spikeyolo.diagnosis.finding import Finding, share
from spikeyolo.diagnosis.origin import cool
from spikeyolo.diagnosis.windows.counted import Counted, rounded, spread_words
from spikeyolo.report.pictures.diagnosis import draw_histogram
from spikeyolo.windows.data import EventData
from spikeyolo.windows.rules import WindowRules

EMPTY_SLICES = 0.5  # share of slices without any event
HOT = 0.5  # share of events in hot pixels
HOT_FACTOR = 50  # times the events of the median active pixel, from which on one is hot


def longer(rules: WindowRules, slice_us: int) -> str:
    """The override that makes windows longer in time.

    Args:
        slice_us: of a time step as it should be, µs.
    """
    if rules.slicing != "by_count":
        return f"data.slice_duration_us={slice_us}"
    return f"data.events_per_window={rounded(rules.events_per_window * slice_us / rules.slice_duration_us)}"


def empty_slices(found: Counted, rules: WindowRules) -> list[Finding]:
    """That most slices hold no event."""
    empty = float((found.events == 0).mean())
    if empty <= EMPTY_SLICES:
        return []
    rate = float(found.events.sum()) / found.events.size / rules.slice_duration_us  # events a µs
    enough = rounded(20 / rate) if rate > 0 and rules.slicing != "by_count" else 10 * rules.slice_duration_us
    kind = f"of {rules.slice_duration_us} µs" if rules.slicing != "by_count" else "of windows by count"
    return [
        Finding(
            "empty_slices",
            f"{share(empty)} of slices {kind} hold no event: there is nothing to see",
            overrides=(longer(rules, enough),),
            evidence=(("events a slice", spread_words(found.events.ravel())),),
            draw=lambda path: draw_histogram(path, found.events.ravel().astype(np.float64), label="events a slice"),
        )
    ]


def hot_pixels(found: Counted, data: EventData) -> list[Finding]:
    """That few pixels give most of the events."""
    active = found.pixel_events[found.pixel_events > 0]
    if not len(active):
        return []
    limit = HOT_FACTOR * max(float(np.median(active)), 1.0)
    hot = active[active > limit]
    part = float(hot.sum()) / float(active.sum())
    if part <= HOT:
        return []
    mend = cool(data.dataset, HOT_FACTOR)
    return [
        Finding(
            "hot_pixels",
            f"{len(hot)} pixels give {share(part)} of the events: they are damaged, or a lamp flickers",
            remedy=mend.remedy,
            overrides=mend.overrides,
            entry=mend.entry,
            evidence=(("active pixels", str(len(active))), ("hot", str(len(hot)))),
            draw=lambda path: draw_histogram(
                path, active.astype(np.float64), label="events of an active pixel", marks=(("hot from here on", limit),)
            ),
        )
    ]
