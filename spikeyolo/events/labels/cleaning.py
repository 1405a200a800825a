"""Boxes of a label file, checked against its recording and cleaned by named rules, each counted."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spikeyolo.errors import LabelError
from spikeyolo.events.labels.classes import ClassSelection
from spikeyolo.events.labels.clock import fitting_clocks, on_events_clock
from spikeyolo.events.labels.npy import read_npy
from spikeyolo.events.labels.rows import LabelRows
from spikeyolo.events.labels.rules import LabelRules
from spikeyolo.events.types import Array, Boxes

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Labels:
    """Boxes of one label file, and how many of them each rule touched.

    Attributes:
        boxes: what is kept, ordered by time, clipped to the frame.
        in_file: boxes in the file.
        dropped: rule → boxes it left out, rules that left out none are absent.
        clipped: boxes cut at the frame's edge.
    """

    boxes: Boxes
    in_file: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    clipped: int = 0

    def __iter__(self) -> Iterator[object]:
        """Unpacks as ``boxes, counts``."""
        yield self.boxes
        yield self.counts

    @property
    def counts(self) -> dict[str, int]:
        """Flat counts: in_file, kept, clipped_to_frame and one ``dropped_…`` a rule."""
        dropped = {f"dropped_{rule}": count for rule, count in self.dropped.items()}
        return {"in_file": self.in_file, "kept": len(self.boxes), "clipped_to_frame": self.clipped, **dropped}


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
    rows = read_npy(Path(path))
    n = len(rows)
    in_file = _times(rows.t, path)
    t = on_events_clock(
        in_file,
        rules.label_clock,
        source=path,
        start_us=span_us[0] if span_us is not None else 0,
        time_offset_us=time_offset_us,
        recording_clock=recording_clock,
    )
    cleaning = _Cleaning(str(path), n, rules.drop_invalid_boxes)
    if n and span_us is not None:
        fits = fitting_clocks(
            in_file,
            rules.label_clock,
            span_us=span_us,
            time_offset_us=time_offset_us,
            recording_clock=recording_clock,
        )
        _check_span(cleaning, t, span_us, rules.time_tolerance_us, fits)
    class_id = ClassSelection(classes, rules).places(rows.category, str(path))
    cleaning.drop("class_not_kept", class_id < 0)
    xyxy = _corners(cleaning, rows, width, height)
    inside = np.clip(xyxy, 0, np.array([width, height, width, height]))
    clipped = (xyxy != inside).any(axis=1)
    _check_clipping(cleaning, clipped, xyxy, rules.clip_to_frame, width, height)
    sides = inside[:, 2:] - inside[:, :2]
    start_us = span_us[0] if span_us is not None else 0
    if rules.skip_first_us:
        cleaning.drop("skip_first", np.asarray(t < start_us + rules.skip_first_us))
    cleaning.drop("min_side", np.less(sides.min(axis=1), rules.min_side_px))
    cleaning.drop("min_diagonal", np.less(np.hypot(sides[:, 0], sides[:, 1]), rules.min_diagonal_px))
    cleaning.drop("max_width", np.greater(sides[:, 0], rules.max_width_fraction * width))

    kept = np.flatnonzero(cleaning.keep)
    kept = kept[np.argsort(t[kept], kind="stable")]
    boxes = Boxes(
        t[kept],
        inside[kept].astype(np.float32),
        class_id[kept],
        rows.track_id[kept],
        rows.confidence[kept],
    )
    labels = Labels(boxes, n, cleaning.dropped, int(np.count_nonzero(clipped & cleaning.keep)))
    if cleaning.dropped or labels.clipped:
        log.debug("%s: %s", path, labels.counts)
    return labels


class _Cleaning:
    """Which boxes are still kept, and which rule left out the others; a box counts under the first rule it meets."""

    def __init__(self, path: str, count: int, drop_invalid: bool) -> None:
        self.path = path
        self.keep = np.ones(count, np.bool_)
        self.dropped: dict[str, int] = {}
        self._drop_invalid = drop_invalid

    def drop(self, rule: str, rows: Array) -> None:
        rows = rows & self.keep
        if rows.any():
            self.dropped[rule] = int(np.count_nonzero(rows))
            self.keep &= ~rows

    def invalid(self, rule: str, rows: npt.NDArray[np.bool_], sentence: str) -> None:
        """Leave out rows that should not be, if that is allowed; raise the sentence otherwise."""
        if (rows & self.keep).any() and not self._drop_invalid:
            raise LabelError(
                f"{self.path}: {sentence}; mend the file, or set drop_invalid_boxes=true in its label rules to leave "
                "them out"
            )
        self.drop(rule, rows)


def _times(times: Array, path: Path | str) -> npt.NDArray[np.int64]:
    bad = ~np.isfinite(times) | (times < -(2.0**62)) | (times > 2.0**62)
    if bad.any():
        raise LabelError(f"{path}: t is {times[bad][0]} in {np.count_nonzero(bad)} boxes; expected µs")
    return times.astype(np.int64)


def _check_span(
    cleaning: _Cleaning, t: npt.NDArray[np.int64], span_us: tuple[int, int], tolerance_us: int, fits: str
) -> None:
    first, end = span_us
    outside = (t < first - tolerance_us) | (t >= end + tolerance_us)
    if outside.all():
        raise LabelError(
            f"{cleaning.path}: labels of another recording: their times {t.min()} to {t.max()} µs lie outside the "
            f"events' {first} to {end - 1} µs{fits}"
        )
    cleaning.invalid(
        "outside_recording",
        outside,
        f"{np.count_nonzero(outside)} of {len(t)} label times lie outside the recording ({first} to {end - 1} µs; "
        f"the first of them {t[outside][0] if outside.any() else 0} µs){fits}",
    )


def _corners(cleaning: _Cleaning, rows: LabelRows, width: int, height: int) -> npt.NDArray[np.float64]:
    x, y, w, h = rows.xywh.T
    finite = np.isfinite(x) & np.isfinite(y) & np.isfinite(w) & np.isfinite(h)
    flat = ~finite | (w <= 0) | (h <= 0)
    cleaning.invalid(
        "no_area",
        flat,
        f"{np.count_nonzero(flat & cleaning.keep)} boxes have no area ({_example(flat & cleaning.keep, rows)})",
    )
    outside = finite & ((x >= width) | (y >= height) | (x + w <= 0) | (y + h <= 0))
    cleaning.invalid(
        "outside_frame",
        outside,
        f"{np.count_nonzero(outside & cleaning.keep)} boxes lie wholly outside the frame of {width}x{height} px "
        f"({_example(outside & cleaning.keep, rows)})",
    )
    return np.where(finite[:, None], np.stack([x, y, x + w, y + h], axis=1), 0.0)


def _check_clipping(
    cleaning: _Cleaning, clipped: npt.NDArray[np.bool_], xyxy: Array, allowed: bool, width: int, height: int
) -> None:
    rows = clipped & cleaning.keep
    if rows.any() and not allowed:
        i = int(np.flatnonzero(rows)[0])
        raise LabelError(
            f"{cleaning.path}: {np.count_nonzero(rows)} boxes reach over the edge of the frame of {width}x{height} px "
            f"(the first from {xyxy[i, 0]:g}, {xyxy[i, 1]:g} to {xyxy[i, 2]:g}, {xyxy[i, 3]:g}); mend the file, or set "
            "clip_to_frame=true"
        )


def _example(rows: npt.NDArray[np.bool_], boxes: LabelRows) -> str:
    if not rows.any():
        return "none"
    i = int(np.flatnonzero(rows)[0])
    values = ", ".join(f"{name}={value:g}" for name, value in zip("xywh", boxes.xywh[i]))
    return f"the first is box {i}: {values}"
