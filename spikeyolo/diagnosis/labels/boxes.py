"""Whether the boxes would fit the events better if their four numbers meant something else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spikeyolo.diagnosis.finding import Kind
from spikeyolo.diagnosis.labels.density import Change, Density, Stretch, density
from spikeyolo.diagnosis.labels.places import follows
from spikeyolo.events.labels import LabelCorrection

# Sensors and frames that labels are drawn on, width and height, px.
FRAMES = (
    (128, 128),
    (240, 180),
    (304, 240),
    (320, 240),
    (346, 260),
    (640, 480),
    (1280, 720),
    (1280, 800),
    (1440, 1080),
)
_GAIN = 1.4  # what the boxes tell of an event must grow by as much for another reading to be believed
_OFFSET_GAIN = 1.25  # for boxes that are moved
_RATIO_GAIN = 1.1  # and the density ratio by as much
_OVER_EDGE = 0.3  # share of boxes beyond the frame's edge from which on their numbers may be two corners
_OFFSET_SHARE = 0.2  # and by at least this share of their size
_EITHER_WAY = 0.5  # of that gain, what boxes moved the other way may gain: more, and they are drawn too small
_AS_GOOD = 0.9  # of two readings that are about as good the simpler one is taken


@dataclass(frozen=True)
class Reading:
    """One way to read the boxes.

    Attributes:
        name: of the fault that it mends.
        words: the fault, in words.
        correction: of labels that have no other.
        found: events under it.
    """

    name: Kind
    words: str
    correction: LabelCorrection
    found: Density


def changed(correction: LabelCorrection, width: int, height: int) -> Change:
    """The change that a correction makes of boxes that are read already."""

    def change(xyxy: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        xywh = xyxy.astype(np.float64)
        xywh[:, 2:] -= xywh[:, :2]
        moved = correction.of(xywh, width=width, height=height)
        moved[:, 2:] += moved[:, :2]
        return moved.astype(np.float32)

    return change


def readings(width: int, height: int, current: LabelCorrection) -> list[tuple[Kind, str, LabelCorrection]]:
    """Other readings, the simplest first, that may be added to the ``current`` correction."""
    found: list[tuple[Kind, str, LabelCorrection]] = []
    plain = current.scale is None and current.flip == "none" and current.offset_px is None
    if current.columns == "xywh" and plain:
        found += [
            ("swapped", "x and y are exchanged", LabelCorrection(columns="yxhw")),
            ("centre", "x, y are the boxes' centres, read as their corners", LabelCorrection(columns="cxcywh")),
            ("corners", "the four numbers are two corners, read as corner and size", LabelCorrection(columns="xyxy")),
        ]
    if plain:
        found += [
            ("scale", f"boxes are {'twice' if factor < 1 else 'half'} as large as the frame's pixels say",
             LabelCorrection(scale=(factor, factor)))
            for factor in (0.5, 2.0)
        ]  # fmt: skip
        for wide, tall in FRAMES:
            factors = (width / wide, height / tall)
            if factors not in ((1.0, 1.0), (0.5, 0.5), (2.0, 2.0)):
                found.append(("sensor", f"boxes are drawn in a frame of {wide}x{tall} px",
                              LabelCorrection(scale=(round(factors[0], 4), round(factors[1], 4)))))  # fmt: skip
        found += [
            ("scale", f"boxes are drawn at {1 / factor:g} times the frame's size", LabelCorrection(scale=(factor,) * 2))
            for factor in (0.25, 4.0)
        ]
        found += [
            ("flipped", "rows are counted from the bottom", LabelCorrection(flip="y")),
            ("flipped", "columns are counted from the right", LabelCorrection(flip="x")),
        ]
    return found


def check_boxes(
    stretches: Sequence[Stretch], *, shift_us: float = 0.0, current: LabelCorrection | None = None
) -> tuple[Density, list[Reading], Reading | None]:
    """Events under the boxes as they are and under every other reading, and the one that fits so much better that it
    must be meant; None: the boxes are best as they are.

    Args:
        shift_us: of the labels, µs, under which all is tried.
        current: correction that the boxes have already.
    """
    width, height = stretches[0].width, stretches[0].height
    now = density(stretches, shift_us=shift_us)
    tried = [
        Reading(name, words, correction,
                density(stretches, shift_us=shift_us, change=changed(correction, width, height)))
        for name, words, correction in readings(width, height, current or LabelCorrection())
    ]  # fmt: skip
    corners = _are_corners(stretches)
    better = [one for one in tried if _believed(one, stretches, now, shift_us, corners)]
    most = max((one.found.information for one in better), default=0.0)
    chosen = next((one for one in better if one.found.information >= _AS_GOOD * most), None)
    return now, tried, chosen


def check_offset(stretches: Sequence[Stretch], *, shift_us: float = 0.0) -> Reading | None:
    """A constant offset of all boxes that makes them fit; None: there is none.

    The frame is searched in steps of a third of the usual box, then in ever smaller ones.
    """
    size = _usual_size(stretches)
    width, height = stretches[0].width, stretches[0].height
    now = density(stretches, shift_us=shift_us)

    def at(x: float, y: float) -> Density:
        correction = LabelCorrection(offset_px=(x, y))
        return density(stretches, shift_us=shift_us, change=changed(correction, width, height))

    best, found = (0.0, 0.0), now
    step = size / 3
    reach = int(min(8, max(width, height) / 4 / step))
    grid = [(i * step, j * step) for i in range(-reach, reach + 1) for j in range(-reach, reach + 1)]
    while grid:
        for x, y in grid:
            one = at(x, y)
            if one.information > found.information:
                best, found = (x, y), one
        step /= 2
        around = [(best[0] + i * step, best[1] + j * step) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]
        grid = around if step >= 0.5 else []
    apart = float(np.hypot(*best))
    if apart < _OFFSET_SHARE * size or not _better(found, now, _OFFSET_GAIN):
        return None
    if either_way(found, now, at(-best[0], -best[1])):
        return None
    change = changed(LabelCorrection(offset_px=best), width, height)
    if not follows(stretches, found, shift_us=shift_us, change=change, now_us=shift_us):
        return None
    offset = (round(best[0], 1), round(best[1], 1))
    return Reading(
        "offset", f"boxes lie {-offset[0]:g}, {-offset[1]:g} px off their objects",
        LabelCorrection(offset_px=offset), found,
    )  # fmt: skip


def _believed(one: Reading, stretches: Sequence[Stretch], now: Density, shift_us: float, corners: bool) -> bool:
    """Whether boxes fit so much better under a reading that it must be meant.

    Args:
        corners: whether the numbers look like two corners: then it is enough that these fit no worse.
    """
    as_corners = corners and one.name == "corners" and one.found.information >= now.information
    if not as_corners and not _better(one.found, now, _GAIN):
        return False
    change = changed(one.correction, stretches[0].width, stretches[0].height)
    if not follows(stretches, one.found, shift_us=shift_us, change=change, now_us=shift_us):
        return False
    return not either_way(one.found, now, density(stretches, shift_us=shift_us, change=_opposite(change)))


def _better(found: Density, now: Density, gain: float) -> bool:
    if found.events < 0.3 * now.events or found.ratio < _RATIO_GAIN * now.ratio:
        return False
    return found.information >= gain * now.information and found.information > 0


def either_way(found: Density, now: Density, opposite: Density) -> bool:
    """Whether boxes moved the other way fit about as much better: what is off lies to one side."""
    return opposite.information - now.information >= _EITHER_WAY * (found.information - now.information)


def _opposite(change: Change) -> Change:
    """Boxes of the sizes that a change gives, moved as far as it moves them to the other side."""

    def other(xyxy: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        moved = change(xyxy)
        twice = (moved[:, :2] + moved[:, 2:]) - (xyxy[:, :2] + xyxy[:, 2:])
        return np.asarray(moved - np.concatenate([twice, twice], axis=1), np.float32)

    return other


def _are_corners(stretches: Sequence[Stretch]) -> bool:
    """Whether the boxes' numbers, taken for two corners, are boxes within the frame, where many reach beyond it now."""
    beyond, count = 0, 0
    for item in stretches:
        left, top, right, bottom = item.xyxy.T
        wide, tall = right - left, bottom - top
        if not ((wide > left) & (tall > top) & (wide <= item.width + 1) & (tall <= item.height + 1)).all():
            return False
        beyond += int(np.count_nonzero((right > item.width + 1) | (bottom > item.height + 1)))
        count += len(left)
    return beyond >= _OVER_EDGE * count > 0


def _usual_size(stretches: Sequence[Stretch]) -> float:
    sides = np.concatenate([item.xyxy[:, 2:] - item.xyxy[:, :2] for item in stretches]).astype(np.float64)
    return float(np.median(np.sqrt(np.clip(sides.prod(1), 1, None)))) if len(sides) else 1.0
