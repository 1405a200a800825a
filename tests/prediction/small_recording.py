"""A short recording that a small run's detector sees something in."""

from __future__ import annotations

import numpy as np

from spikeyolo.detections import DetectionTable
from spikeyolo.events import Events


def drawn(count: int = 4000, duration_us: int = 1900, *, seed: int = 0, size: tuple[int, int] = (64, 64)) -> Events:
    """Events at random places, the first at 0 µs."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, duration_us, count)).astype(np.int64)
    t[0] = 0
    x, y = (rng.integers(0, side, count).astype(np.uint16) for side in size)
    return Events(t, x, y, rng.integers(0, 2, count).astype(np.uint8), *size)


def same(found: DetectionTable, expected: DetectionTable, *, atol: float = 0.0) -> None:
    """Row for row; in digits too where ``atol`` is 0."""
    assert len(found) == len(expected) > 0
    assert found.recordings == expected.recordings
    for name in ("recording", "t_us", "step", "class_id", "track_id"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    np.testing.assert_allclose(found.score, expected.score, atol=atol, rtol=0)
    np.testing.assert_allclose(found.xywh, expected.xywh, atol=100 * atol, rtol=0)
