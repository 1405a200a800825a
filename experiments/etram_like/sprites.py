"""Road users as sprites: silhouettes drawn part by part, filled with textures of natural statistics.

A sprite is two arrays ``[P, h, w]`` float64, P phases of a walk or of turning pedals: log intensity, and how much of
each pixel it covers. What lies on the road around a body (a shadow, the light of a lamp) covers at most half a pixel,
so that boxes, which hold what covers more, are those of the body.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

PHASES = 8  # of one stride
FINE = 4  # subpixels along a side
BODY = 0.55  # a pixel covered more belongs to the body
CLASSES = ("pedestrian", "car", "bicycle")  # as eTraM names its ids 0, 1 and 2


@dataclass(frozen=True, eq=False)
class Sprite:
    """One road user at its own size, heading to the right.

    Attributes:
        value: ``[P, h, w]`` log intensity.
        cover: ``[P, h, w]`` from 0 to 1.
        edges: ``[P, 4]`` left, top, right, bottom of the body in the sprite, px.
    """

    value: Float64
    cover: Float64
    edges: Float64

    def mirrored(self) -> Sprite:
        width = self.value.shape[2]
        edges = self.edges.copy()
        edges[:, 0], edges[:, 2] = width - self.edges[:, 2], width - self.edges[:, 0]
        return Sprite(self.value[..., ::-1].copy(), self.cover[..., ::-1].copy(), edges)


def dead_leaves(height: int, width: int, generator: np.random.Generator, *, largest: float = 60.0) -> Float64:
    """Discs of power-law sizes that hide one another: edges and scales of photographs (Lee, Mumford, Huang, 2001).

    Mean 0 and deviation 1, ``[height, width]``.
    """
    image = _leaves(height, width, generator, 2.0, largest)
    blurred = image + np.roll(image, 1, 0) + np.roll(image, 1, 1) + np.roll(image, (1, 1), (0, 1))
    return np.asarray((blurred - blurred.mean()) / max(blurred.std(), 1e-9), np.float64)


@numba.njit(nogil=True, cache=True)
def _leaves(height: int, width: int, generator: np.random.Generator, smallest: float, largest: float) -> Float64:
    image = np.zeros((height, width))
    empty = np.ones((height, width), np.bool_)
    left = height * width
    for _ in range(40 * int(np.ceil(np.sqrt(height * width)))):  # front first; what nobody covers stays at the mean
        if left == 0:
            break
        u = generator.uniform(0.0, 1.0)
        radius = (smallest**-2 + u * (largest**-2 - smallest**-2)) ** -0.5  # density r⁻³
        cx, cy = generator.uniform(-radius, width + radius), generator.uniform(-radius, height + radius)
        value, across, down = generator.normal(), 0.3 * generator.normal(), 0.3 * generator.normal()
        for y in range(max(int(cy - radius), 0), min(max(int(cy + radius) + 1, 0), height)):
            dy = y + 0.5 - cy
            for x in range(max(int(cx - radius), 0), min(max(int(cx + radius) + 1, 0), width)):
                dx = x + 0.5 - cx
                if empty[y, x] and dy * dy + dx * dx < radius * radius:
                    image[y, x] = value + (across * dx + down * dy) / radius
                    empty[y, x] = False
                    left -= 1
    return image


class _Canvas:
    """A sprite being painted, back to front, in subpixels; lengths are px."""

    def __init__(self, width: float, height: float, grain: Float64, generator: np.random.Generator) -> None:
        self.w, self.h = int(np.ceil(width)), int(np.ceil(height))
        self.y, self.x = (np.mgrid[0 : self.h * FINE, 0 : self.w * FINE] + 0.5) / FINE
        self.value = np.zeros((self.h * FINE, self.w * FINE))
        self.cover = np.zeros_like(self.value)
        self.grain = np.kron(grain[: self.h, : self.w], np.ones((FINE, FINE)))
        self.generator = generator

    def paint(self, mask: Mask, tone: float, *, grain: float = 0.15, cover: float = 1.0) -> None:
        self.value[mask] = tone + grain * self.grain[mask]
        self.cover[mask] = np.maximum(self.cover[mask], cover)

    def ellipse(self, cx: float, cy: float, rx: float, ry: float) -> Mask:
        return ((self.x - cx) / rx) ** 2 + ((self.y - cy) / ry) ** 2 < 1

    def ring(self, cx: float, cy: float, outer: float, inner: float) -> Mask:
        return self.ellipse(cx, cy, outer, outer) & ~self.ellipse(cx, cy, inner, inner)

    def limb(self, x0: float, y0: float, x1: float, y1: float, radius: float) -> Mask:
        """All that is within a radius of a line."""
        dx, dy = x1 - x0, y1 - y0
        along = np.clip(((self.x - x0) * dx + (self.y - y0) * dy) / max(dx * dx + dy * dy, 1e-9), 0, 1)
        return np.hypot(self.x - x0 - along * dx, self.y - y0 - along * dy) < radius

    def polygon(self, *corners: tuple[float, float]) -> Mask:
        """A convex polygon, corners clockwise."""
        inside = np.ones_like(self.cover, bool)
        for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
            inside &= (x1 - x0) * (self.y - y0) - (y1 - y0) * (self.x - x0) >= 0
        return inside

    def finished(self) -> tuple[Float64, Float64, Float64]:
        """Log intensity and cover in px, and the body's edges."""
        body = self.cover > BODY
        rows, columns = np.flatnonzero(body.any(1)), np.flatnonzero(body.any(0))
        edges = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / FINE
        fine = (self.h, FINE, self.w, FINE)
        cover = self.cover.reshape(fine).mean((1, 3))
        light = (np.exp(self.value) * self.cover).reshape(fine).mean((1, 3))
        return np.log(np.where(cover > 0, light / np.maximum(cover, 1e-9), 1.0)), cover, edges


def draw(kind: str, height: float, night: bool, generator: np.random.Generator) -> Sprite:
    """A road user of one of ``CLASSES``, its body about ``height`` px high."""
    paint = {"pedestrian": _pedestrian, "car": _car, "bicycle": _bicycle}[kind]
    build = {name: generator.uniform(-1, 1) for name in ("a", "b", "c", "d")}
    tones = generator.normal(size=6)
    grain = dead_leaves(160, 320, generator, largest=12.0)
    phases = [paint(height, phase / PHASES, night, build, tones, grain, generator) for phase in range(PHASES)]
    value, cover, edges = (np.stack(parts) for parts in zip(*phases, strict=True))
    return Sprite(value, cover, edges)


Parts = tuple[Float64, Float64, Float64]
Build = dict[str, float]


def _lying_light(canvas: _Canvas, left: float, right: float, ground: float, night: bool) -> None:
    if not night:
        middle, half = (left + right) / 2, (right - left) / 2
        canvas.paint(canvas.ellipse(middle + 0.2 * half, ground, 1.15 * half, 1.5 + 0.1 * half), -0.7, cover=0.5)


def _pedestrian(
    h: float, phase: float, night: bool, build: Build, tones: Float64, grain: Float64, generator: np.random.Generator
) -> Parts:
    canvas = _Canvas(0.9 * h + 6, h + 6, grain, generator)
    cx, top, ground = canvas.w / 2, 2.0, 2.0 + h
    girth = h * (0.105 + 0.02 * build["a"])
    swing = np.sin(2 * np.pi * phase) * h * (0.16 + 0.03 * build["b"])
    hip, shoulder = top + 0.53 * h, top + 0.22 * h
    _lying_light(canvas, cx - 0.2 * h, cx + 0.2 * h, ground, night)
    for side in (-1, 1):
        knee = cx + side * 0.6 * swing + 0.04 * h
        legs = canvas.limb(cx, hip, knee, top + 0.77 * h, 0.06 * h)
        canvas.paint(legs | canvas.limb(knee, top + 0.77 * h, cx + side * swing, ground - 0.03 * h, 0.05 * h),
                     0.5 * tones[0] - 0.3)  # fmt: skip
    canvas.paint(canvas.limb(cx, shoulder + girth, cx, hip, girth), 0.6 * tones[1])
    for side in (-1, 1):
        arm = canvas.limb(cx, shoulder + 0.05 * h, cx - 0.8 * side * swing, top + 0.5 * h, 0.035 * h)
        canvas.paint(arm, 0.6 * tones[1] - 0.15)
    if build["c"] > 0.3:
        canvas.paint(canvas.limb(cx - 1.3 * girth, shoulder + 0.1 * h, cx - 1.2 * girth, hip - 0.1 * h, 0.6 * girth),
                     0.6 * tones[2])  # fmt: skip
    canvas.paint(canvas.ellipse(cx + 0.01 * h, top + 0.085 * h, 0.06 * h, 0.08 * h), 0.3 + 0.2 * tones[3], grain=0.1)
    return canvas.finished()


def _car(
    h: float, phase: float, night: bool, build: Build, tones: Float64, grain: Float64, generator: np.random.Generator
) -> Parts:
    length = h * (2.75 + 0.3 * build["a"])
    margin = 4 + (0.35 * length if night else 3)
    canvas = _Canvas(length + 2 * margin, h + 8, grain, generator)
    left, right, top, ground = margin, margin + length, 2.0, 2.0 + h
    radius = 0.22 * h
    belt, sill = top + 0.45 * h, ground - 0.6 * radius
    _lying_light(canvas, left, right, ground, night)
    if night:
        canvas.paint(canvas.ellipse(right + 0.1 * length, ground - 0.05 * h, 0.22 * length, 0.16 * h), 1.6, cover=0.5)
    tone = 0.7 * tones[0]
    hood = left + length * (0.72 + 0.04 * build["b"])
    boot = left + length * (0.06 + 0.12 * (build["c"] > 0))
    slope = 0.13 * length
    cabin = canvas.polygon((boot + 0.6 * slope, top), (hood - slope, top), (hood, belt + 1), (boot, belt + 1))
    canvas.paint(cabin, tone + 0.1)
    glass = canvas.polygon(
        (boot + 0.7 * slope, top + 0.07 * h), (hood - slope, top + 0.07 * h), (hood - 0.2 * slope, belt),
        (boot + 0.2 * slope, belt),
    )  # fmt: skip
    canvas.paint(glass, -1.0 + 0.2 * tones[1], grain=0.3)
    post = (boot + hood) / 2
    canvas.paint(canvas.limb(post, top, post, belt, 0.025 * length) & cabin, tone + 0.1)
    canvas.paint(canvas.polygon((left, belt), (right - 0.05 * length, belt), (right, (belt + sill) / 2), (right, sill),
                                (left, sill)), tone)  # fmt: skip
    canvas.paint(canvas.limb(left + 1, belt + 0.12 * h, right - 2, belt + 0.12 * h, 0.02 * h), tone - 0.35)
    for cx in (left + 0.19 * length, left + 0.8 * length):
        canvas.paint(canvas.ellipse(cx, ground - radius, radius, radius), -1.3, grain=0.05)
        canvas.paint(canvas.ellipse(cx, ground - radius, 0.55 * radius, 0.55 * radius), 0.3, grain=0.1)
        angle = 2 * np.pi * phase
        spoke = canvas.limb(cx, ground - radius, cx + 0.5 * radius * np.cos(angle),
                            ground - radius + 0.5 * radius * np.sin(angle), 0.14 * radius)  # fmt: skip
        canvas.paint(spoke, -0.8)
    lamps = 2.2 if night else 0.9
    canvas.paint(canvas.ellipse(right - 0.03 * length, belt + 0.2 * h, 0.03 * length, 0.08 * h), lamps, grain=0.0)
    canvas.paint(canvas.ellipse(left + 0.02 * length, belt + 0.18 * h, 0.02 * length, 0.08 * h), 0.5 * lamps, grain=0.0)
    return canvas.finished()


def _bicycle(
    h: float, phase: float, night: bool, build: Build, tones: Float64, grain: Float64, generator: np.random.Generator
) -> Parts:
    length = h * (1.02 + 0.06 * build["a"])
    canvas = _Canvas(length + 10, h + 8, grain, generator)
    left, top, ground = 4.0, 2.0, 2.0 + h
    wheel = 0.2 * h
    rear, front, axle = left + wheel, left + length - wheel, ground - wheel
    crank = (rear + 0.45 * (front - rear), axle)
    saddle, bar = (rear + 0.3 * (front - rear), top + 0.5 * h), (front - 0.12 * h, top + 0.45 * h)
    _lying_light(canvas, left, left + length, ground, night)
    for cx in (rear, front):
        canvas.paint(canvas.ring(cx, axle, wheel, 0.82 * wheel), -0.9, grain=0.05)
        angle = 2 * np.pi * phase
        for turn in (0.0, np.pi / 2):
            dx, dy = wheel * np.cos(angle + turn), wheel * np.sin(angle + turn)
            canvas.paint(canvas.limb(cx - dx, axle - dy, cx + dx, axle + dy, 0.012 * h), 0.2, grain=0.0, cover=0.6)
    tone = 0.7 * tones[0]
    hub, fork = (rear, axle), (front, axle)
    for (x0, y0), (x1, y1) in (
        (hub, saddle), (saddle, bar), (crank, bar), (crank, saddle), (bar, fork), (hub, crank)
    ):  # fmt: skip
        canvas.paint(canvas.limb(x0, y0, x1, y1, 0.018 * h), tone, grain=0.05)
    shoulder = (rear + (0.62 + 0.08 * build["b"]) * (front - rear), top + 0.24 * h)
    for turn in (0.0, np.pi):
        angle = 2 * np.pi * phase + turn
        foot = crank[0] + 0.09 * h * np.cos(angle), crank[1] + 0.09 * h * np.sin(angle)
        knee = (saddle[0] + foot[0]) / 2 + 0.13 * h, (saddle[1] + foot[1]) / 2 - 0.03 * h
        leg = canvas.limb(*saddle, *knee, 0.05 * h) | canvas.limb(*knee, *foot, 0.042 * h)
        canvas.paint(leg, 0.5 * tones[1] - 0.3)
    canvas.paint(canvas.limb(*saddle, *shoulder, 0.085 * h), 0.6 * tones[2])
    canvas.paint(canvas.limb(*shoulder, *bar, 0.035 * h), 0.6 * tones[2] - 0.1)
    canvas.paint(canvas.ellipse(shoulder[0] + 0.06 * h, top + 0.09 * h, 0.065 * h, 0.08 * h), 0.3 + 0.3 * tones[3])
    if night:
        canvas.paint(canvas.ellipse(bar[0] + 0.05 * h, bar[1] + 0.03 * h, 0.04 * h, 0.04 * h), 2.0, grain=0.0)
    return canvas.finished()
