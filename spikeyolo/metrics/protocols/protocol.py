"""What every protocol of scoring is made of: rules that leave boxes out, alike of truth and detections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Interval

from spikeyolo.detections import DetectionTable
from spikeyolo.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The rules of a benchmark, in µs and px of the sensor.

    Boxes that are too small or too early are left out of the truth **and** of the detections, as the published tools
    do it, so a perfect detector loses nothing for finding them.

    Attributes:
        name, version: written into every result; the version changes whenever a figure may.
        source: where the rules are published.
        skip_us: boxes at times up to this, from the recording's start, do not count.
        min_diagonal, min_side: boxes with a shorter diagonal, or width or height, do not count.
        time_tolerance_us: detections this far from a time at which truth was looked at may stand for it. Of several
            times the nearest one is taken, never two of them.
        min_score: detections below do not count.
        max_detections: of a look and class, best first.
        empty_looks: whether times at which no true box is left count: detections there are false.
        classes: names that are scored, in this order; None takes the truth's.
    """

    name: ClassVar[str] = ""
    version: ClassVar[str] = "1"
    source: ClassVar[str] = ""

    skip_us: Annotated[int, Ge(0)] = 0
    min_diagonal: Annotated[float, Ge(0)] = 0.0
    min_side: Annotated[float, Ge(0)] = 0.0
    time_tolerance_us: Annotated[int, Ge(0)] = 0
    min_score: Annotated[float, Interval(ge=0, le=1)] = 0.0
    max_detections: Annotated[int, Ge(1)] = 100
    empty_looks: bool = True
    classes: Sequence[str] | None = None

    def rules(self) -> dict[str, Any]:
        """Name, version, source and every rule, JSON values only; ``changed`` lists those that are not the
        protocol's own."""
        values = {key: list(value) if isinstance(value, tuple | list) else value for key, value in asdict(self).items()}
        standard = {field.name: field.default for field in fields(self)}
        changed = [key for key in values if _plain(getattr(self, key)) != _plain(standard[key])]
        return {"name": self.name, "version": self.version, "source": self.source, **values, "changed": changed}

    def counts_at(self, t_us: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """``[L]`` bool: the times that are not skipped."""
        counted: npt.NDArray[np.bool_] = t_us > self.skip_us if self.skip_us else np.ones(len(t_us), bool)
        return counted

    def select(self, table: DetectionTable) -> tuple[DetectionTable, npt.NDArray[np.int64]]:
        """The rows of a table of truth or detections that count, with the protocol's classes, and their indices.

        Raises:
            ConfigError: the table's classes do not fit the protocol's.
        """
        names, new_id = self.class_ids(table.classes)
        xywh = self.placed(table.xywh.astype(np.float64))
        class_id = new_id[table.class_id]
        keep = (class_id >= 0) & self.large_enough(xywh[:, 2:]) & self.counts_at(table.t_us)
        keep &= table.score.astype(np.float64) >= self.min_score
        rows = np.flatnonzero(keep)
        kept = replace(table[rows], classes=names, class_id=class_id[rows], xywh=xywh[rows].astype(np.float32))
        return kept, rows

    def large_enough(self, size: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """``[M]`` bool: neither the diagonal nor a side of the box (``[M, 2]`` width and height) is too short."""
        enough: npt.NDArray[np.bool_] = (np.square(size).sum(1) >= self.min_diagonal**2) & (
            size.min(1, initial=np.inf) >= self.min_side
        )
        return enough

    def placed(self, xywh: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """``[M, 4]`` boxes as the protocol sees them; here as they are."""
        return xywh

    def renamed(self, name: str) -> str | None:
        """The class under which the protocol scores a class, None where it does not; here its own name."""
        return name

    def class_ids(self, classes: Sequence[str]) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
        """The scored classes, and the id there of each of a table's classes (-1: not scored).

        Raises:
            ConfigError: one of them is unknown to the protocol, or one of the protocol's is not among them.
        """
        renamed = [self.renamed(name) for name in classes]
        scored = tuple(self.classes) if self.classes is not None else tuple(classes)
        unknown = [name for name, new in zip(classes, renamed) if new is not None and new not in scored]
        if unknown or not set(scored) <= set(renamed):
            raise ConfigError(
                f"protocol {self.name}: scores the classes {', '.join(scored)}; found {', '.join(classes) or 'none'} "
                "(protocol.classes=[…] chooses others)"
            )
        ids = [-1 if new is None else scored.index(new) for new in renamed]
        return scored, np.array(ids, np.int64)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value
