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
import peers
from made import HEIGHT, WIDTH, events, labels

from spikeyolo.events import Boxes
from spikeyolo.events.packing import pack
from spikeyolo.events.store import Recording
from spikeyolo.windows.augment import Augmentation
from spikeyolo.windows.dataset import WindowDataset
from spikeyolo.windows.encoders import (
    BinaryEncoder,
    HistogramEncoder,
    MixedDensityEncoder,
    SliceEncoder,
    TimeSurfaceEncoder,
    VoxelEncoder,
)
from spikeyolo.windows.matching import BoxMatcher
from spikeyolo.windows.parts import Part
from spikeyolo.windows.placement import Placement
from spikeyolo.windows.rules import WindowRules

LABEL_STEP_US = 50_000
CLASSES = 3


@dataclass
class Unread:
    """Stands for a stored recording of which nothing but the sensor's size is looked at."""

    width: int = WIDTH
    height: int = HEIGHT


def resident_mb() -> float:
    """Most memory this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def index(recordings: int, looks: int) -> None:
    generator = np.random.default_rng(0)
    end_us = looks * LABEL_STEP_US + 1
    unread = cast(Recording, Unread())
    parts = [
        Part(unread, labels(looks, LABEL_STEP_US, generator), 0, end_us, f"{number}") for number in range(recordings)
    ]
    before = resident_mb()
    start = time.perf_counter()
    windows = WindowDataset(parts, rules=WindowRules(5_000, 8), encoder=HistogramEncoder(downsample=2))
    built = time.perf_counter()
    index_mb = resident_mb() - before
    balance = windows.balance(CLASSES)
    weighed = time.perf_counter()
    balance.draw(len(windows), np.random.default_rng(0))
    drawn = time.perf_counter()
    print(
        f"| {recordings:,} | {len(windows):,} | {built - start:.2f} s | {index_mb:.0f} MB | "
        f"{weighed - built:.2f} s | {drawn - weighed:.2f} s |",
        flush=True,
    )


def best(calls: dict[str, Callable[[], Any]], rounds: dict[str, int]) -> dict[str, float]:
    """Wall seconds of each one's fastest call; they take turns."""
    fastest = dict.fromkeys(calls, float("inf"))
    for number in range(max(rounds.values())):
        for name, call in calls.items():
            if number < rounds[name]:
                start = time.perf_counter()
                call()
                fastest[name] = min(fastest[name], time.perf_counter() - start)
    return fastest


def encode(slice_us: int, rate_mev_s: float) -> None:
    count = int(rate_mev_s * 8 * slice_us)
    packed = pack(events(count, 8 * slice_us))
    out = np.empty((8, 2, HEIGHT // 2, WIDTH // 2), np.uint8)
    rounds = {}
    encoder = HistogramEncoder(downsample=2)
    calls = {"HistogramEncoder": lambda: encoder.encode(packed, start_us=0, slice_us=slice_us, out=out)}
    calls |= peers.ways(packed, slice_us, out)
    expected = peers.by_bincount(packed, slice_us, out)
    for name, call in calls.items():
        if not np.array_equal(call(), expected):
            raise SystemExit(f"{name}: other frames than numpy's")
        rounds[name] = [30, 30, 5, 3, 3, 3][len(rounds)]
    seconds = best(calls, rounds)
    for name in calls:
        ratio = seconds[name] / seconds["HistogramEncoder"]
        print(
            f"| 8 × {slice_us} µs | {rate_mev_s:g} | {name} | {1 / seconds[name]:,.0f} | "
            f"{count / seconds[name] / 1e6:.1f} | {ratio:.1f} |",
            flush=True,
        )


def other_encoders(slice_us: int, rate_mev_s: float) -> None:
    """The other encoders, and the histogram under each kind of geometry."""
    packed = pack(events(int(rate_mev_s * 8 * slice_us), 8 * slice_us))
    plain, frame = Placement(0.5, 0.5), (WIDTH // 2, HEIGHT // 2)
    histogram = HistogramEncoder(downsample=2)
    zoomed = Augmentation(zoom_min=1.2, zoom_max=1.2)
    turned = Augmentation(zoom_min=1.2, zoom_max=1.2, rotation=5.0)
    cases: list[tuple[str, SliceEncoder, Placement]] = [
        ("histogram, mirrored", histogram, Placement(-0.5, 0.5, WIDTH / 2)),
        ("histogram, magnified 1.2 times", histogram, zoomed.place(plain, *frame, np.random.default_rng(0))),
        ("histogram, and turned", histogram, turned.place(plain, *frame, np.random.default_rng(0))),
        ("binary", BinaryEncoder(downsample=2), plain),
        ("voxel, 3 bins", VoxelEncoder(downsample=2), plain),
        ("time surface", TimeSurfaceEncoder(downsample=2), plain),
        ("mixed density, 4 stacks", MixedDensityEncoder(downsample=2), plain),
    ]
    for name, encoder, placement in cases:
        out = np.empty((8, encoder.channels, HEIGHT // 2, WIDTH // 2), np.uint8)

        def call(encoder: SliceEncoder = encoder, placement: Placement = placement, out: Any = out) -> Any:
            return encoder.encode(packed, start_us=0, slice_us=slice_us, out=out, placement=placement)

        call()
        seconds = best({name: call}, {name: 15})[name]
        print(
            f"| 8 × {slice_us} µs | {rate_mev_s:g} | {name} | {1 / seconds:,.0f} | {len(packed) / seconds / 1e6:.1f} |"
        )


def truth(objects: int, tracked: bool) -> None:
    """What the boxes of a window cost: 8 slices of 10 ms, looks every 50 ms; user CPU, one thread."""
    generator = np.random.default_rng(0)
    corner = np.tile(generator.uniform(0, 600, (objects, 2)), (100, 1))
    track = np.tile(np.arange(objects), 100) if tracked else np.full(objects * 100, -1)
    boxes = Boxes(
        np.repeat(np.arange(1, 101) * LABEL_STEP_US, objects),
        np.concatenate([corner, corner + 40], axis=1).astype(np.float32),
        np.zeros(objects * 100, np.int64),
        track,
        np.ones(objects * 100, np.float32),
    )
    matcher = BoxMatcher([boxes], temporal_buffer=0.2)
    starts = [LABEL_STEP_US * k for k in range(2, 90)] * 10
    matcher.match(0, starts[0], 10_000, 8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    for start in starts:
        matcher.match(0, start, 10_000, 8)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_utime - before
    print(f"| {objects} | {'yes' if tracked else 'no'} | {1e6 * used / len(starts):.0f} µs |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--looks", type=int, default=200, help="label times of each recording")
    arguments = parser.parse_args()
    print("| recordings | windows | index | memory it adds | class weights | one balanced epoch |")
    print("|---|---|---|---|---|---|")
    for recordings in (1_000, 3_000, 10_000):
        index(recordings, arguments.looks)
    scenes = ((10_000, 10.0), (10_000, 50.0), (100, 10.0), (100, 50.0))
    print("\n| slices | Mev/s of the scene | by | windows a second | Mev/s | times ours |")
    print("|---|---|---|---|---|---|")
    for slice_us, rate in scenes:
        encode(slice_us, rate)
    print("\n| slices | Mev/s of the scene | what | windows a second | Mev/s |")
    print("|---|---|---|---|---|")
    for slice_us, rate in scenes[::2]:
        other_encoders(slice_us, rate)
    print("\n| objects | tracks | truth of a window |")
    print("|---|---|---|")
    for tracked in (True, False):
        for objects in (2, 15, 40, 100):
            truth(objects, tracked)


if __name__ == "__main__":
    main()
