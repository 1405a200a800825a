"""The event camera of the simulator: pixels that answer steps of log intensity with ON and OFF events.

Each pixel follows its log intensity, taken as linear between rendered instants, and fires whenever it has moved by a
threshold since the last event (Lichtsteiner, Posch and Delbruck, 2008; ESIM: Rebecq, Gehrig and Scaramuzza, 2018;
v2e: Hu, Liu and Delbruck, 2021). Thresholds differ from pixel to pixel and between ON and OFF; after an event the
pixel is held in reset for the refractory period and starts anew from the intensity it then sees; background activity
comes as a Poisson process. Photoreceptor bandwidth is not modelled: the camera stands in bright light.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from spikeyolo.events.packing import COLUMN_SHIFT, ROW_SHIFT, TIME_SHIFT, unpack, words
from spikeyolo.events.types import Events

Float64 = npt.NDArray[np.float64]
Keys = npt.NDArray[np.uint64]

_TIME, _ROW, _COLUMN = np.uint64(TIME_SHIFT), np.uint64(ROW_SHIFT), np.uint64(COLUMN_SHIFT)
LOWEST_THRESHOLD = 0.01  # log units, as v2e: a pixel drawn below would fire without end


@dataclass(frozen=True, kw_only=True)
class EventCamera:
    """A sensor's size and the statistics of its pixels.

    Attributes:
        width, height: px.
        contrast_threshold: mean ON threshold, a difference of natural-log intensity.
        off_threshold_ratio: mean OFF threshold as a multiple of the ON threshold.
        threshold_sigma: standard deviation of thresholds over pixels, log units.
        refractory_us: µs for which a pixel rests after an event.
        noise_rate_hz: background events a pixel makes in a second, of either sign.
    """

    width: int
    height: int
    contrast_threshold: float = 0.2
    off_threshold_ratio: float = 1.0
    threshold_sigma: float = 0.03
    refractory_us: float = 0.0
    noise_rate_hz: float = 0.0

    def draw_pixels(self, log_intensity: Float64, generator: np.random.Generator) -> Pixels:
        """Make the pixels of one recording, each at a random distance from its next event.

        Args:
            log_intensity: ``[H, W]`` float64, what they see at the start.
        """
        shape = (self.height, self.width)
        on = self.contrast_threshold + self.threshold_sigma * generator.standard_normal(shape)
        off = self.contrast_threshold * self.off_threshold_ratio + self.threshold_sigma * generator.standard_normal(
            shape
        )
        on, off = np.maximum(on, LOWEST_THRESHOLD), np.maximum(off, LOWEST_THRESHOLD)
        # Strictly between the two thresholds, so that a scene at rest stays silent.
        phase = generator.uniform(0.001, 0.999, shape)
        return Pixels(
            level=log_intensity.copy(),
            reference=log_intensity + phase * (on + off) - on,
            held_until=np.full(shape, -1.0),
            on=on,
            off=off,
        )

    def record(self, log_intensity: Float64, times_us: Float64, generator: np.random.Generator) -> Events:
        """Film given frames, linear in log intensity between them.

        Args:
            log_intensity: ``[F, H, W]`` float64, natural logarithm.
            times_us: ``[F]`` float64, µs, increasing, from 0.
            generator: draws thresholds, phases and noise.
        """
        pixels = self.draw_pixels(log_intensity[0], generator)
        keys = expose_frames(
            log_intensity, times_us, pixels.level, pixels.reference, pixels.held_until, pixels.on, pixels.off,
            self.refractory_us,
        )  # fmt: skip
        return self.develop(keys, int(times_us[-1]), generator)

    def develop(self, keys: Keys, duration_us: int, generator: np.random.Generator) -> Events:
        """Add background activity to packed events and put all in order of time, row, column and sign.

        Args:
            keys: packed events ``[N]``, in any order.
            duration_us: µs; noise lies in ``0 <= t < duration_us``.
        """
        expected = self.noise_rate_hz * self.width * self.height * duration_us * 1e-6
        count = int(generator.poisson(expected))
        t = generator.integers(0, max(duration_us, 1), count)
        y = generator.integers(0, self.height, count)
        x = generator.integers(0, self.width, count)
        p = generator.integers(0, 2, count)
        return unpack(np.sort(np.concatenate([keys, words(t, x, y, p)])), self.width, self.height)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pixels:
    """State of all pixels, each array ``[H, W]`` float64; kernels change them in place.

    Attributes:
        level: log intensity at the last rendered instant.
        reference: log intensity at the last event (or at the end of the rest that followed it).
        held_until: µs at which a resting pixel wakes; negative for a pixel awake.
        on, off: thresholds, positive.
    """

    level: Float64
    reference: Float64
    held_until: Float64
    on: Float64
    off: Float64


@numba.njit(nogil=True, cache=True)
def expose_row(
    row: Float64, y: int, left: int, right: int, t0: float, t1: float, end: float,
    level: Float64, reference: Float64, held_until: Float64, on: Float64, off: Float64,
    refractory: float, keys: Keys, count: int,
) -> tuple[Keys, int]:  # fmt: skip
    """Let pixels ``left <= x < right`` of row ``y`` go from their level at ``t0`` to that of ``row`` at ``t1``.

    Args:
        row: ``[W]`` float64, log intensity at ``t1``.
        end: µs; events are written strictly before it.
        keys: packed events so far, the first ``count`` of them; a larger copy is returned where it is full.
    """
    for x in range(left, right):
        l0, l1 = level[y, x], row[x]
        if l0 == l1:
            continue
        level[y, x] = l1
        threshold = on[y, x] if l1 > l0 else off[y, x]
        ref, wakes = reference[y, x], held_until[y, x]
        slope = (l1 - l0) / (t1 - t0)
        if wakes >= 0.0:
            if wakes > t1:
                continue
            # Between two visits intensity stood still, so a pixel that woke before t0 then saw l0.
            ref = l0 + slope * max(wakes - t0, 0.0)
            held_until[y, x] = -1.0
        most = int(abs(l1 - ref) / threshold) + 1
        if count + most > len(keys):
            larger = np.empty(2 * (count + most), np.uint64)
            larger[:count] = keys[:count]
            keys = larger
        rising = l1 > l0
        step = threshold if rising else -threshold
        place = np.uint64(y) << _ROW | np.uint64(x) << _COLUMN | np.uint64(rising)
        while (rising and ref + step <= l1) or (not rising and ref + step >= l1):
            ref += step
            when = min(max(t0 + (ref - l0) / slope, t0), t1)
            keys[count] = np.uint64(min(when, end - 1.0)) << _TIME | place
            count += 1
            if refractory > 0.0:
                wakes = when + refractory
                if wakes > t1:
                    held_until[y, x] = wakes
                    break
                ref = l0 + slope * (wakes - t0)
        reference[y, x] = ref
    return keys, count


@numba.njit(nogil=True, cache=True)
def expose_frames(
    frames: Float64, times: Float64, level: Float64, reference: Float64, held_until: Float64,
    on: Float64, off: Float64, refractory: float,
) -> Keys:  # fmt: skip
    """Packed events of frames ``[F, H, W]`` at ``times`` ``[F]``, in no order within a frame."""
    keys = np.empty(1 << 12, np.uint64)
    count = 0
    for f in range(1, len(times)):
        for y in range(frames.shape[1]):
            keys, count = expose_row(
                frames[f, y], y, 0, frames.shape[2], times[f - 1], times[f], times[-1],
                level, reference, held_until, on, off, refractory, keys, count,
            )  # fmt: skip
    return keys[:count]
