"""The rules of Prophesee's two automotive benchmarks.

As in its automotive dataset toolbox (``filter_boxes``, ``evaluate_detection``): the first half second, small boxes and
looks without a box do not count, detections may lie 50 ms from a look. That toolbox pools *all* detections of those
100 ms, so that with labels at 30 Hz and more even the truth finds everything several times; here a look takes those of
one time, the nearest. Where detections are made at the labels' times and those are more than 50 ms apart, both agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge

from spikeyolo.metrics.protocols.protocol import Protocol


@dataclass(frozen=True, kw_only=True)
class PropheseeGen1(Protocol):
    """GEN1, 304x240 (arXiv 2001.08499): diagonals under 30 px and sides under 10 px do not count."""

    name: ClassVar[str] = "prophesee_gen1"
    source: ClassVar[str] = "arXiv 2001.08499"

    skip_us: Annotated[int, Ge(0)] = 500_000
    min_diagonal: Annotated[float, Ge(0)] = 30.0
    min_side: Annotated[float, Ge(0)] = 10.0
    time_tolerance_us: Annotated[int, Ge(0)] = 50_000
    empty_looks: bool = False
    classes: Sequence[str] | None = ("car", "pedestrian")


@dataclass(frozen=True, kw_only=True)
class PropheseeOneMegapixel(Protocol):
    """1 Mpx, 1280x720 (arXiv 2009.13436): diagonals under 60 px and sides under 20 px do not count."""

    name: ClassVar[str] = "prophesee_1mpx"
    source: ClassVar[str] = "arXiv 2009.13436"

    skip_us: Annotated[int, Ge(0)] = 500_000
    min_diagonal: Annotated[float, Ge(0)] = 60.0
    min_side: Annotated[float, Ge(0)] = 20.0
    time_tolerance_us: Annotated[int, Ge(0)] = 50_000
    empty_looks: bool = False
    classes: Sequence[str] | None = ("pedestrian", "two_wheeler", "car")
