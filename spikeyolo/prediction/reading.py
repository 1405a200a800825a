"""How the events of files are read for a trained network: as its run read them, but for what is said otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import OmegaConf

from spikeyolo import schema
from spikeyolo.events.cleaning import EventRules
from spikeyolo.events.filters import EventFilters
from spikeyolo.events.formats.tables.time_unit import TimeUnit
from spikeyolo.prediction.trained import Trained


@dataclass(frozen=True)
class Reading:
    """How the events of files are read; stored recordings are taken as they are.

    Attributes:
        event_rules, filters, size, time_unit: see :class:`spikeyolo.events.datasets.Source`.
    """

    event_rules: EventRules = field(default_factory=EventRules)
    filters: EventFilters = field(default_factory=EventFilters)
    size: tuple[int, int] | None = None
    time_unit: TimeUnit | None = None

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "event_rules": self.event_rules.as_dict(),
            "filters": self.filters.as_dict(),
            "size": None if self.size is None else list(self.size),
            "time_unit": self.time_unit,
        }


def reading_of(
    trained: Trained,
    *,
    event_rules: Mapping[str, Any] | None = None,
    filters: Mapping[str, Any] | None = None,
    size: Sequence[int] | None = None,
    time_unit: TimeUnit | None = None,
) -> Reading:
    """The run's, with these values in place of its own.

    The stretch of time that a run's filters chose is one of its own recordings', and not taken over.

    Raises:
        ConfigError: a value is none.
    """
    data = trained.settings.get("data") or {}
    run = {key: value for key, value in (data.get("filters") or {}).items() if key != "time_range_us"}
    nodes = {
        "event_rules": {**(data.get("event_rules") or {}), **(event_rules or {}), "_target_": _path(EventRules)},
        "filters": {**run, **(filters or {}), "_target_": _path(EventFilters)},
    }
    config = OmegaConf.create(nodes)
    schema.check(config)
    chosen = size or data.get("size")
    return Reading(
        event_rules=schema.build(config.event_rules),
        filters=schema.build(config.filters),
        size=None if chosen is None else (int(chosen[0]), int(chosen[1])),
        time_unit=time_unit or data.get("time_unit"),
    )


def _path(kind: type) -> str:
    return f"{kind.__module__}.{kind.__name__}"
