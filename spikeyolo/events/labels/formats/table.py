"""CSV files with a header: ``t_us,x,y,w,h,class[,track][,confidence]``, columns found by name in any order."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from spikeyolo.errors import LabelError
from spikeyolo.events.labels.formats.rows import LabelRows, confidences, numbers, tracks
from spikeyolo.events.labels.formats.text import is_number, number, read_text
from spikeyolo.events.labels.tracks import as_track_ids
from spikeyolo.events.labels.units import TimeUnit

_TIMES: dict[str, TimeUnit | None] = {
    "t_us": "us",
    "t": None,
    "ts": None,
    "time": None,
    "timestamp": None,
    "timestamp_us": "us",
    "time_us": "us",
    "t_ms": "ms",
    "t_s": "s",
    "t_ns": "ns",
}
_COLUMNS = {
    "x": ("x",),
    "y": ("y",),
    "w": ("w", "width"),
    "h": ("h", "height"),
    "class": ("class", "class_id", "class_name", "category", "label"),
    "track": ("track", "track_id"),
    "confidence": ("confidence", "class_confidence", "score"),
}
_NEEDED = ("x", "y", "w", "h", "class")


def read_csv(path: Path) -> LabelRows:
    """Boxes of a table with a header, separated by commas, semicolons or tabs; classes are ids or names.

    A time column ``t_us``, ``t_ms``, ``t_s`` or ``t_ns`` names its unit. An empty track means none.

    Raises:
        LabelError: a column is missing, or a value is no number.
    """
    text = read_text(path)
    header_line = text.partition("\n")[0]
    delimiter = max(",;\t", key=header_line.count)
    lines = list(csv.reader(text.splitlines(), delimiter=delimiter, skipinitialspace=True))
    header = [name.strip().lower() for name in lines[0]] if lines else []
    time, place = _find(header, path)
    columns: dict[str, list[str]] = {name: [] for name in (time, *place)}
    at: list[int] = []  # the line of each box
    for line, values in enumerate(lines[1:], start=2):
        if not any(value.strip() for value in values):
            continue
        if len(values) != len(header):
            raise LabelError(f"{path}: line {line} has {len(values)} values; expected {len(header)}, as its header")
        at.append(line)
        columns[time].append(values[header.index(time)].strip())
        for name, index in place.items():
            columns[name].append(values[index].strip())

    def column(name: str, empty: int | None = None) -> list[int | float]:
        return [
            empty if value == "" and empty is not None else number(value, f"{path}: {name} in line {line}")
            for line, value in zip(at, columns[name], strict=True)
        ]

    kinds = columns["class"]
    count = len(kinds)
    named = not all(is_number(kind) for kind in kinds)
    if "" in kinds:
        raise LabelError(f"{path}: line {at[kinds.index('')]} has no class; expected an id or a name")
    return LabelRows(
        numbers(column(time)),
        np.array([column(name) for name in "xywh"], np.float64).reshape(4, count).T,
        np.array(kinds, np.str_) if named else numbers(column("class")),
        as_track_ids(tracks(column("track", -1) if "track" in place else None, count)),
        confidences(column("confidence", 1) if "confidence" in place else None, count),
        time_unit=_TIMES[time],
    )


def _find(header: list[str], path: Path) -> tuple[str, dict[str, int]]:
    """The name of the time column, and the index of each other column that is there."""
    time = next((name for name in _TIMES if name in header), None)
    place = {}
    for name, others in _COLUMNS.items():
        index = next((header.index(other) for other in others if other in header), None)
        if index is not None:
            place[name] = index
    missing = [name for name in _NEEDED if name not in place]
    if time is None:
        missing.insert(0, "t_us")
    if missing or time is None:
        raise LabelError(
            f"{path}: its header has no {' and no '.join(missing)} (found {', '.join(header) or 'nothing'}); expected "
            "t_us, x, y, w, h, class and perhaps track"
        )
    return time, place
