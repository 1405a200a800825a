"""How an exported file is written, whole or not at all, and compared with the network it came from."""

from __future__ import annotations

import os
from pathlib import Path

from torch import Tensor


def largest_difference(expected: tuple[Tensor, ...], found: tuple[Tensor, ...]) -> float:
    """Of any value of two windows' outputs."""
    return max(float((a.cpu() - b.cpu()).abs().max()) for a, b in zip(expected, found, strict=True))


def partial_path(path: Path) -> Path:
    """Where a file is written before it takes its name: a reader never meets half of one."""
    return path.with_name(f"{path.stem}.partial-{os.getpid()}{path.suffix}")
