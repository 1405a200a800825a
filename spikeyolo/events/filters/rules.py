"""Which events are filtered out, as a configuration says it, and how many each filter took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any

from annotated_types import Ge, Gt, Len

from spikeyolo.errors import ConfigError

Whole = Annotated[int, Ge(0)]


@dataclass(frozen=True, kw_only=True)
class EventFilters:
    """Filters of a recording's events, in the order in which they are applied; None leaves one out.

    The sensor stays as large as it is, and times stay as they are: labels keep their places. Labels outside the time
    range are left out, boxes are cut at the region's edge.

    Attributes:
        time_range_us: start and end (the first µs that is left out), from the recording's first event.
        region: left, top, right, bottom in px: columns ``left`` to ``right - 1``, rows ``top`` to ``bottom - 1``.
        hot_pixel_factor: pixels with more than so many times the events of the median pixel that has any are hot, and
            give no events.
        background_us: an event that none of its eight neighbours' events came before by at most so many µs is noise
            (Delbruck, Frame-free dynamic digital vision, 2008).

    Raises:
        ConfigError: a range or region is empty.
    """

    time_range_us: Annotated[Sequence[Whole], Len(2, 2)] | None = None
    region: Annotated[Sequence[Whole], Len(4, 4)] | None = None
    hot_pixel_factor: Annotated[float, Gt(1)] | None = None
    background_us: Annotated[int, Gt(0)] | None = None

    def __post_init__(self) -> None:
        for name in ("time_range_us", "region"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else tuple(value))
        if self.time_range_us is not None and self.time_range_us[0] >= self.time_range_us[1]:
            raise ConfigError(
                f"filters.time_range_us: found {list(self.time_range_us)}; expected [START,END], START first"
            )
        if self.region is not None and (self.region[0] >= self.region[2] or self.region[1] >= self.region[3]):
            raise ConfigError(
                f"filters.region: found {list(self.region)}; expected [LEFT,TOP,RIGHT,BOTTOM], LEFT first"
            )

    @property
    def active(self) -> bool:
        """Whether any filter is on."""
        return any(value is not None for value in asdict(self).values())

    def as_dict(self) -> dict[str, Any]:
        """For manifests and attributes: the filters that are on."""
        found = {name: value for name, value in asdict(self).items() if value is not None}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


@dataclass(frozen=True, kw_only=True)
class FilterCounts:
    """What the filters took of a recording.

    Attributes:
        offered: events before the filters.
        outside_time_range, outside_region, on_hot_pixels, background_activity: events that each filter left out.
        hot_pixels: so many pixels are hot.
        end_us: time of the last event before the filters, plus 1, µs.
    """

    offered: int = 0
    outside_time_range: int = 0
    outside_region: int = 0
    on_hot_pixels: int = 0
    background_activity: int = 0
    hot_pixels: int = 0
    end_us: int = 0

    @property
    def kept(self) -> int:
        """Events that no filter took."""
        return (
            self.offered - self.outside_time_range - self.outside_region - self.on_hot_pixels - self.background_activity
        )

    def as_dict(self) -> dict[str, int]:
        """For manifests and attributes: ``offered``, ``kept`` and each count that is not 0."""
        found = {name: count for name, count in asdict(self).items() if count and name != "offered"}
        return {"offered": self.offered, "kept": self.kept, **found}

    @classmethod
    def from_dict(cls, counts: Mapping[str, Any]) -> FilterCounts:
        """Of what :meth:`as_dict` gave; unknown names are passed over."""
        return cls(**{field.name: counts[field.name] for field in fields(cls) if field.name in counts})

    def __add__(self, other: FilterCounts) -> FilterCounts:
        """Of both recordings together."""
        mine, others = asdict(self), asdict(other)
        total = {name: count + others[name] for name, count in mine.items()}
        return FilterCounts(**{**total, "end_us": max(self.end_us, other.end_us)})

    def words(self) -> str:
        """What was left out, for a person; empty where nothing was."""
        parts = []
        if self.outside_time_range:
            parts.append(f"{self.outside_time_range} outside the time range")
        if self.outside_region:
            parts.append(f"{self.outside_region} outside the region")
        if self.on_hot_pixels:
            parts.append(f"{self.on_hot_pixels} on {self.hot_pixels} hot pixels")
        if self.background_activity:
            parts.append(f"{self.background_activity} as background activity")
        return f"of {self.offered} events the filters left out {', '.join(parts)}" if parts else ""
