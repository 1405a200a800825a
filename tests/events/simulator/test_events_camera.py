"""The simulated pixels obey the law of the event camera on signals whose events can be counted by hand."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from spikeyolo.events.simulator.camera import EventCamera, expose_frames
from spikeyolo.events.types import Events


def ramp(camera: EventCamera, log_change: float, duration_us: int, frames: int = 2) -> Events:
    """A uniform sensor whose log intensity goes evenly from 0 to ``log_change``; all pixels start at reference 0."""
    times = np.linspace(0.0, duration_us, frames)
    signal = np.broadcast_to(
        (log_change * times / duration_us)[:, None, None], (frames, camera.height, camera.width)
    ).copy()
    zeros = np.zeros((camera.height, camera.width))
    on = zeros + camera.contrast_threshold
    off = on * camera.off_threshold_ratio
    keys = expose_frames(signal, times, zeros.copy(), zeros.copy(), zeros - 1.0, on, off, camera.refractory_us)
    return camera.develop(keys, duration_us, np.random.default_rng(0))


@settings(max_examples=60, deadline=None)
@given(
    change=st.floats(-3.0, 3.0).filter(lambda value: abs(value) > 1e-3),
    threshold=st.floats(0.05, 0.6),
    ratio=st.floats(0.5, 2.0),
    frames=st.integers(2, 9),
)
def test_a_ramp_makes_as_many_events_as_thresholds_fit_into_it(
    change: float, threshold: float, ratio: float, frames: int
) -> None:
    camera = EventCamera(width=3, height=2, contrast_threshold=threshold, off_threshold_ratio=ratio)
    step = threshold if change > 0 else threshold * ratio
    if abs(abs(change) / step - round(abs(change) / step)) < 1e-6:
        return  # exactly on a threshold either count is right
    events = ramp(camera, change, 100_000, frames)
    expected = int(abs(change) / step)
    assert len(events) == 6 * expected
    assert set(events.p.tolist()) <= {int(change > 0)}
    times = events.t[(events.x == 1) & (events.y == 1)]
    crossings = step * np.arange(1, expected + 1) / abs(change) * 100_000
    np.testing.assert_allclose(times, np.floor(crossings), atol=1)


def test_brightening_gives_on_and_darkening_gives_off_events() -> None:
    camera = EventCamera(width=2, height=2, contrast_threshold=0.1, threshold_sigma=0.0)
    times = np.array([0.0, 1000.0, 2000.0])
    frames = np.zeros((3, 2, 2))
    frames[1, 0, 1], frames[1, 1, 0] = 0.55, -0.55
    events = camera.record(frames, times, np.random.default_rng(1))
    first = events.t < 1000
    assert set(zip(events.x[first].tolist(), events.y[first].tolist(), events.p[first].tolist())) == {
        (1, 0, 1),
        (0, 1, 0),
    }
    assert set(zip(events.x[~first].tolist(), events.y[~first].tolist(), events.p[~first].tolist())) == {
        (1, 0, 0),
        (0, 1, 1),
    }


def test_a_scene_at_rest_makes_no_events_without_noise() -> None:
    camera = EventCamera(width=16, height=12, contrast_threshold=0.1, threshold_sigma=0.05)
    frames = np.broadcast_to(np.random.default_rng(3).standard_normal((12, 16)), (5, 12, 16)).copy()
    assert len(camera.record(frames, np.arange(5) * 100.0, np.random.default_rng(4))) == 0


@settings(max_examples=30, deadline=None)
@given(refractory=st.floats(1.0, 5_000.0), change=st.floats(0.5, 5.0), frames=st.integers(2, 40))
def test_a_resting_pixel_is_silent_and_starts_anew_from_what_it_then_sees(
    refractory: float, change: float, frames: int
) -> None:
    camera = EventCamera(width=1, height=1, contrast_threshold=0.1, refractory_us=refractory)
    duration = 50_000
    events = ramp(camera, change, duration, frames)
    # On a ramp the pixel needs threshold / slope to fire and the rest to wake: a period of their sum.
    rise = 0.1 / (change / duration)
    expected = rise + (rise + refractory) * np.arange(1000)
    expected = expected[expected < duration - 1e-3]
    assert abs(len(events) - len(expected)) <= 1
    np.testing.assert_allclose(events.t[: len(expected)], np.floor(expected[: len(events)]), atol=1)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000))
def test_events_are_ordered_and_lie_on_the_sensor_and_in_the_time(seed: int) -> None:
    generator = np.random.default_rng(seed)
    camera = EventCamera(width=7, height=5, contrast_threshold=0.2, noise_rate_hz=500.0, refractory_us=10.0)
    frames = np.cumsum(generator.normal(0, 0.5, (6, 5, 7)), axis=0)
    events = camera.record(frames, np.arange(6) * 1000.0, generator)
    events.check("simulated")
    assert len(events) > 0
    assert events.t.min() >= 0
    assert events.t.max() < 5000


def test_noise_comes_at_its_rate_in_both_signs() -> None:
    camera = EventCamera(width=64, height=48, noise_rate_hz=20.0)
    events = camera.record(np.zeros((2, 48, 64)), np.array([0.0, 1e6]), np.random.default_rng(5))
    expected = 20.0 * 64 * 48
    assert abs(len(events) - expected) < 5 * np.sqrt(expected)
    assert 0.45 < events.p.mean() < 0.55


def test_thresholds_spread_as_asked_and_never_vanish() -> None:
    camera = EventCamera(width=100, height=100, contrast_threshold=0.2, off_threshold_ratio=1.5, threshold_sigma=0.04)
    pixels = camera.draw_pixels(np.zeros((100, 100)), np.random.default_rng(6))

    def moments(values: NDArray[np.float64]) -> tuple[float, float]:
        return float(values.mean()), float(values.std())

    np.testing.assert_allclose(moments(pixels.on), (0.2, 0.04), atol=0.003)
    np.testing.assert_allclose(moments(pixels.off), (0.3, 0.04), atol=0.003)
    assert min(pixels.on.min(), pixels.off.min()) > 0
    assert abs(np.corrcoef(pixels.on.ravel(), pixels.off.ravel())[0, 1]) < 0.05
