"""Time the simulator against the same camera in plain numpy: ``python benchmark.py``."""

from __future__ import annotations

import itertools
import time

import numpy as np

from spikeyolo.events.simulator.camera import EventCamera
from spikeyolo.events.simulator.scene import Scene
from spikeyolo.events.simulator.shading import SHAPES
from spikeyolo.events.simulator.synthetic import SyntheticDataset

SEQUENCES = 10


def distance(shape: str, u: np.ndarray, v: np.ndarray, r: float) -> np.ndarray:
    a, b = np.abs(u), np.abs(v)
    if shape == "disc":
        return np.hypot(u, v) - r
    if shape == "triangle":
        return np.maximum(v, 0.8660254 * a - 0.5 * v) - 0.7776 * r
    half = 1.1890 * r  # cross
    return np.minimum(np.maximum(a - half, b - half / 3), np.maximum(a - half / 3, b - half))


def render(scene: Scene, time_us: float) -> np.ndarray:
    """One frame, ``[H, W]``, objects painted from back to front over the whole frame."""
    frame = scene.background.copy()
    y, x = np.mgrid[: frame.shape[0], : frame.shape[1]] + 0.5
    poses = scene.poses(np.array([time_us]))[0]
    for o in range(len(scene.shape) - 1, -1, -1):
        cx, cy, cosine, sine = poses[o]
        u, v = (x - cx) * cosine + (y - cy) * sine, (y - cy) * cosine - (x - cx) * sine
        cover = np.clip(0.5 - distance(SHAPES[scene.shape[o]], u, v, scene.radius[o]), 0, 1)
        texture, half = scene.texture[o], 0.5 * (scene.texture.shape[1] - 1)
        row, column = np.clip(v + half, 0, 2 * half - 1e-9), np.clip(u + half, 0, 2 * half - 1e-9)
        i, j = row.astype(int), column.astype(int)
        a, b = row - i, column - j
        colour = (texture[i, j] * (1 - b) + texture[i, j + 1] * b) * (1 - a)
        colour += (texture[i + 1, j] * (1 - b) + texture[i + 1, j + 1] * b) * a
        mixed = np.log(cover * np.exp(colour) + (1 - cover) * np.exp(frame))
        frame = np.where(cover >= 1, colour, np.where(cover > 0, mixed, frame))
    return frame


def film(scene: Scene, camera: EventCamera, duration_us: int, max_step_px: float) -> int:
    """The number of events of a camera without rest or noise."""
    times = scene.instants(duration_us, max_step_px)
    before = render(scene, 0.0)
    pixels = camera.draw_pixels(before, np.random.default_rng(0))
    reference, stamps = pixels.reference.copy(), []
    for t0, t1 in itertools.pairwise(times):
        after = render(scene, t1)
        while True:
            rising, falling = after - reference >= pixels.on, reference - after >= pixels.off
            if not (rising.any() or falling.any()):
                break
            reference = np.where(rising, reference + pixels.on, np.where(falling, reference - pixels.off, reference))
            y, x = np.nonzero(rising | falling)
            slope = (after[y, x] - before[y, x]) / (t1 - t0)
            stamps.append(t0 + (reference[y, x] - before[y, x]) / slope)
        before = after
    return len(np.sort(np.concatenate(stamps)))


def main() -> None:
    dataset = SyntheticDataset(root="unused", refractory_us=0.0, noise_rate_hz=0.0)
    began = time.perf_counter()
    dataset.simulate("val", 0)
    print(f"first sequence, with compiling or loading the kernels: {time.perf_counter() - began:.2f} s")
    began = time.process_time()
    total = sum(len(dataset.simulate("train", number)[0]) for number in range(SEQUENCES))
    ours = (time.process_time() - began) / SEQUENCES
    print(
        f"simulate (events and boxes): {ours * 1e3:.0f} ms a sequence, {total / SEQUENCES / ours / 1e6:.2f} M events/s"
    )
    for number in range(2):
        scene = dataset.draw_scene(np.random.default_rng([dataset.seed, 0, number]))
        began = time.process_time()
        events = scene.film(
            dataset.camera,
            duration_us=dataset.duration_us,
            max_step_px=0.5,
            generator=np.random.default_rng(0),
        )
        compiled = time.process_time() - began
        began = time.process_time()
        count = film(scene, dataset.camera, dataset.duration_us, 0.5)
        plain = time.process_time() - began
        print(
            f"scene {number}: compiled {compiled:.3f} s ({len(events)} events), "
            f"plain numpy {plain:.2f} s ({count} events): {plain / compiled:.0f} times"
        )


if __name__ == "__main__":
    main()
