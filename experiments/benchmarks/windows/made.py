"""Recordings made for the benchmarks of this folder: events uniform over sensor and time, three labelled tracks."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from spikeyolo.events import Boxes, Events
from spikeyolo.events.conversion.manifest import Published, publish
from spikeyolo.events.store import Recording, RecordingWriter

WIDTH, HEIGHT = 1280, 720
CLASSES = ("car", "cyclist", "pedestrian")


def events(count: int, duration_us: int, *, seed: int = 1) -> Events:
    """Uniform over sensor and time: the least kind to the cache."""
    generator = np.random.default_rng(seed)
    t = np.sort(generator.integers(0, duration_us, count))
    x, y = generator.integers(0, WIDTH, count), generator.integers(0, HEIGHT, count)
    p = generator.integers(0, 2, count)
    return Events(t, x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8), WIDTH, HEIGHT)


def labels(looks: int, step_us: int, generator: np.random.Generator) -> Boxes:
    """Three tracks with a box each at every look."""
    t = np.repeat(np.arange(1, looks + 1) * step_us, 3)
    xyxy = np.tile(np.array([10, 10, 160, 160], np.float32), (len(t), 1))
    track = np.tile(np.arange(3), looks)
    return Boxes(t, xyxy, generator.integers(0, len(CLASSES), len(t)), track, np.ones(len(t), np.float32))


def write_set(root: Path, recording: Events, boxes: Boxes, *, copies: int = 1) -> None:
    """A converted set: one recording as ``val``, and so many copies of its files as ``train``."""
    first = root / "val" / "0.zarr"
    with RecordingWriter(first, width=WIDTH, height=HEIGHT, classes=CLASSES) as writer:
        for start in range(0, len(recording), 1 << 20):
            part = slice(start, start + (1 << 20))
            columns = {name: getattr(recording, name)[part] for name in "txyp"}
            writer.append(Events(**columns, width=WIDTH, height=HEIGHT))
        writer.set_boxes(boxes)
        writer.seal()
    attributes = Recording.open(first).attributes
    publish(root, "val/0.zarr", Published("val", "val/0.zarr", attributes), instead=None)
    for number in range(copies):
        name = f"train/{number}.zarr"
        shutil.copytree(first, root / name)
        publish(root, name, Published("train", name, attributes), instead=None)
