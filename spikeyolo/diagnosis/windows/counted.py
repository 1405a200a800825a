"""What a sample of windows holds, counted: events a slice, boxes and their sizes, events in each box."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spikeyolo.events.packing import unpack
from spikeyolo.windows.dataset import WindowDataset
from spikeyolo.windows.slicing import spread

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Counted:
    """A sample of the windows of a role.

    Attributes:
        windows: there are; ``looked_at`` of them were counted.
        with_boxes: of these, windows with a box at a supervised step.
        supervised: ``[W, T]`` bool, of windows with boxes.
        events: ``[W, T]`` events of each slice, of all that were looked at, as training sees them.
        kept: share of the windows' events that training sees: ``max_events_per_sample`` leaves out the others.
        in_box: ``[M]`` events of the window inside each true box of its last supervised step.
        by_chance: ``[M]`` how many these were if the window's events were spread evenly over the frame.
        side_px: ``[M]`` shorter side of that box, px of the frame.
        class_id: ``[M]``.
        pixel_events: ``[H, W]`` of the sensor.
        on: recording → share of its events that are ON.
    """

    windows: int
    looked_at: int
    with_boxes: int
    supervised: npt.NDArray[np.bool_]
    events: Int64
    kept: float
    in_box: Int64
    by_chance: Float64
    side_px: Float64
    class_id: Int64
    pixel_events: Int64
    on: dict[str, float]


def count_windows(dataset: WindowDataset, *, most: int = 300, seconds: float = 15.0) -> Counted:
    """Count the events and boxes of windows spread evenly, at most for so long.

    Args:
        dataset: without augmentation.
    """
    began = time.monotonic()
    steps = dataset.rules.time_steps
    chosen = spread(len(dataset), most)
    chosen = chosen[np.random.default_rng(0).permutation(len(chosen))]  # so that an early end is still a fair sample
    events, supervised, in_box, by_chance, sides, classes = [], [], [], [], [], []
    recorded = 0
    pixels = np.zeros((dataset.height, dataset.width), np.int64)
    placement = dataset.encoder.placement()
    frame_px = dataset.frame_width * dataset.frame_height
    with_boxes = 0
    polarities: dict[str, list[int]] = {}  # ON events, all events
    for index in chosen.tolist():
        sample = dataset[0, index]
        window = sample.window
        part = dataset.parts[window.recording]
        packed = part.recording.packed(window.start_us, window.end_us)
        recorded += len(packed)
        found = unpack(packed[spread(len(packed), dataset.rules.max_events_per_sample)], dataset.width, dataset.height)
        slice_us = (window.end_us - window.start_us) // steps
        step = np.minimum((found.t - window.start_us) // max(slice_us, 1), steps - 1)
        events.append(np.bincount(step, minlength=steps))
        np.add.at(pixels, (found.y, found.x), 1)
        told = polarities.setdefault(part.name, [0, 0])
        told[0] += int(found.p.sum())
        told[1] += len(found)
        known = sample.boxes.rows(sample.supervised[sample.boxes.step])
        if len(known):
            with_boxes += 1
            supervised.append(sample.supervised)
            last = known.at(int(known.step.max()))
            x = (found.x + 0.5) * placement.scale_x + placement.offset_x
            y = (found.y + 0.5) * placement.scale_y + placement.offset_y
            for left, top, right, bottom in last.xyxy.tolist():
                in_box.append(np.count_nonzero((x >= left) & (x < right) & (y >= top) & (y < bottom)))
                by_chance.append(len(found) * (right - left) * (bottom - top) / frame_px)
                sides.append(min(right - left, bottom - top))
            classes.append(last.class_id)
        if time.monotonic() - began > seconds:
            break
    return Counted(
        windows=len(dataset),
        looked_at=len(events),
        with_boxes=with_boxes,
        supervised=np.array(supervised, np.bool_).reshape(-1, steps),
        events=np.array(events, np.int64).reshape(-1, steps),
        kept=sum(int(one.sum()) for one in events) / recorded if recorded else 1.0,
        in_box=np.array(in_box, np.int64),
        by_chance=np.array(by_chance, np.float64),
        side_px=np.array(sides, np.float64),
        class_id=np.concatenate([*classes, np.empty(0, np.int64)]),
        pixel_events=pixels,
        on={name: ones / every for name, (ones, every) in polarities.items() if every},
    )


def spread_words(values: npt.NDArray[np.number]) -> str:
    """Median and the range of four fifths, in words."""
    if not len(values):
        return "none"
    low, middle, high = np.percentile(values, (10, 50, 90))
    return f"{middle:.4g} ({low:.4g} to {high:.4g} of four fifths)"


def rounded(value: float) -> int:
    """To two figures."""
    if value <= 0:
        return 1
    unit = int(10 ** max(int(np.floor(np.log10(value))) - 1, 0))
    return max(1, int(np.ceil(value / unit)) * unit)
