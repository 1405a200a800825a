"""Where the events and labels of a set come from, and so whose arguments change how they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from spikeyolo.diagnosis.finding import Entry
from spikeyolo.events.conversion.converted import ConvertedSet
from spikeyolo.events.labels.units import TimeUnit
from spikeyolo.events.simulator.synthetic import SyntheticDataset
from spikeyolo.windows.data import RecordedSet

Origin = Literal["files", "converted", "made"]  # made: the set writes its recordings itself


@dataclass(frozen=True)
class Mend:
    """What mends a fault: overrides of an entry point, and words."""

    overrides: tuple[str, ...] = ()
    remedy: str = ""
    entry: Entry = "train"


def origin_of(dataset: object) -> Origin:
    """Of a data set, or of a sample of one."""
    dataset = getattr(dataset, "inner", dataset)
    if isinstance(dataset, ConvertedSet):
        return "converted"
    return "files" if isinstance(dataset, RecordedSet) else "made"


def cool(dataset: object, factor: int) -> Mend:
    """Without the events of pixels that have more than ``factor`` times those of the median active one."""
    inner = getattr(dataset, "inner", dataset)
    key = f"filters.hot_pixel_factor={factor}"
    if origin_of(inner) == "files":
        return Mend((f"data.{key}",))
    if origin_of(inner) == "converted":
        return Mend((key,), f"the events lie in the store: convert the set again with this (of data=NAME: data.{key})",
                    "convert")  # fmt: skip
    if isinstance(inner, SyntheticDataset) and inner.camera.threshold_sigma > 0:
        return Mend(("data.dataset.threshold_sigma=0.0",), "thresholds of simulated pixels are drawn so differently "
                    "that some fire all the time; this makes them alike")  # fmt: skip
    return Mend(remedy="the set makes its recordings itself: leave such pixels out where it does")


def corrected(origin: Origin, values: tuple[str, ...]) -> Mend:
    """With labels under a correction.

    Args:
        values: ``KEY=VALUE`` of :class:`LabelCorrection`.
    """
    if origin == "files":
        return Mend(tuple(f"data.label_correction.{value}" for value in values))
    if origin == "converted":
        return Mend(tuple(f"labels.correction.{value}" for value in values), "the labels lie in the store: convert the "
                    "set again with this (with data=NAME as data.label_correction.…)", "convert")  # fmt: skip
    return Mend(remedy=f"the set makes its labels itself: mend that ({', '.join(values)})")


def counted_in(origin: Origin, unit: TimeUnit) -> Mend:
    """With label times taken in a unit."""
    value = f"time_unit={unit}"
    if origin == "files":
        return Mend((f"data.dataset.train_labels.{value}",))
    if origin == "converted":
        return Mend((f"labels.{value}",), "the labels lie in the store: convert the set again with this (with data="
                    "NAME as data.dataset.train_labels.time_unit)", "convert")  # fmt: skip
    return Mend(remedy=f"the set makes its labels itself: mend that ({value})")
