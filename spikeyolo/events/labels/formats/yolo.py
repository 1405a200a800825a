"""YOLO text labels: a folder with one file a moment, a line ``class x y w h`` a box, in fractions of the frame."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import yaml

from spikeyolo.errors import LabelError
from spikeyolo.events.labels.formats.rows import LabelRows, confidences, numbers, tracks
from spikeyolo.events.labels.formats.text import number, read_text
from spikeyolo.events.labels.tracks import as_track_ids

_NAMES = ("classes.txt", "obj.names", "data.yaml", "dataset.yaml")


def read_yolo(folder: Path) -> LabelRows:
    """Boxes of a folder of text files whose names end in the time.

    A line is ``class x_centre y_centre width height``; a sixth value is a track where it is a whole number, a
    confidence otherwise; a seventh is a track. Names come from ``classes.txt``, ``obj.names`` or ``data.yaml``, in the
    folder or the one above. An empty file is a look at which nothing was to be seen.

    Raises:
        LabelError: a file name ends in no time, or a line is none of these.
    """
    t: list[int | float] = []
    looks: list[int | float] = []
    rows: list[list[int | float]] = []
    files = label_files(folder)
    if not files:
        raise LabelError(f"{folder}: a folder without *.txt; expected YOLO labels, one file a moment")
    for file in files:
        digits = re.search(r"(\d+)$", file.stem)
        if digits is None:
            raise LabelError(f"{file}: its name ends in no number; expected the time in µs, as in NAME_40000.txt")
        looks.append(int(digits[1]))
        for line, text in enumerate(read_text(file).splitlines(), start=1):
            values = [number(value, f"{file}: a value in line {line}") for value in text.split()]
            if len(values) not in (0, 5, 6, 7):
                raise LabelError(
                    f"{file}: line {line} has {len(values)} values; expected class, x, y, w, h and perhaps confidence "
                    "and track"
                )
            if values:
                rows.append(values)
                t.append(looks[-1])
    count = len(rows)
    last = [row[5] if len(row) == 6 else None for row in rows]
    track_sixth = all(value is None or isinstance(value, int) for value in last)
    found = [row[6] if len(row) == 7 else row[5] if len(row) == 6 and track_sixth else -1 for row in rows]
    sure = [row[5] if len(row) == 7 or (len(row) == 6 and not track_sixth) else 1.0 for row in rows]
    box = np.array([row[1:5] for row in rows], np.float64).reshape(count, 4)
    return LabelRows(
        numbers(t),
        np.concatenate([box[:, :2] - box[:, 2:] / 2, box[:, 2:]], axis=1),
        numbers([row[0] for row in rows]),
        as_track_ids(tracks(found, count)),
        confidences(sure, count),
        names=_names(folder),
        box_unit="frame",
        looks=numbers(looks),
    )


def is_yolo(folder: Path) -> bool:
    """Whether a folder holds YOLO labels, whose values have blanks between them, and not MOT text, which has commas."""
    files = label_files(folder) if folder.is_dir() else []
    filled = next((text for file in files if (text := read_text(file).strip())), "")
    return bool(files) and "," not in filled.partition("\n")[0]


def label_files(folder: Path) -> list[Path]:
    """The files of a folder that hold boxes."""
    return sorted(path for path in folder.glob("*.txt") if path.name not in _NAMES and path.is_file())


def name_files(folder: Path) -> list[Path]:
    """The files that may name a folder's classes; the first does."""
    return [path for place in (folder, folder.parent) for name in _NAMES if (path := place / name).is_file()]


def _names(folder: Path) -> dict[int, str] | None:
    for file in name_files(folder):
        text = read_text(file)
        if file.suffix != ".yaml":
            return dict(enumerate(line.strip() for line in text.splitlines() if line.strip()))
        try:
            content = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise LabelError(f"{file}: is no YAML ({' '.join(str(error).split())})") from error
        names = content.get("names") if isinstance(content, Mapping) else None
        if isinstance(names, Mapping):
            return {int(key): str(name) for key, name in names.items()}
        if isinstance(names, list):
            return dict(enumerate(str(name) for name in names))
    return None
