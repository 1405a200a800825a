"""The filters of a configuration, one after the other, over a recording's stretches."""

from __future__ import annotations

from dataclasses import replace

from spikeyolo.events.filters.background import BackgroundActivity
from spikeyolo.events.filters.hot_pixels import HotPixels
from spikeyolo.events.filters.region import Region
from spikeyolo.events.filters.rules import EventFilters, FilterCounts
from spikeyolo.events.filters.time_range import TimeRange
from spikeyolo.events.types import Events


class FilterChain:
    """Filters one pass over a recording; time range and region first, so that rates and neighbours are those within.

    Args:
        filters: which are on.
        width, height: the sensor, px.
    """

    def __init__(self, filters: EventFilters, width: int, height: int) -> None:
        self.counts = FilterCounts()
        self._time = None if filters.time_range_us is None else TimeRange(*filters.time_range_us)
        self._region = None if filters.region is None else Region(*filters.region)
        self._hot = None if filters.hot_pixel_factor is None else HotPixels(filters.hot_pixel_factor, width, height)
        self._background = (
            None if filters.background_us is None else BackgroundActivity(filters.background_us, width, height)
        )

    @property
    def needs_counting(self) -> bool:
        """Whether all events have to be shown to :meth:`count` before the first is filtered."""
        return self._hot is not None

    def count(self, events: Events) -> None:
        """Take these events into the pixels' rates."""
        if self._hot is not None:
            self._hot.count(self._within(events))

    def apply(self, events: Events) -> Events:
        """The events that pass of some that are not none; may be none."""
        counts = replace(self.counts, offered=self.counts.offered + len(events), end_us=int(events.t[-1]) + 1)
        if self._time is not None:
            events, before = self._time.apply(events), len(events)
            counts = replace(counts, outside_time_range=counts.outside_time_range + before - len(events))
        if self._region is not None:
            events, before = self._region.apply(events), len(events)
            counts = replace(counts, outside_region=counts.outside_region + before - len(events))
        if self._hot is not None:
            events, before = self._hot.apply(events), len(events)
            counts = replace(
                counts,
                on_hot_pixels=counts.on_hot_pixels + before - len(events),
                hot_pixels=int(self._hot.hot.sum()),
            )
        if self._background is not None:
            events, before = self._background.apply(events), len(events)
            counts = replace(counts, background_activity=counts.background_activity + before - len(events))
        self.counts = counts
        return events

    def _within(self, events: Events) -> Events:
        for filter_ in (self._time, self._region):
            events = events if filter_ is None else filter_.apply(events)
        return events
