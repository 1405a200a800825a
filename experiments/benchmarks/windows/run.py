"""Measure how windows are indexed, drawn and encoded: ``python experiments/benchmarks/windows/run.py``.

Prints the tables of the README. Everything is made up in memory; nothing is written.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from spikeyolo.events import Boxes, Events
from spikeyolo.events.store import Recording, pack
from spikeyolo.windows.dataset import Part, WindowDataset, WindowRules
from spikeyolo.windows.encode import HistogramEncoder

WIDTH, HEIGHT = 1280, 720
LABEL_STEP_US = 50_000
CLASSES = 3


@dataclass
class Unread:
    """Stands for a stored recording of which nothing but the sensor's size is looked at."""

    width: int = WIDTH
    height: int = HEIGHT


def labels(looks: int, generator: np.random.Generator) -> Boxes:
    """Three tracks with a box each at every look."""
    t = np.repeat(np.arange(1, looks + 1) * LABEL_STEP_US, 3)
    xyxy = np.tile(np.array([10, 10, 60, 60], np.float32), (len(t), 1))
    track = np.tile(np.arange(3), looks)
    return Boxes(t, xyxy, generator.integers(0, CLASSES, len(t)), track, np.ones(len(t), np.float32))


def resident_mb() -> float:
    """Most memory this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def index(recordings: int, looks: int) -> None:
    generator = np.random.default_rng(0)
    end_us = looks * LABEL_STEP_US + 1
    unread = cast(Recording, Unread())
    parts = [Part(unread, labels(looks, generator), 0, end_us, f"{number}") for number in range(recordings)]
    before = resident_mb()
    start = time.process_time()
    windows = WindowDataset(parts, rules=WindowRules(5_000, 8), encoder=HistogramEncoder(downsample=2))
    built = time.process_time()
    index_mb = resident_mb() - before
    balance = windows.balance(CLASSES)
    weighed = time.process_time()
    balance.draw(len(windows), np.random.default_rng(0))
    drawn = time.process_time()
    print(
        f"| {recordings:,} | {len(windows):,} | {built - start:.2f} s | {index_mb:.0f} MB | "
        f"{weighed - built:.2f} s | {drawn - weighed:.2f} s |",
        flush=True,
    )


def made_window(count: int, duration_us: int) -> npt.NDArray[np.uint64]:
    """Uniform over sensor and time: the least kind to the cache."""
    generator = np.random.default_rng(1)
    t = np.sort(generator.integers(0, duration_us, count))
    x, y = generator.integers(0, WIDTH, count), generator.integers(0, HEIGHT, count)
    p = generator.integers(0, 2, count)
    return pack(Events(t, x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8), WIDTH, HEIGHT))


def by_bincount(packed: npt.NDArray[np.uint64], slice_us: int, out: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The same frames by numpy's fastest way."""
    place = _places(packed, slice_us, out)
    counts = np.bincount(place, minlength=out.size)
    return np.minimum(counts, 255).astype(np.uint8).reshape(out.shape)


def by_add_at(packed: npt.NDArray[np.uint64], slice_us: int, out: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The same frames by numpy's plainest way."""
    counts = np.zeros(out.size, np.int32)
    np.add.at(counts, _places(packed, slice_us, out), 1)
    return np.minimum(counts, 255).astype(np.uint8).reshape(out.shape)


def _places(packed: npt.NDArray[np.uint64], slice_us: int, out: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    event = packed.astype(np.int64)
    _, _, height, width = out.shape
    step, x, y = (event >> 25) // slice_us, ((event >> 1) & 0xFFF) // 2, ((event >> 13) & 0xFFF) // 2
    place: npt.NDArray[np.int64] = ((step * 2 + (event & 1)) * height + y) * width + x
    return place


def best(function: Callable[[], Any], repeats: int) -> float:
    """Processor seconds of the fastest call."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def encode(slice_us: int, rate_mev_s: float) -> None:
    count = int(rate_mev_s * 8 * slice_us)
    packed = made_window(count, 8 * slice_us)
    encoder = HistogramEncoder(downsample=2)
    out = np.empty((8, 2, HEIGHT // 2, WIDTH // 2), np.uint8)
    expected = by_bincount(packed, slice_us, out)
    ways: dict[str, tuple[Callable[[], Any], int]] = {
        "HistogramEncoder": (lambda: encoder.encode(packed, start_us=0, slice_us=slice_us, out=out), 30),
        "numpy bincount": (lambda: by_bincount(packed, slice_us, out), 5),
        "numpy add.at": (lambda: by_add_at(packed, slice_us, out), 5),
    }
    for name, (function, repeats) in ways.items():
        if not np.array_equal(function(), expected):
            raise SystemExit(f"{name}: other frames than numpy's")
        seconds = best(function, repeats)
        print(
            f"| 8 × {slice_us} µs | {rate_mev_s:g} | {count:,} | {name} | {1 / seconds:,.0f} | "
            f"{count / seconds / 1e6:.1f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--looks", type=int, default=200, help="label times of each recording")
    arguments = parser.parse_args()
    print("| recordings | windows | index | memory it adds | class weights | one balanced epoch |")
    print("|---|---|---|---|---|---|")
    for recordings in (1_000, 3_000, 10_000):
        index(recordings, arguments.looks)
    print("\n| slices | Mev/s of the scene | events a window | encoder | windows a second | Mev/s |")
    print("|---|---|---|---|---|---|")
    for slice_us, rate in ((10_000, 10.0), (10_000, 50.0), (100, 10.0), (100, 50.0)):
        encode(slice_us, rate)


if __name__ == "__main__":
    main()
