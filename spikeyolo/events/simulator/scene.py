"""The world before the simulated camera: textured shapes in front of one another over a textured background.

Positions are pixels of the sensor (the centre of pixel 0 is 0.5), times µs, brightness natural-log intensity.
A shape's size is the diameter of the disc of equal area, so that no class gives itself away by its area.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spikeyolo.events.simulator.camera import EventCamera, Float64
from spikeyolo.events.simulator.shading import REACH, expose_scene, outline, render_frames
from spikeyolo.events.types import Boxes, Events


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """Moving objects, front first, over a background that drifts at constant velocity (or stands still).

    Attributes:
        background: ``[H, W]`` float64, log intensity at time 0, periodic.
        drift_px_s: velocity of the background.
        class_id: ``[O]`` int64, what labels call each object.
        shape: ``[O]`` int64, index into ``shading.SHAPES``.
        radius: ``[O]`` float64, px.
        texture: ``[O, S, S]`` float64, log intensity around each centre, one texel a pixel.
        start: ``[O, 2]`` float64, centre at time 0, px.
        velocity: ``[O, 2]`` float64, px/s.
        low, high: ``[O, 2]`` float64, px: centres are reflected at these walls.
        angle, spin: ``[O]`` float64, rad and rad/s.
    """

    background: Float64
    drift_px_s: tuple[float, float]
    class_id: npt.NDArray[np.int64]
    shape: npt.NDArray[np.int64]
    radius: Float64
    texture: Float64
    start: Float64
    velocity: Float64
    low: Float64
    high: Float64
    angle: Float64
    spin: Float64

    def poses(self, times_us: Float64) -> Float64:
        """``[F, O, 4]`` float64: centre x and y, cosine and sine of the angle."""
        seconds = np.asarray(times_us, np.float64)[:, None] * 1e-6
        span = self.high - self.low
        travelled = (self.start - self.low + self.velocity * seconds[..., None]) % (2 * span)
        centre = self.low + span - np.abs(travelled - span)
        angle = self.angle + self.spin * seconds
        return np.concatenate([centre, np.cos(angle)[..., None], np.sin(angle)[..., None]], axis=-1)

    def drift(self, times_us: Float64) -> Float64:
        """``[F, 2]`` float64: how far the background has moved, px."""
        return np.asarray(times_us, np.float64)[:, None] * 1e-6 * np.asarray(self.drift_px_s, np.float64)

    def fastest_px_s(self) -> float:
        """The greatest speed of any point that the camera may see, px/s."""
        objects = np.hypot(*self.velocity.T) + np.abs(self.spin) * self.radius * REACH
        return float(max(objects.max(initial=0.0), np.hypot(*self.drift_px_s)))

    def instants(self, duration_us: int, max_step_px: float) -> Float64:
        """Instants to render, ``[F]`` µs from 0 to ``duration_us``, no point moving farther than the step."""
        steps = int(np.ceil(duration_us * 1e-6 * self.fastest_px_s() / max_step_px))
        return np.linspace(0.0, duration_us, max(steps, 1) + 1)

    def render(self, times_us: Float64) -> Float64:
        """Log intensity ``[F, H, W]`` float64 at the given instants."""
        return render_frames(
            self.background, self.drift(times_us), self.poses(times_us), self.shape, self.radius, self.texture
        )

    def film(
        self, camera: EventCamera, *, duration_us: int, max_step_px: float, generator: np.random.Generator
    ) -> Events:
        """What the camera makes of the scene, from 0 to ``duration_us``."""
        times = self.instants(duration_us, max_step_px)
        pixels = camera.draw_pixels(self.render(times[:1])[0], generator)
        keys = expose_scene(
            self.background, self.drift(times), self.poses(times), self.shape, self.radius, self.texture, times,
            pixels.level, pixels.reference, pixels.held_until, pixels.on, pixels.off, camera.refractory_us,
            self.drift_px_s != (0.0, 0.0),
        )  # fmt: skip
        return camera.develop(keys, duration_us, generator)

    def boxes(self, times_us: npt.NDArray[np.int64], *, min_in_frame: float, min_unoccluded: float) -> Boxes:
        """Tight boxes of what can be seen of each object, clipped to the frame; the track is the object's index.

        Args:
            times_us: ``[F]`` int64, µs.
            min_in_frame: the least share of an object's area inside the frame that earns it a box.
            min_unoccluded: the least share of that part which no other object hides.
        """
        height, width = self.background.shape
        edges, area = outline(self.poses(times_us.astype(np.float64)), self.shape, self.radius, width, height)
        whole, inside, seen = np.moveaxis(area, -1, 0)
        kept = (seen > 0) & (inside >= min_in_frame * whole) & (seen >= min_unoccluded * inside)
        frame, track = np.nonzero(kept)
        return Boxes(
            times_us[frame],
            edges[frame, track].astype(np.float32),
            self.class_id[track],
            track.astype(np.int64),
            np.ones(len(frame), np.float32),
        )


def cloud(shape: tuple[int, int], *, shortest_px: float, generator: np.random.Generator) -> Float64:
    """A periodic random texture of mean 0 and deviation 1, with the 1/f amplitudes of natural images (Field, 1987).

    Waves shorter than ``shortest_px`` fade out, so that bilinear sampling between texels stays faithful.
    """
    fy, fx = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :]
    frequency = np.hypot(fy, fx)
    spectrum = np.fft.rfft2(generator.standard_normal(shape))
    spectrum *= np.exp(-0.5 * (frequency * shortest_px) ** 2) / np.maximum(frequency, 1.0 / max(shape))
    spectrum[0, 0] = 0.0
    field = np.fft.irfft2(spectrum, shape)
    return np.asarray(field / field.std(), np.float64)
