"""How a scene looks to a pixel: shapes, textures and outlines, in compiled loops over poses.

Poses are rows of centre x and y (px, pixel 0 spans 0 to 1), cosine and sine; objects are listed front first. A shape's
radius is that of the disc of equal area, so that no class gives itself away by its area.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from spikeyolo.events.simulator.camera import Float64, Keys, expose_row

Int64 = npt.NDArray[np.int64]

SHAPES = ("disc", "square", "triangle", "cross", "ring", "bar")
REACHES = (1.0, 1.2535, 1.5555, 1.2535, 1.155, 1.6185)  # their farthest points, in radii of the disc of equal area
REACH = 1.63  # no point of any shape is farther
SUBPIXELS = 4  # boxes are exact to a quarter of a pixel


@numba.njit(nogil=True, cache=True)
def signed_distance(shape: int, u: float, v: float, r: float) -> float:
    """Distance of a point to a shape's outline, px, negative inside; the shape has the area of a disc of radius r."""
    if shape == 0:  # disc
        far: float = np.sqrt(u * u + v * v)
        return far - r
    a, b = abs(u), abs(v)
    if shape == 1:  # square: side² = π r²
        return max(a, b) - 0.8862 * r
    if shape == 2:  # triangle: 3√3 inradius² = π r²
        inradius = 0.7776 * r
        return max(v, 0.8660254 * a - 0.5 * v) - inradius
    if shape == 3:  # cross, arms a third of its width: 20/9 half² = π r²
        half = 1.1890 * r
        return min(max(a - half, b - half / 3.0), max(a - half / 3.0, b - half))
    if shape == 4:  # ring, its hole half as wide: 3/4 R² = r²
        far = np.sqrt(u * u + v * v)
        return abs(far - 0.8660 * r) - 0.2887 * r
    # bar, three times as long as wide: 4/3 half² = π r²
    half = 1.5350 * r
    return max(a - half, b - half / 3.0)


@numba.njit(nogil=True, cache=True)
def sample(texture: Float64, o: int, row: float, column: float) -> float:
    """Bilinear value of texture ``o`` of ``[O, S, S]`` at a place inside it, in texels."""
    i = min(max(int(row), 0), texture.shape[1] - 2)
    j = min(max(int(column), 0), texture.shape[2] - 2)
    a, b = row - i, column - j
    top: float = texture[o, i, j] * (1.0 - b) + texture[o, i, j + 1] * b
    bottom: float = texture[o, i + 1, j] * (1.0 - b) + texture[o, i + 1, j + 1] * b
    value: float = top * (1.0 - a) + bottom * a
    return value


@numba.njit(nogil=True, cache=True)
def sample_periodic(background: Float64, row: float, column: float) -> float:
    """Bilinear value of a texture that repeats itself."""
    h, w = background.shape
    fi, fj = np.floor(row), np.floor(column)
    a, b = row - fi, column - fj
    i, j = int(fi) % h, int(fj) % w
    k, m = (i + 1) % h, (j + 1) % w
    top: float = background[i, j] * (1.0 - b) + background[i, m] * b
    bottom: float = background[k, j] * (1.0 - b) + background[k, m] * b
    value: float = top * (1.0 - a) + bottom * a
    return value


@numba.njit(nogil=True, cache=True)
def shade_row(
    row: Float64, y: int, left: int, right: int, f: int, background: Float64, drift: Float64, poses: Float64,
    shape: Int64, radius: Float64, texture: Float64,
) -> None:  # fmt: skip
    """Put the log intensity of pixels ``left <= x < right`` of row ``y`` at pose ``f`` into ``row``.

    Objects are painted from back to front; intensities mix linearly where an outline crosses a pixel.
    """
    # Arrays are indexed, never sliced: a slice counts references, which would cost more than the pixel.
    if drift[f, 0] == 0.0 and drift[f, 1] == 0.0:
        for x in range(left, right):
            row[x] = background[y, x]
    else:
        for x in range(left, right):
            row[x] = sample_periodic(background, y - drift[f, 1], x - drift[f, 0])
    half = 0.5 * (texture.shape[1] - 1)
    for o in range(len(shape) - 1, -1, -1):
        reach = REACHES[shape[o]] * radius[o] + 1.0
        centre, cosine, sine = poses[f, o, 0], poses[f, o, 2], poses[f, o, 3]
        dy = y + 0.5 - poses[f, o, 1]
        chord = reach * reach - dy * dy
        if chord <= 0.0:
            continue
        chord = np.sqrt(chord)
        for x in range(max(left, int(centre - chord)), min(right, int(centre + chord) + 1)):
            dx = x + 0.5 - centre
            u, v = dx * cosine + dy * sine, dy * cosine - dx * sine
            cover = 0.5 - signed_distance(shape[o], u, v, radius[o])
            if cover >= 1.0:
                row[x] = sample(texture, o, v + half, u + half)
            elif cover > 0.0:
                front = np.exp(sample(texture, o, v + half, u + half))
                row[x] = np.log(cover * front + (1.0 - cover) * np.exp(row[x]))


@numba.njit(nogil=True, cache=True)
def render_frames(
    background: Float64, drift: Float64, poses: Float64, shape: Int64, radius: Float64, texture: Float64
) -> Float64:
    """Log intensity ``[F, H, W]`` of every pixel at every pose."""
    h, w = background.shape
    frames = np.empty((len(poses), h, w))
    for f in range(len(poses)):
        for y in range(h):
            shade_row(frames[f, y], y, 0, w, f, background, drift, poses, shape, radius, texture)
    return frames


@numba.njit(nogil=True, cache=True)
def expose_scene(
    background: Float64, drift: Float64, poses: Float64, shape: Int64, radius: Float64, texture: Float64,
    times: Float64, level: Float64, reference: Float64, held_until: Float64, on: Float64, off: Float64,
    refractory: float, drifting: bool,
) -> Keys:  # fmt: skip
    """Packed events of a scene: at each step only the pixels are rendered over which an object may have moved.

    A pixel within reach of two objects is visited twice, the second time without a change to answer.
    """
    h, w = background.shape
    keys = np.empty(1 << 16, np.uint64)
    count = 0
    row = np.empty(w)
    for f in range(1, len(times)):
        for o in range(1 if drifting else len(shape)):
            left, right, top, bottom = 0, w, 0, h
            if not drifting:
                reach = REACHES[shape[o]] * radius[o] + 1.0
                left = max(int(np.floor(min(poses[f - 1, o, 0], poses[f, o, 0]) - reach)), 0)
                right = min(int(np.ceil(max(poses[f - 1, o, 0], poses[f, o, 0]) + reach)), w)
                top = max(int(np.floor(min(poses[f - 1, o, 1], poses[f, o, 1]) - reach)), 0)
                bottom = min(int(np.ceil(max(poses[f - 1, o, 1], poses[f, o, 1]) + reach)), h)
            for y in range(top, bottom):
                shade_row(row, y, left, right, f, background, drift, poses, shape, radius, texture)
                keys, count = expose_row(
                    row, y, left, right, times[f - 1], times[f], times[-1],
                    level, reference, held_until, on, off, refractory, keys, count,
                )  # fmt: skip
    return keys[:count]


@numba.njit(nogil=True, cache=True)
def outline(poses: Float64, shape: Int64, radius: Float64, width: int, height: int) -> tuple[Float64, Int64]:
    """Edges ``[F, O, 4]`` (left, top, right, bottom, px) of each object's visible part, and areas ``[F, O, 3]``.

    Areas count subpixels: of the whole object, of its part in the frame, and of what nobody hides of that.
    """
    edges = np.zeros((len(poses), len(shape), 4))
    area = np.zeros((len(poses), len(shape), 3), np.int64)
    step = 1.0 / SUBPIXELS
    for f in range(len(poses)):
        for o in range(len(shape)):
            reach = np.ceil(REACHES[shape[o]] * radius[o]) + 1.0
            x0, y0 = np.floor(poses[f, o, 0]) - reach, np.floor(poses[f, o, 1]) - reach
            side = int((2 * reach + 1) * SUBPIXELS)
            left, top, right, bottom = np.inf, np.inf, -np.inf, -np.inf
            for i in range(side):
                y = y0 + (i + 0.5) * step
                for j in range(side):
                    x = x0 + (j + 0.5) * step
                    if not covers(poses, f, o, shape, radius, x, y):
                        continue
                    area[f, o, 0] += 1
                    if x < 0.0 or y < 0.0 or x > width or y > height:
                        continue
                    area[f, o, 1] += 1
                    hidden = False
                    for front in range(o):
                        if covers(poses, f, front, shape, radius, x, y):
                            hidden = True
                            break
                    if hidden:
                        continue
                    area[f, o, 2] += 1
                    left, right = min(left, x - 0.5 * step), max(right, x + 0.5 * step)
                    top, bottom = min(top, y - 0.5 * step), max(bottom, y + 0.5 * step)
            if area[f, o, 2] > 0:
                edges[f, o, 0], edges[f, o, 1], edges[f, o, 2], edges[f, o, 3] = left, top, right, bottom
    return edges, area


@numba.njit(nogil=True, cache=True)
def covers(poses: Float64, f: int, o: int, shape: Int64, radius: Float64, x: float, y: float) -> bool:
    """Whether object ``o`` at pose ``f`` covers a point."""
    dx, dy = x - poses[f, o, 0], y - poses[f, o, 1]
    reach = REACHES[shape[o]] * radius[o]
    if dx * dx + dy * dy > reach * reach:
        return False
    u = dx * poses[f, o, 2] + dy * poses[f, o, 3]
    v = dy * poses[f, o, 2] - dx * poses[f, o, 3]
    return bool(signed_distance(shape[o], u, v, radius[o]) < 0.0)
