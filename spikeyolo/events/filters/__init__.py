"""Filters: events that are left out because they tell nothing. Off by default; after cleaning; counted."""

from spikeyolo.events.filters.chain import FilterChain
from spikeyolo.events.filters.filtered import FilteredReader, filtered
from spikeyolo.events.filters.labels import restricted
from spikeyolo.events.filters.rules import EventFilters, FilterCounts

__all__ = ["EventFilters", "FilterChain", "FilterCounts", "FilteredReader", "filtered", "restricted"]
