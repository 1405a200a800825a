"""Events of windows, whatever their labels: pixels that give most of what there is."""

from __future__ import annotations

import numpy as np

from spikeyolo.diagnosis.finding import Finding, share
from spikeyolo.diagnosis.origin import cool
from spikeyolo.diagnosis.windows.counted import Counted
from spikeyolo.report.pictures.diagnosis import draw_histogram
from spikeyolo.windows.data import EventData

HOT = 0.5  # share of events in hot pixels
HOT_FACTOR = 50  # times the events of the median active pixel, from which on one is hot


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
