"""How fast a film is written: frames a second, and processor time a frame, drawn alone and written as H.264.

Objects of three classes wander over the sensor; their edges make the events, and one event in ten is noise.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from spikeyolo.events.types import Boxes, Events
from spikeyolo.viewing.filming import Look, film_recording
from spikeyolo.viewing.footage import Footage, span_of
from spikeyolo.viewing.overlays import Overlay

CLASSES = ("car", "pedestrian", "two-wheeler")


def scene(width: int, height: int, objects: int, rate: float, seconds: float) -> tuple[Footage, dict[str, Overlay]]:
    """A made recording, with truth every 50 ms, and detections and tracks every 10 ms."""
    generator = np.random.default_rng(0)
    sensor, duration = np.array([width, height]), int(1e6 * seconds)
    size = generator.uniform(0.05, 0.13, (objects, 2)) * sensor
    span = sensor - size
    start, speed = generator.uniform(0, 1, (objects, 2)) * span, generator.uniform(-0.3, 0.3, (objects, 2)) * sensor

    def corner(t_us: np.ndarray, k: np.ndarray) -> np.ndarray:
        return span[k] - np.abs((start[k] + speed[k] * t_us[:, None] * 1e-6) % (2 * span[k]) - span[k])

    def batches(from_us: int) -> Iterator[Events]:
        for first in range(0, duration, 100_000):
            number = int(rate * 0.1)
            t = np.sort(generator.integers(first, first + 100_000, number))
            k, side, share = (
                generator.integers(0, objects, number),
                generator.integers(0, 4, number),
                generator.uniform(size=number),
            )
            place = np.stack([np.where(side < 2, share, side - 2), np.where(side < 2, side, share)], 1)
            xy = corner(t, k) + place * size[k]
            noise = generator.uniform(size=number) < 0.1
            xy[noise] = generator.uniform(0, 1, (int(noise.sum()), 2)) * sensor
            x, y = np.clip(xy, 0, sensor - 1).astype(np.uint16).T.copy()
            yield Events(t, x, y, (side % 2).astype(np.uint8), width, height)

    times = np.arange(10_000, duration + 1, 10_000)
    t, k = np.repeat(times, objects), np.tile(np.arange(objects), len(times))
    low = corner(t, k)
    xyxy = np.concatenate((low, low + size[k]), 1).astype(np.float32)
    score = generator.uniform(0.3, 1, len(t)).astype(np.float32)
    labelled = t % 50_000 == 0
    tracks = Overlay(Boxes(t, xyxy, k % 3, k, score), CLASSES, times)
    untracked = Boxes(
        t, xyxy + generator.normal(0, 2, xyxy.shape).astype(np.float32), k % 3, np.full(len(t), -1), score
    )
    truth = tracks.boxes[labelled]
    overlays = {
        "truth": Overlay(truth, CLASSES, np.unique(truth.t)),
        "detections": Overlay(untracked, CLASSES, times),
        "tracks": tracks,
    }
    return Footage("made", "made", width, height, 0, "camera", batches), overlays


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - clock, time.process_time() - processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, nargs=2, default=(1280, 720))
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 5, 40])
    parser.add_argument("--rate", type=float, default=2e6, help="events a second")
    parser.add_argument("--seconds", type=float, default=4.0, help="of the recording")
    parser.add_argument("--slow", type=float, default=1.0)
    parser.add_argument("--suffix", choices=("mp4", "gif"), default="mp4")
    options = parser.parse_args()
    print("| objects | frames | frames/s | processor ms a frame | MB |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"film.{options.suffix}"
        for objects in [options.objects[0], *options.objects]:  # the first one compiles
            footage, overlays = scene(*options.size, objects, options.rate, options.seconds)
            span = span_of(footage, start_us=0, duration_us=None, whole=True)
            parts = list(footage.batches(0))
            made = Footage("made", "made", *options.size, 0, "camera", lambda from_us, parts=parts: iter(parts))
            look = Look(slow=options.slow, scale=1)
            filmed = []
            clock, processor = timed(
                lambda: filmed.append(film_recording(made, span, overlays, path, look))  # noqa: B023 -- called at once
            )
            frames = filmed[0].frames
            row = f"| {objects} | {frames} | {frames / clock:.0f} | {1e3 * processor / frames:.1f} "
            print(row + f"| {path.stat().st_size / 1e6:.1f} |")


if __name__ == "__main__":
    main()
