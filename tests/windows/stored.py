"""Small recordings in a store, made of random events and known labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spikeyolo.events.store import Recording, RecordingWriter
from spikeyolo.events.types import Boxes, Events
from spikeyolo.windows.parts import Part

WIDTH, HEIGHT = 33, 21
END_US = 100_000


def random_events(count: int = 5000, *, end_us: int = END_US, seed: int = 0) -> Events:
    """Events all over the sensor; the first at 0, the last at the end."""
    generator = np.random.default_rng(seed)
    t = np.sort(generator.integers(0, end_us, count))
    t[0], t[-1] = 0, end_us - 1
    return Events(
        t,
        generator.integers(0, WIDTH, count).astype(np.uint16),
        generator.integers(0, HEIGHT, count).astype(np.uint16),
        generator.integers(0, 2, count).astype(np.uint8),
        WIDTH,
        HEIGHT,
    )


def boxes_at(times: Sequence[int], *, track: int = 0, class_id: int = 0) -> Boxes:
    """One box a time, of one object that moves to the right: 1 px in 10 ms."""
    t = np.asarray(times, np.int64)
    left = (t / 10_000).astype(np.float32)
    xyxy = np.stack([left, np.full_like(left, 4), left + 8, np.full_like(left, 11)], axis=1)
    rows = np.full(len(t), 1, np.int64)
    return Boxes(t, xyxy, class_id * rows, track * rows, np.ones(len(t), np.float32))


def store(path: Path, events: Events) -> Recording:
    with RecordingWriter(path, width=events.width, height=events.height) as writer:
        writer.append(events)
        writer.seal()
    return Recording.open(path)


def part(recording: Recording, boxes: Boxes | None, *, start_us: int = 0, end_us: int = END_US) -> Part:
    return Part(recording, boxes, start_us, end_us, recording.name)
