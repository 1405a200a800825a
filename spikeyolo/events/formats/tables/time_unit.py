"""Times and columns that a file keeps in a form of its own, brought to whole microseconds and whole numbers."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

TimeUnit = Literal["s", "ms", "us", "ns"]
IN_US: dict[str, float] = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}


def guess_unit(times: npt.NDArray[Any]) -> TimeUnit:
    """Seconds where some time has a fraction, microseconds otherwise."""
    if times.dtype.kind != "f":
        return "us"
    finite = times[np.isfinite(times)]
    return "s" if np.any(finite != np.floor(finite)) else "us"


def to_us(times: npt.NDArray[Any], unit: TimeUnit) -> npt.NDArray[np.int64]:
    """Times in ``unit`` as int64 µs: nanoseconds are cut, fractions of a second rounded.

    Raises:
        ValueError: a time is not finite, does not fit, or is given in µs with a fraction.
    """
    if times.dtype.kind == "f":
        if not np.isfinite(times).all():
            raise ValueError("a time that is no number")
        scaled = times.astype(np.float64) * IN_US[unit]
        if len(scaled) and np.abs(scaled).max() >= 2**62:
            raise ValueError(f"the time {times[np.abs(scaled).argmax()]}")
        if unit == "us" and np.any(scaled != np.floor(scaled)):
            raise ValueError(f"the time {times[np.argmax(scaled != np.floor(scaled))]} in whole µs (time_unit=us)")
        return (np.floor(scaled) if unit == "ns" else np.rint(scaled)).astype(np.int64)
    if len(times) and int(times.max()) > np.iinfo(np.int64).max // int(max(IN_US[unit], 1)):
        raise ValueError(f"the time {times.max()}")
    whole = times.astype(np.int64)
    return whole // 1000 if unit == "ns" else whole * int(IN_US[unit])


def whole_numbers(column: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    """A column of floats as integers; others as they are.

    Raises:
        ValueError: a value has a fraction, or is no number.
    """
    if column.dtype.kind != "f":
        return column
    broken = ~np.isfinite(column) | (column != np.floor(column)) | (np.abs(column) > 2**31)
    if broken.any():
        raise ValueError(f"{name}={column[broken.argmax()]}, no whole number")
    return column.astype(np.int64)
