"""A street before a fixed event camera: road users of a perspective's sizes cross over a photographic background."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from experiments.etram_like.sprites import CLASSES, PHASES, Float64, Sprite, dead_leaves, draw
from spikeyolo.events.simulator.camera import EventCamera, Keys, expose_row
from spikeyolo.events.types import Boxes, Events

WIDTH, HEIGHT = 304, 240
DURATION_US = 2_000_000
LABEL_RATE_HZ = 30.0
STEP_PX = 0.5  # farthest that anything moves between two rendered instants
MIN_IN_FRAME, MIN_SEEN = 0.4, 0.3  # least shares of a box in the frame, and of that not hidden, that earn a label
# By class: body height as a share of the perspective's scale, and least and greatest speed in body heights a second.
HEIGHTS = {"pedestrian": 1.0, "car": 0.78, "bicycle": 1.0}
SPEEDS = {"pedestrian": (0.4, 1.4), "car": (2.5, 9.0), "bicycle": (1.2, 3.5)}
CAMERAS = {
    False: EventCamera(
        width=WIDTH, height=HEIGHT, contrast_threshold=0.26, off_threshold_ratio=1.25, threshold_sigma=0.04,
        refractory_us=400.0, noise_rate_hz=0.6,
    ),
    True: EventCamera(
        width=WIDTH, height=HEIGHT, contrast_threshold=0.32, off_threshold_ratio=1.4, threshold_sigma=0.06,
        refractory_us=900.0, noise_rate_hz=4.0,
    ),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Street:
    """Road users, the nearest first, over a still background.

    Attributes:
        night: less light, more noise, lamps.
        background: ``[H, W]`` log intensity.
        class_id: ``[O]``.
        sprites: O of them.
        corner, velocity: ``[O, 2]`` upper left corner of the sprite at the start, px, and px/s.
        stride_px: ``[O]`` how far each goes in one cycle of its phases.
    """

    night: bool
    background: Float64
    class_id: npt.NDArray[np.int64]
    sprites: list[Sprite]
    corner: Float64
    velocity: Float64
    stride_px: Float64

    def poses(self, times_us: Float64) -> Float64:
        """``[F, O, 3]``: x and y of the sprite's corner, px, and its phase from 0 to ``PHASES``."""
        seconds = np.asarray(times_us, np.float64)[:, None] * 1e-6
        corner = self.corner + self.velocity * seconds[..., None]
        phase = np.abs(self.velocity[:, 0]) * seconds / self.stride_px % 1.0 * PHASES
        return np.concatenate([corner, phase[..., None]], axis=-1)

    def film(self, generator: np.random.Generator) -> Events:
        """All events of the recording."""
        camera = CAMERAS[self.night]
        steps = int(np.ceil(DURATION_US * 1e-6 * np.abs(self.velocity).max(initial=1.0) / STEP_PX))
        times = np.linspace(0.0, DURATION_US, steps + 1)
        value, cover, size = _padded(self.sprites)
        poses = self.poses(times)
        # In little light the sensor's own dark current is a floor under all contrasts.
        floor = 0.35 if self.night else 0.02
        first = _render(self.background, poses[0], value, cover, size, floor)
        pixels = camera.draw_pixels(first, generator)
        keys = _expose(
            self.background, poses, value, cover, size, floor, times, pixels.level, pixels.reference,
            pixels.held_until, pixels.on, pixels.off, camera.refractory_us,
        )  # fmt: skip
        return camera.develop(keys, DURATION_US, generator)

    def boxes(self) -> Boxes:
        """Boxes of the bodies at the label times, clipped to the frame; the track is the road user's index."""
        count = int(DURATION_US * 1e-6 * LABEL_RATE_HZ)
        times = np.rint(np.arange(1, count + 1) * (1e6 / LABEL_RATE_HZ)).astype(np.int64)
        times[-1] = min(times[-1], DURATION_US - 1)
        poses = self.poses(times.astype(np.float64))
        rows = []
        for f, t in enumerate(times):
            taken: list[Float64] = []  # boxes of those nearer
            for o, sprite in enumerate(self.sprites):
                x, y, phase = poses[f, o]
                whole = sprite.edges[round(phase) % PHASES] + np.array([x, y, x, y])
                seen = np.clip(whole, 0, [WIDTH, HEIGHT, WIDTH, HEIGHT])
                area = _area(seen)
                hidden = max((_area(np.concatenate([np.maximum(seen[:2], t[:2]), np.minimum(seen[2:], t[2:])]))
                              for t in taken), default=0.0)  # fmt: skip
                taken.append(seen)
                if area >= MIN_IN_FRAME * _area(whole) and area - hidden >= MIN_SEEN * area and area > 0:
                    rows.append((int(t), seen, int(self.class_id[o]), o))
        return Boxes(
            np.array([r[0] for r in rows], np.int64),
            np.array([r[1] for r in rows], np.float32).reshape(-1, 4),
            np.array([r[2] for r in rows], np.int64),
            np.array([r[3] for r in rows], np.int64),
            np.ones(len(rows), np.float32),
        )


def draw_street(generator: np.random.Generator, *, night: bool) -> Street:
    """A street of four to nine road users."""
    road = np.linspace(-0.4, 0.3, HEIGHT)[:, None]  # brighter towards the camera
    background = 0.45 * dead_leaves(HEIGHT, WIDTH, generator) + road
    count = int(generator.integers(4, 10))
    class_id = generator.choice(len(CLASSES), count, p=[0.4, 0.35, 0.25])
    ground = np.sort(generator.uniform(0.3, 0.97, count))[::-1] * HEIGHT  # the nearest first
    sprites, corner, velocity, stride = [], [], [], []
    for c, y in zip(class_id, ground, strict=True):
        kind = CLASSES[c]
        height = HEIGHTS[kind] * (10 + 38 * (y / HEIGHT) ** 1.3) * generator.uniform(0.85, 1.15)
        sprite = draw(kind, height, night, generator)
        slowest, fastest = np.log(SPEEDS[kind])
        speed = height * np.exp(generator.uniform(slowest, fastest))
        heading = generator.choice([-1.0, 1.0])
        width = sprite.value.shape[2]
        # Somewhere it is in sight for a good part of the recording.
        middle = generator.uniform(0.1, 0.9) * WIDTH
        start = middle - heading * speed * DURATION_US * 1e-6 * generator.uniform(0.2, 0.8) - width / 2
        sprites.append(sprite if heading > 0 else sprite.mirrored())
        corner.append((start, y - sprite.edges[:, 3].max()))
        velocity.append((heading * speed, 0.06 * speed * generator.uniform(-1, 1)))
        stride.append(height * {"pedestrian": 0.8, "car": 1.4, "bicycle": 1.9}[kind])
    return Street(night, background, class_id, sprites, np.array(corner), np.array(velocity), np.array(stride))


def _area(box: Float64) -> float:
    return float(max(box[2] - box[0], 0) * max(box[3] - box[1], 0))


def _padded(sprites: list[Sprite]) -> tuple[Float64, Float64, npt.NDArray[np.int64]]:
    size = np.array([s.value.shape[1:] for s in sprites], np.int64)
    shape = (len(sprites), PHASES, *size.max(0))
    value, cover = np.zeros(shape), np.zeros(shape)
    for o, sprite in enumerate(sprites):
        h, w = size[o]
        value[o, :, :h, :w], cover[o, :, :h, :w] = sprite.value, sprite.cover
    return value, cover, size


@numba.njit(nogil=True, cache=True)
def _sample(maps: Float64, o: int, p: int, v: float, u: float) -> float:
    """Bilinear value of ``[O, P, h, w]`` between texel centres; 0 outside."""
    v, u = v - 0.5, u - 0.5
    i, j = int(np.floor(v)), int(np.floor(u))
    a, b = v - i, u - j
    total = 0.0
    for di in range(2):
        for dj in range(2):
            y, x = i + di, j + dj
            if 0 <= y < maps.shape[2] and 0 <= x < maps.shape[3]:
                total += maps[o, p, y, x] * (a if di else 1.0 - a) * (b if dj else 1.0 - b)
    return total


@numba.njit(nogil=True, cache=True)
def _shade_row(
    row: Float64, y: int, background: Float64, poses: Float64, value: Float64, cover: Float64,
    size: npt.NDArray[np.int64], floor: float,
) -> None:  # fmt: skip
    """Log intensity of row ``y``, painted from the farthest to the nearest."""
    for x in range(len(row)):
        row[x] = np.exp(background[y, x])
    for o in range(len(size) - 1, -1, -1):
        v = y + 0.5 - poses[o, 1]
        if v < -0.5 or v > size[o, 0] + 0.5:
            continue
        phase = poses[o, 2]
        p, share = int(phase) % cover.shape[1], phase - int(phase)
        q = (p + 1) % cover.shape[1]
        first = max(int(np.floor(poses[o, 0])) - 1, 0)
        last = min(int(np.ceil(poses[o, 0] + size[o, 1])) + 1, len(row))
        for x in range(first, last):
            u = x + 0.5 - poses[o, 0]
            here, then = _sample(cover, o, p, v, u), _sample(cover, o, q, v, u)
            covered = (1.0 - share) * here + share * then
            if covered > 0.0:
                light = (1.0 - share) * here * np.exp(_sample(value, o, p, v, u))
                light += share * then * np.exp(_sample(value, o, q, v, u))
                row[x] = light + (1.0 - covered) * row[x]
    for x in range(len(row)):
        row[x] = np.log(row[x] + floor)


@numba.njit(nogil=True, cache=True)
def _render(
    background: Float64, poses: Float64, value: Float64, cover: Float64, size: npt.NDArray[np.int64], floor: float
) -> Float64:
    frame = np.empty_like(background)
    for y in range(len(background)):
        _shade_row(frame[y], y, background, poses, value, cover, size, floor)
    return frame


@numba.njit(nogil=True, cache=True)
def _expose(
    background: Float64, poses: Float64, value: Float64, cover: Float64, size: npt.NDArray[np.int64], floor: float,
    times: Float64, level: Float64, reference: Float64, held_until: Float64, on: Float64, off: Float64,
    refractory: float,
) -> Keys:  # fmt: skip
    """Packed events of all instants; only rows that a road user may touch are rendered again."""
    height, width = background.shape
    keys = np.empty(1 << 16, np.uint64)
    count = 0
    row = np.empty(width)
    for f in range(1, len(times)):
        for y in range(height):
            touched = False
            for o in range(len(size)):
                top = min(poses[f - 1, o, 1], poses[f, o, 1]) - 1.5
                bottom = max(poses[f - 1, o, 1], poses[f, o, 1]) + size[o, 0] + 1.5
                in_sight = poses[f, o, 0] < width + 2 and poses[f, o, 0] + size[o, 1] > -2
                touched = touched or (in_sight and top <= y <= bottom)
            if touched:
                _shade_row(row, y, background, poses[f], value, cover, size, floor)
                keys, count = expose_row(
                    row, y, 0, width, times[f - 1], times[f], times[-1],
                    level, reference, held_until, on, off, refractory, keys, count,
                )  # fmt: skip
    return keys[:count]
