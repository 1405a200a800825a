"""The same frames by others: numpy, tonic and spikingjelly where they are installed, and our own first loop."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Packed = npt.NDArray[np.uint64]
Frames = npt.NDArray[np.uint8]
Encode = Callable[[], Frames]


def ways(packed: Packed, slice_us: int, out: Frames) -> dict[str, Encode]:
    """Each way's name and a call that makes the frames ``out.shape`` ``[T, 2, H, W]`` with two sensor pixels a side.

    The packages get columns, already of the halved sensor: unpacking and halving are not in their time.
    """
    event = packed.astype(np.int64)
    t, x, y, p = event >> 25, ((event >> 1) & 0xFFF) // 2, ((event >> 13) & 0xFFF) // 2, event & 1
    found: dict[str, Encode] = {
        "our first loop": lambda: first_loop(packed, slice_us, out),
        "numpy bincount": lambda: by_bincount(packed, slice_us, out),
        "numpy add.at": lambda: by_add_at(packed, slice_us, out),
    }
    if importlib.util.find_spec("tonic"):
        found["tonic to_frame"] = _tonic(t, x, y, p, slice_us, out)
    if importlib.util.find_spec("spikingjelly"):
        found["spikingjelly integrate_events"] = _spikingjelly(t, x, y, p, slice_us, out)
    return found


def _tonic(t: Any, x: Any, y: Any, p: Any, slice_us: int, out: Frames) -> Encode:
    import tonic

    steps, _, height, width = out.shape
    events = tonic.io.make_structured_array(x, y, t, p, dtype=tonic.io.events_struct)
    to_frame = tonic.transforms.ToFrame(
        sensor_size=(width, height, 2),
        time_window=slice_us,
        start_time=0,
        end_time=steps * slice_us,
        include_incomplete=True,
    )
    return lambda: np.minimum(to_frame(events)[:steps], 255).astype(np.uint8)


def _spikingjelly(t: Any, x: Any, y: Any, p: Any, slice_us: int, out: Frames) -> Encode:
    from spikingjelly.datasets import integrate_events_segment_to_frame

    steps, _, height, width = out.shape

    def encode() -> Frames:
        edges = np.searchsorted(t, slice_us * np.arange(steps + 1))
        frames = np.empty(out.shape, np.uint8)
        for step in range(steps):
            counts = integrate_events_segment_to_frame(x, y, p, height, width, int(edges[step]), int(edges[step + 1]))
            frames[step] = np.minimum(counts, 255)
        return frames

    return encode


def by_bincount(packed: Packed, slice_us: int, out: Frames) -> Frames:
    """By numpy's fastest way."""
    place = _places(packed, slice_us, out)
    counts = np.bincount(place, minlength=out.size)
    return np.minimum(counts, 255).astype(np.uint8).reshape(out.shape)


def by_add_at(packed: Packed, slice_us: int, out: Frames) -> Frames:
    """By numpy's plainest way."""
    counts = np.zeros(out.size, np.int32)
    np.add.at(counts, _places(packed, slice_us, out), 1)
    return np.minimum(counts, 255).astype(np.uint8).reshape(out.shape)


def _places(packed: Packed, slice_us: int, out: Frames) -> npt.NDArray[np.int64]:
    event = packed.astype(np.int64)
    _, _, height, width = out.shape
    step, x, y = (event >> 25) // slice_us, ((event >> 1) & 0xFFF) // 2, ((event >> 13) & 0xFFF) // 2
    place: npt.NDArray[np.int64] = ((step * 2 + (event & 1)) * height + y) * width + x
    return place


def first_loop(packed: Packed, slice_us: int, out: Frames) -> Frames:
    """What the encoder did before its tables: time, and a floating-point position, for each event."""
    out.fill(0)
    _first_loop(packed, slice_us, out, 0.5, 0.0, 0.0)
    return out


@numba.njit(nogil=True, boundscheck=False)
def _first_loop(packed: Any, slice_us: Any, out: Any, scale: Any, offset: Any, shear: Any) -> None:
    steps, _, height, width = out.shape
    edge, step = slice_us, 0
    for i in range(packed.shape[0]):
        event = packed[i]
        t = np.int64(event >> np.uint64(25))
        while t >= edge:
            step += 1
            edge += slice_us
            if step >= steps:
                return
        x = np.float64((event >> np.uint64(1)) & np.uint64(0xFFF)) + 0.5
        y = np.float64((event >> np.uint64(13)) & np.uint64(0xFFF)) + 0.5
        column = x * scale + offset
        row = y * scale + offset
        if shear != 0.0:
            column += y * shear
            row += x * shear
        column, row = np.floor(column), np.floor(row)
        if column < 0.0 or row < 0.0 or column >= width or row >= height:
            continue
        p, r, c = np.int64(event & np.uint64(1)), np.int64(row), np.int64(column)
        if out[step, p, r, c] != 255:
            out[step, p, r, c] += np.uint8(1)
