"""Boxes of a label file, checked against its recording and cleaned by named rules, each counted."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spikeyolo.errors import LabelError
from spikeyolo.events.labels.classes import ClassSelection
from spikeyolo.events.labels.cleaned import Labels
from spikeyolo.events.labels.clock import EventsClock
from spikeyolo.events.labels.formats.readers import read_rows
from spikeyolo.events.labels.formats.rows import LabelRows
from spikeyolo.events.labels.rules import LabelRules
from spikeyolo.events.labels.tracks import identities
from spikeyolo.events.labels.units import (
    RULES_AT,
    SLIVER,
    TimeUnit,
    check_times,
    fitting_units,
    in_us,
    looks_normalised,
    meant_unit,
)
from spikeyolo.events.types import Array, Boxes

log = logging.getLogger(__name__)

_UNCLEAR_US = 1_000  # a smaller difference between two clocks that both fit is not worth a word

Times = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def read_boxes(
    path: Path | str,
    *,
    classes: Sequence[str],
    width: int,
    height: int,
    span_us: tuple[int, int] | None = None,
    time_offset_us: int = 0,
    recording_clock: str = "camera",
    rules: LabelRules | None = None,
) -> Labels:
    """Read, check and clean a label file.

    Args:
        path: the file.
        classes: names in the order of class ids; they select of the file's classes by name.
        width, height: the sensor, px.
        span_us: time of the recording's first event, and of its last plus 1; None does not check label times.
        time_offset_us: the recording's; taken off label times where the rules say they are on its file's clock.
        recording_clock: what the times of the events file count from, ``camera`` or ``unix``.
        rules: of the data set; by default nothing is left out.

    Raises:
        ConfigError: the class list has a name that the files' classes have not.
        LabelError: the file is none of labels, or holds boxes that no rule provides for.
    """
    rules = rules or LabelRules()
    rows = read_rows(Path(path))
    cleaning = _Cleaning(str(path), len(rows), rules.drop_invalid_boxes)

    clock = EventsClock(
        label_clock=rules.label_clock,
        source=str(path),
        start_us=0 if span_us is None else span_us[0],
        time_offset_us=time_offset_us,
        recording_clock=recording_clock,
        shift_us=0 if rules.correction is None else rules.correction.time_shift_us,
    )
    t = _times(cleaning, rows, rules, span_us, clock)
    selection = ClassSelection(classes, rules, names=rows.names, first_id=rows.first_class)
    class_id = _classes(cleaning, rows.category, selection)
    xywh = _boxes_in_px(cleaning, rows, rules, width, height)
    kinds = np.unique(rows.category, return_inverse=True)[1]
    once = ~_repeated(t, kinds, rows.track_id, xywh)
    tracks = rows.track_id.copy()
    tracks[once], shared = identities(t[once], kinds[once], xywh[once], tracks[once])
    cleaning.drop("duplicate", ~once | _repeated(t, kinds, tracks, xywh))
    candidates = cleaning.keep.copy()

    xyxy = _corners(cleaning, xywh, width, height)
    inside = np.clip(xyxy, 0, np.array([width, height, width, height]))
    clipped = (xyxy != inside).any(axis=1)
    _check_clipping(cleaning, clipped, xyxy, rules.clip_to_frame, width, height)
    sides = inside[:, 2:] - inside[:, :2]
    start_us = span_us[0] if span_us is not None else 0
    if rules.skip_first_us:
        early = np.asarray(t < start_us + rules.skip_first_us)
        cleaning.drop("skip_first", early)
        candidates &= ~early
    cleaning.drop("min_side", np.less(sides.min(axis=1), rules.min_side_px))
    cleaning.drop("min_diagonal", np.less(np.hypot(sides[:, 0], sides[:, 1]), rules.min_diagonal_px))
    cleaning.drop("max_width", np.greater(sides[:, 0], rules.max_width_fraction * width))

    kept = np.flatnonzero(cleaning.keep)
    kept = kept[np.argsort(t[kept], kind="stable")]
    without_track = int(np.count_nonzero(rows.track_id[kept] != tracks[kept]))
    if without_track:
        cleaning.warnings["tracks"] = (
            f"the track ids of {without_track} of {len(kept)} boxes name no objects ("
            + ("several boxes of one time share one" if len(shared) else "each box has its own")
            + "); these boxes are read as without a track"
        )
    labels = Labels(
        Boxes(t[kept], inside[kept].astype(np.float32), class_id[kept], tracks[kept], rows.confidence[kept]),
        len(rows) + sum(rows.left_out.values()),
        {**rows.left_out, **cleaning.dropped},
        int(np.count_nonzero(clipped & cleaning.keep)),
        without_track,
        tuple(shared.tolist()),
        cleaning.warnings,
        np.setdiff1d(t[candidates], t[kept]),
        None if rows.looks is None else _looks(rows.looks, rows, rules, span_us, clock),
    )
    if cleaning.dropped or labels.clipped:
        log.debug("%s: %s", path, labels.counts)
    return labels


class _Cleaning:
    """Which boxes are still kept, and which rule left out the others; a box counts under the first rule it meets."""

    def __init__(self, path: str, count: int, drop_invalid: bool) -> None:
        self.path = path
        self.keep = np.ones(count, np.bool_)
        self.dropped: dict[str, int] = {}
        self.warnings: dict[str, str] = {}
        self._drop_invalid = drop_invalid

    def drop(self, rule: str, rows: Array) -> None:
        rows = rows & self.keep
        if rows.any():
            self.dropped[rule] = int(np.count_nonzero(rows))
            self.keep &= ~rows

    def invalid(self, rule: str, rows: Mask, sentence: str) -> None:
        """Leave out rows that should not be, if that is allowed; raise the sentence otherwise."""
        if (rows & self.keep).any() and not self._drop_invalid:
            raise LabelError(
                f"{self.path}: {sentence}; mend the file, or set drop_invalid_boxes=true in its label rules to leave "
                "them out"
            )
        self.drop(rule, rows)


def _times(
    cleaning: _Cleaning,
    rows: LabelRows,
    rules: LabelRules,
    span_us: tuple[int, int] | None,
    clock: EventsClock,
) -> Times:
    """Label times ``[M]`` on the events' clock, µs."""
    times = rows.t
    bad = ~np.isfinite(times) | (times < -(2.0**62)) | (times > 2.0**62)
    if bad.any():
        raise LabelError(f"{cleaning.path}: t is {times[bad][0]} in {np.count_nonzero(bad)} boxes; expected µs")
    path, tolerance_us = cleaning.path, rules.time_tolerance_us
    times, unit = _in_unit(times, rows, rules)
    frames = (rules.frame_us or rows.frame_us) is not None
    if not frames and rules.time_unit is None and rows.time_unit is None:
        check_times(times, path=path, span_us=span_us, tolerance_us=tolerance_us, on_clock=clock.of)
    t = clock.of(in_us(times, unit))
    if span_us is None or not len(t):
        return t
    first, end = span_us
    fits = clock.fitting(in_us(times, unit), span_us) or fitting_units(
        times, unit, span_us=span_us, tolerance_us=tolerance_us, on_clock=clock.of
    )
    outside = (t < first - tolerance_us) | (t >= end + tolerance_us)
    if outside.all():
        raise LabelError(
            f"{path}: labels of another recording: their times {t.min()} to {t.max()} µs lie outside the events' "
            f"{first} to {end - 1} µs{fits}"
        )
    cleaning.invalid(
        "outside_recording",
        outside,
        f"{np.count_nonzero(outside)} of {len(t)} label times lie outside the recording ({first} to {end - 1} µs; "
        f"the first of them {t[outside][0] if outside.any() else 0} µs){fits}",
    )
    if (
        clock.label_clock == "start"
        and clock.time_offset_us >= _UNCLEAR_US
        and clock.fitting(in_us(times, unit), span_us)
    ):
        cleaning.warnings["clock"] = (
            f"its label times fit the recording from its start, and {clock.time_offset_us} µs earlier as times of its "
            "camera too; taken from the start, as label_clock=start says"
        )
    covered = int(t.max() - t.min())
    if covered < SLIVER * (end - first):
        meant = meant_unit(times, unit, span_us=span_us, tolerance_us=tolerance_us, on_clock=clock.of)
        named = meant is not None and not frames
        cleaning.warnings["coverage"] = (
            f"its label times {t.min()} to {t.max()} µs cover {covered / (end - first):.2%} of the recording "
            f"({first} to {end - 1} µs); expected labels of all of it, in µs"
            + (f", or time_unit={meant} in the label rules, with which they fit it ({RULES_AT})" if named else "")
        )
    return t


def _in_unit(times: Array, rows: LabelRows, rules: LabelRules) -> tuple[Array, TimeUnit]:
    """Times as written, or µs of frames, and their unit."""
    frame_us = rules.frame_us or rows.frame_us
    if frame_us is not None:
        return (times - rows.first_frame) * frame_us, "us"
    return times, rules.time_unit or rows.time_unit or "us"


def _looks(
    times: Array, rows: LabelRows, rules: LabelRules, span_us: tuple[int, int] | None, clock: EventsClock
) -> Times:
    """The file's looks ``[L]`` within the recording on the events' clock, ascending, µs, less what a rule skips."""
    times = times[np.isfinite(times) & (np.abs(times) < 2.0**62)]
    looks = np.unique(clock.of(in_us(*_in_unit(times, rows, rules))))
    if span_us is None:
        return looks[looks >= rules.skip_first_us] if rules.skip_first_us else looks
    first, end, tolerance_us = *span_us, rules.time_tolerance_us
    looks = looks[(looks >= first - tolerance_us) & (looks < end + tolerance_us)]
    return looks[looks >= first + rules.skip_first_us] if rules.skip_first_us else looks


def _classes(cleaning: _Cleaning, category: Array, selection: ClassSelection) -> npt.NDArray[np.int64]:
    """Places ``[M]`` in the class list."""
    if category.dtype.kind == "f":
        undefined = np.isnan(category)
        count = np.count_nonzero(undefined)
        cleaning.invalid("no_class", undefined, f"{count} boxes have the class id NaN; expected a number or a name")
    places = selection.places(category, cleaning.path)
    if category.dtype.kind == "U" and len(places) and (places < 0).all():
        cleaning.warnings["classes"] = (
            f"none of its classes ({', '.join(np.unique(category))}) is selected; expected "
            f"{', '.join(selection.classes)}"
        )
    cleaning.drop("class_not_kept", places < 0)
    return places


def _boxes_in_px(
    cleaning: _Cleaning, rows: LabelRows, rules: LabelRules, width: int, height: int
) -> npt.NDArray[np.float64]:
    xywh, unit = rows.xywh, rules.box_unit or rows.box_unit
    correction = rules.correction
    if correction is not None and not correction.none:
        frame = (1, 1) if unit == "frame" else (width, height)
        xywh = correction.of(xywh, width=frame[0], height=frame[1])
        if correction.scale is not None and unit != "frame":
            return xywh  # drawn in another frame, and known to be
    if rows.image_size is not None and rows.image_size != (width, height):
        raise LabelError(
            f"{cleaning.path}: its images are of {'x'.join(map(str, rows.image_size))} px; expected boxes drawn in the "
            f"frame of the sensor, {width}x{height} px"
        )
    if unit == "frame":
        return xywh * np.array([width, height, width, height], np.float64)
    if unit is None and looks_normalised(xywh):
        x, y, w, h = xywh[0]
        raise LabelError(
            f"{cleaning.path}: its boxes lie within 0 to 1 (the first: x={x:g}, y={y:g}, w={w:g}, h={h:g}); expected "
            f"px of a frame of {width}x{height} px, or box_unit=frame in the label rules"
        )
    return xywh


def _repeated(t: Times, kinds: Array, tracks: Array, xywh: npt.NDArray[np.float64]) -> Mask:
    """Rows whose time, class, track and box an earlier row has too."""
    columns = [t, kinds, tracks, *xywh.T]
    order = np.lexsort(columns)  # keeps the order of equal rows
    equal = [column[order[1:]] == column[order[:-1]] for column in columns]
    repeated = np.zeros(len(t), np.bool_)
    repeated[order[1:]] = np.logical_and.reduce(equal)
    return repeated


def _corners(cleaning: _Cleaning, xywh: npt.NDArray[np.float64], width: int, height: int) -> npt.NDArray[np.float64]:
    x, y, w, h = xywh.T
    finite: Mask = np.asarray(np.isfinite(xywh).all(axis=1))
    flat: Mask = np.asarray(~finite | (w <= 0) | (h <= 0))
    cleaning.invalid(
        "no_area",
        flat,
        f"{np.count_nonzero(flat & cleaning.keep)} boxes have no area ({_example(flat & cleaning.keep, xywh)})",
    )
    beyond = (x >= width) | (y >= height) | (x + w <= 0) | (y + h <= 0)
    outside: Mask = np.asarray(finite & beyond & cleaning.keep)
    sentence = (
        f"{np.count_nonzero(outside)} boxes lie wholly outside the frame of {width}x{height} px "
        f"({_example(outside, xywh)})"
    )
    if _most(outside, cleaning.keep):
        cleaning.warnings["outside"] = f"{sentence}; expected px of this sensor"
    cleaning.invalid("outside_frame", outside, sentence)
    return np.where(finite[:, None], np.stack([x, y, x + w, y + h], axis=1), 0.0)


def _check_clipping(cleaning: _Cleaning, clipped: Mask, xyxy: Array, allowed: bool, width: int, height: int) -> None:
    rows = clipped & cleaning.keep
    if not rows.any():
        return
    i = int(np.flatnonzero(rows)[0])
    sentence = (
        f"{np.count_nonzero(rows)} boxes reach over the edge of the frame of {width}x{height} px "
        f"(the first from {xyxy[i, 0]:g}, {xyxy[i, 1]:g} to {xyxy[i, 2]:g}, {xyxy[i, 3]:g})"
    )
    if not allowed:
        raise LabelError(f"{cleaning.path}: {sentence}; mend the file, or set clip_to_frame=true")
    if _most(rows, cleaning.keep):
        cleaning.warnings["clipped"] = (
            f"{sentence}, of {np.count_nonzero(cleaning.keep)}; expected x, y, w, h with x, y the upper left corner, "
            "in px of this sensor"
        )


def _most(rows: Mask, of: Mask) -> bool:
    """Whether more than half are concerned, and enough for that to mean something."""
    return int(np.count_nonzero(rows)) > max(np.count_nonzero(of) / 2, 4)


def _example(rows: Mask, xywh: npt.NDArray[np.float64]) -> str:
    if not rows.any():
        return "none"
    i = int(np.flatnonzero(rows)[0])
    values = ", ".join(f"{name}={value:g}" for name, value in zip("xywh", xywh[i]))
    return f"the first is box {i + 1}: {values}"
