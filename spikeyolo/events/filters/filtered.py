"""A reader of an events file whose events go through filters."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from spikeyolo.errors import RecordingError
from spikeyolo.events.filters.chain import FilterChain
from spikeyolo.events.filters.rules import EventFilters, FilterCounts
from spikeyolo.events.formats.reader import DEFAULT_BATCH, EventReader
from spikeyolo.events.types import Events

log = logging.getLogger(__name__)


def filtered(reader: EventReader, filters: EventFilters) -> EventReader:
    """The reader itself where no filter is on; otherwise one that gives what passes.

    Raises:
        RecordingError: the region has no pixel of the sensor.
    """
    return FilteredReader(reader, filters) if filters.active else reader


class FilteredReader:
    """An :class:`EventReader` over another; ``filter_counts`` says what the last iteration left out.

    Where pixels are tested for being hot, the file is read twice.
    """

    def __init__(self, reader: EventReader, filters: EventFilters) -> None:
        if filters.region is not None and (filters.region[0] >= reader.width or filters.region[1] >= reader.height):
            raise RecordingError(
                f"{reader.path}: filters.region {list(filters.region)} has no pixel of its sensor of "
                f"{reader.width}x{reader.height} px"
            )
        self._reader = reader
        self.filters = filters
        self.filter_counts = FilterCounts()
        self.path, self.format, self.clock, self.rules = reader.path, reader.format, reader.clock, reader.rules
        self.width, self.height, self.size_from = reader.width, reader.height, reader.size_from
        self._follow()

    @property
    def time_offset_us(self) -> int:
        """See :class:`EventReader`: of the file's first event, filtered or not."""
        return self._reader.time_offset_us

    def batches(self, max_events: int = DEFAULT_BATCH) -> Iterator[Events]:
        """See :meth:`EventReader.batches`; the first may be later than 0 µs.

        Raises:
            RecordingError: what the reader raises, or the filters leave nothing.
        """
        chain = FilterChain(self.filters, self.width, self.height)
        if chain.needs_counting:
            for events in self._reader.batches(max_events):
                chain.count(events)
        for events in self._reader.batches(max_events):
            kept = chain.apply(events)
            self._follow()
            self.filter_counts = chain.counts
            if len(kept):
                yield kept
        self._follow()
        self.filter_counts = chain.counts
        if chain.counts.offered and not chain.counts.kept:
            raise RecordingError(f"{self.path}: {chain.counts.words()}; expected filters that leave some")
        if chain.counts.words():
            log.info("%s: %s", self.path, chain.counts.words())

    def _follow(self) -> None:
        self.counts, self.warnings = self._reader.counts, self._reader.warnings
        self.dropped_events, self.share_read = self._reader.dropped_events, self._reader.share_read
