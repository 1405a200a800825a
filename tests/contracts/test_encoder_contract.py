"""What every encoder of the ``data/encoder`` group must obey."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.colors import to_rgb

from spikeyolo.report.pictures import canvas
from spikeyolo.report.pictures.render import event_image
from spikeyolo.windows.encoders import (
    BinaryEncoder,
    Encoder,
    HistogramEncoder,
    MixedDensityEncoder,
    TimeSurfaceEncoder,
    VoxelEncoder,
)
from spikeyolo.windows.placement import Placement

WIDTH, HEIGHT, STEPS, SLICE_US = 20, 14, 4, 100
ENCODERS: dict[str, Callable[..., Encoder]] = {
    "histogram": HistogramEncoder,
    "binary": BinaryEncoder,
    "voxel": VoxelEncoder,
    "time_surface": TimeSurfaceEncoder,
    "mixed_density": MixedDensityEncoder,
}


@pytest.fixture(params=list(ENCODERS))
def make(request: pytest.FixtureRequest) -> Callable[..., Encoder]:
    return ENCODERS[request.param]


def packed(seed: int = 0, count: int = 400, *, start_us: int = 0, end_us: int = STEPS * SLICE_US) -> npt.NDArray:
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(start_us, end_us, count)).astype(np.uint64)
    x, y, p = (rng.integers(0, limit, count).astype(np.uint64) for limit in (WIDTH, HEIGHT, 2))
    return (t << np.uint64(25)) | (y << np.uint64(13)) | (x << np.uint64(1)) | p


def encode(
    encoder: Encoder, events: npt.NDArray, *, steps: int = STEPS, start_us: int = 0, placement: Placement | None = None
) -> npt.NDArray[np.uint8]:
    width, height = encoder.frame_size(WIDTH, HEIGHT)
    out = np.full((steps, encoder.channels, height, width), 7, np.uint8)
    returned = encoder.encode(events, start_us=start_us, slice_us=SLICE_US, out=out, placement=placement)
    assert returned is out
    return out


def test_every_encoder_fills_all_its_channels_the_same_way_each_time(make: Callable[..., Encoder]) -> None:
    first, second = encode(make(), packed()), encode(pickle.loads(pickle.dumps(make())), packed())
    assert first.any(axis=(2, 3)).all()
    np.testing.assert_array_equal(first, second)


def test_no_events_give_zeros(make: Callable[..., Encoder]) -> None:
    assert not encode(make(), packed(count=0)).any()


def test_a_pixel_without_events_is_zero_and_one_with_an_event_is_not(make: Callable[..., Encoder]) -> None:
    events = packed(count=60)
    seen = np.zeros((STEPS, HEIGHT, WIDTH), bool)
    t, y, x = events >> np.uint64(25), (events >> np.uint64(13)) & np.uint64(4095), (events >> np.uint64(1))
    seen[(t // np.uint64(SLICE_US)).astype(int), y.astype(int), (x & np.uint64(4095)).astype(int)] = True
    np.testing.assert_array_equal(encode(make(), events).any(axis=1), seen)


@pytest.mark.parametrize("seed", range(5))
def test_a_slice_depends_on_its_own_events_and_no_others(make: Callable[..., Encoder], seed: int) -> None:
    events = packed(seed, end_us=(STEPS + 2) * SLICE_US)
    together = encode(make(), events, start_us=SLICE_US)
    for step in range(STEPS):
        start = (step + 1) * SLICE_US
        t = (events >> np.uint64(25)).astype(np.int64)
        own = events[(t >= start) & (t < start + SLICE_US)]
        np.testing.assert_array_equal(together[step], encode(make(), own, steps=1, start_us=start)[0])


@pytest.mark.parametrize("downsample", [1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_encoding_the_mirror_image_is_mirroring_the_frame(
    make: Callable[..., Encoder], seed: int, downsample: int
) -> None:
    encoder = make(downsample=downsample)
    scale = 1 / downsample
    mirror = Placement(-scale, scale, WIDTH * scale)
    flipped = encode(encoder, packed(seed), placement=mirror)
    np.testing.assert_array_equal(flipped[..., ::-1], encode(encoder, packed(seed)))


def test_values_saturate_and_do_not_wrap(make: Callable[..., Encoder]) -> None:
    few = np.sort(np.tile(packed(3, count=30), 2))
    many = np.sort(np.tile(packed(3, count=30), 3000))
    assert np.all(encode(make(), many) >= encode(make(), few))


@pytest.mark.parametrize("downsample", [2, 3])
def test_a_frame_pixel_gathers_a_square_of_sensor_pixels(make: Callable[..., Encoder], downsample: int) -> None:
    encoder = make(downsample=downsample)
    assert encoder.frame_size(WIDTH, HEIGHT) == (-(-WIDTH // downsample), -(-HEIGHT // downsample))
    events = packed(5)
    x, y = (events >> np.uint64(1)) & np.uint64(4095), (events >> np.uint64(13)) & np.uint64(4095)
    factor = np.uint64(downsample)
    gathered = (events & ~np.uint64((1 << 25) - 2)) | (y // factor << np.uint64(13)) | (x // factor << np.uint64(1))
    width, height = encoder.frame_size(WIDTH, HEIGHT)
    small = encode(make(), gathered)[:, :, :height, :width]
    np.testing.assert_array_equal(encode(encoder, events), small)


@pytest.mark.parametrize(
    ("sensor", "factor"),
    [((304, 240), 1), ((640, 480), 1), ((641, 480), 2), ((480, 641), 2), ((1280, 720), 2), ((20, 1281), 3)],
)
def test_auto_keeps_the_longer_side_of_frames_within_640_px(
    make: Callable[..., Encoder], sensor: tuple[int, int], factor: int
) -> None:
    undecided = make(downsample="auto")
    decided, given = undecided.for_sensor(*sensor), make(downsample=factor)
    assert (decided.frame_size(*sensor), decided.placement()) == (given.frame_size(*sensor), given.placement())
    assert decided.for_sensor(4000, 4000) is decided, "decided once"
    assert given.for_sensor(*sensor) is given
    with pytest.raises(ValueError, match="downsample=auto"):
        undecided.placement()


@pytest.mark.parametrize("degrees", [0.0, 7.0, -30.0])
def test_a_box_around_the_events_holds_them_in_the_frame(make: Callable[..., Encoder], degrees: float) -> None:
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    placement = Placement(0.6 * cos, 0.6 * cos, 5.0, 4.0, seed=11, shear_x=-0.6 * sin, shear_y=0.6 * sin)
    events = packed(2)
    x, y = (events >> np.uint64(1)) & np.uint64(4095), (events >> np.uint64(13)) & np.uint64(4095)
    inside = events[(x >= 6) & (x < 12) & (y >= 4) & (y < 9)]
    left, top, right, bottom = placement.boxes(np.array([[6, 4, 12, 9]], np.float32))[0]
    _, _, rows, columns = np.nonzero(encode(make(), inside, placement=placement))
    assert len(rows)
    assert columns.min() >= np.floor(left)
    assert columns.max() <= right
    assert rows.min() >= np.floor(top)
    assert rows.max() <= bottom


@pytest.mark.parametrize("t_us", [0, 60, 130, 399])
def test_a_lone_event_has_the_colour_of_its_polarity_in_a_picture(make: Callable[..., Encoder], t_us: int) -> None:
    for polarity, colour in enumerate((canvas.OFF, canvas.ON)):
        event = np.array([t_us << 25 | 5 << 13 | 7 << 1 | polarity], np.uint64)
        frames = make().off_on(encode(make(), event))
        assert frames.shape == (STEPS, 2, HEIGHT, WIDTH)
        assert frames.dtype == np.uint8
        image = event_image(frames)
        np.testing.assert_allclose(image[5, 7], to_rgb(colour), atol=1e-9)
        image[5, 7] = to_rgb(canvas.BACKGROUND)
        np.testing.assert_allclose(image, np.broadcast_to(to_rgb(canvas.BACKGROUND), image.shape), atol=1e-9)


def test_an_output_of_other_channels_is_refused(make: Callable[..., Encoder]) -> None:
    out = np.zeros((STEPS, make().channels + 1, HEIGHT, WIDTH), np.uint8)
    with pytest.raises(ValueError, match="channels; expected"):
        make().encode(packed(), start_us=0, slice_us=SLICE_US, out=out)
