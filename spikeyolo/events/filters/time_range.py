"""The stated time range: events outside it are left out."""

from __future__ import annotations

import numpy as np

from spikeyolo.events.types import Events


class TimeRange:
    """Keeps the events of ``start_us <= t < end_us``, µs from the recording's first event."""

    def __init__(self, start_us: int, end_us: int) -> None:
        self.start_us, self.end_us = start_us, end_us

    def apply(self, events: Events) -> Events:
        """A view of the stretch that is kept."""
        first, last = np.searchsorted(events.t, (self.start_us, self.end_us))
        part = slice(int(first), int(last))
        return Events(events.t[part], events.x[part], events.y[part], events.p[part], events.width, events.height)
