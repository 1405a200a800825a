"""COCO's own rules: every box and every look counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from spikeyolo.metrics.protocols.protocol import Protocol


@dataclass(frozen=True, kw_only=True)
class Coco(Protocol):
    """Nothing is left out; detections stand for the very time at which they were made."""

    name: ClassVar[str] = "coco"
    source: ClassVar[str] = "https://cocodataset.org/#detection-eval"
