"""The rules by which eTraM's baselines were scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge

from spikeyolo.metrics.protocols.protocol import Protocol


@dataclass(frozen=True, kw_only=True)
class Etram(Protocol):
    """eTraM, 1280x720 (arXiv 2403.19976): Prophesee's rules, with diagonals under 30 px and sides under 10 px left
    out, over the classes of the labels (eight, or its three groups)."""

    name: ClassVar[str] = "etram"
    source: ClassVar[str] = "arXiv 2403.19976"

    skip_us: Annotated[int, Ge(0)] = 500_000
    min_diagonal: Annotated[float, Ge(0)] = 30.0
    min_side: Annotated[float, Ge(0)] = 10.0
    time_tolerance_us: Annotated[int, Ge(0)] = 50_000
    empty_looks: bool = False
