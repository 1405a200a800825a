"""A short recording that a small run's detector sees something in."""

from __future__ import annotations

import numpy as np

from spikeyolo.events import Events


def drawn(count: int = 4000, duration_us: int = 1900, *, seed: int = 0, size: tuple[int, int] = (64, 64)) -> Events:
    """Events at random places, the first at 0 µs."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, duration_us, count)).astype(np.int64)
    t[0] = 0
    x, y = (rng.integers(0, side, count).astype(np.uint16) for side in size)
    return Events(t, x, y, rng.integers(0, 2, count).astype(np.uint8), *size)
