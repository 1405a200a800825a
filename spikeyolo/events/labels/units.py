"""Units of label files: what times and boxes count in is never guessed, but what cannot be µs or px is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt

from spikeyolo.errors import LabelError
from spikeyolo.events.types import Array

TimeUnit = Literal["us", "ms", "s", "ns"]
BoxUnit = Literal["px", "frame"]
Times = npt.NDArray[np.int64]

MICROSECONDS: dict[TimeUnit, float] = {"us": 1.0, "ms": 1e3, "s": 1e6, "ns": 1e-3}
SLIVER = 0.01  # labels that cover less of a recording are suspicious
RULES_AT = "in training data.dataset.train_labels.time_unit, in convert labels.time_unit, in view label_rules.time_unit"
_CLOSEST_US = 20.0  # no two successive label times are closer
_FILLED = 0.1  # and in another unit they would cover at least so much


def in_us(times: Array, unit: TimeUnit) -> Times:
    """Times ``[M]`` of a file, in µs."""
    if unit == "us" and times.dtype.kind in "iu":
        return times.astype(np.int64)
    return np.rint(times * MICROSECONDS[unit]).astype(np.int64)


def check_times(
    times: Array,
    *,
    path: str,
    span_us: tuple[int, int] | None,
    tolerance_us: int,
    on_clock: Callable[[Times], Times],
) -> None:
    """Refuse times that cannot be µs, where nobody said what they are.

    They cannot where they cover next to nothing of the recording and in ms or s would fit it, either because they have
    fractions or because they would then cover much of it; nor where successive ones lie closer together than anyone
    labels, as seconds and numbers of frames do.

    Args:
        times: ``[M]`` as the file has them.
        span_us: of the recording, µs.
        tolerance_us: by how much labels may lie outside it, µs.
        on_clock: brings label times to the events' clock.

    Raises:
        LabelError: they are no µs.
    """
    distinct = np.unique(times)
    fractions = bool((distinct != np.rint(distinct)).any())
    if not len(distinct):
        return
    found = f"{path}: its times {distinct[0]:g} to {distinct[-1]:g}"
    duration = 0 if span_us is None else span_us[1] - span_us[0]
    units: tuple[TimeUnit, ...] = ("s", "ms") if distinct[-1] - distinct[0] < SLIVER * duration else ()
    for unit in units:
        assert span_us is not None
        t = on_clock(in_us(distinct, unit))
        fits = _inside(t, span_us, tolerance_us)
        if fits and (fractions or int(t[-1] - t[0]) >= _FILLED * duration):
            raise LabelError(
                f"{found} are no µs of a recording of {duration} µs, but would fit it in {unit}; expected µs, or "
                f"time_unit={unit} in the label rules (frame_us=…, if they are numbers of frames; time_unit=us, if µs)"
            )
    step = float(np.median(np.diff(distinct))) if len(distinct) > 1 else _CLOSEST_US
    if step < _CLOSEST_US:
        raise LabelError(
            f"{found} lie {step:g} apart; expected µs, or in the label rules time_unit=s (or ms), or frame_us=…, if "
            "they are numbers of frames"
        )


def meant_unit(
    times: Array, unit: TimeUnit, *, span_us: tuple[int, int], tolerance_us: int, on_clock: Callable[[Times], Times]
) -> TimeUnit | None:
    """The other unit in which times ``[M]`` cover much of the recording and lie inside it, where as they are read they
    lie outside or cover next to nothing of it; None: there is none."""
    ends = times[np.isfinite(times)]
    if not len(ends):
        return None
    ends, duration = np.array([ends.min(), ends.max()]), span_us[1] - span_us[0]

    def covers(other: TimeUnit, share: float) -> bool:
        t = on_clock(in_us(ends, other))
        return _inside(t, span_us, tolerance_us) and int(t[1] - t[0]) >= share * duration

    if covers(unit, SLIVER):
        return None
    return next((other for other in MICROSECONDS if other != unit and covers(other, _FILLED)), None)


def fitting_units(
    times: Array, unit: TimeUnit, *, span_us: tuple[int, int], tolerance_us: int, on_clock: Callable[[Times], Times]
) -> str:
    """A clause for the refusal of labels outside the recording: in which other unit all lie inside it."""
    others = [other for other in MICROSECONDS if other != unit]
    fits = [other for other in others if _inside(on_clock(in_us(times, other)), span_us, tolerance_us)]
    return f"; they would fit with {' or '.join(f'time_unit={other}' for other in fits)}" if fits else ""


def looks_normalised(xywh: npt.NDArray[np.float64]) -> bool:
    """Whether boxes ``[M, 4]`` are fractions of the frame: all within 0..1, and not all whole numbers."""
    boxes = xywh[np.isfinite(xywh).all(axis=1)]
    return bool(len(boxes)) and bool((np.abs(boxes) <= 1).all()) and bool((boxes != np.rint(boxes)).any())


def _inside(t: Times, span_us: tuple[int, int], tolerance_us: int) -> bool:
    return bool(((t >= span_us[0] - tolerance_us) & (t < span_us[1] + tolerance_us)).all())
