"""Prophesee's box files: one structured ``.npy`` array a recording, as its automotive dataset toolbox reads and writes.

Steps and class names have no field there; ``track_id`` is unsigned, so a box without a track holds the largest number.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spikeyolo.detections.files import whole_files
from spikeyolo.detections.table import DetectionTable, concatenated, empty
from spikeyolo.errors import DetectionError

SUFFIX = "_bbox.npy"
BOX = np.dtype(
    {
        "names": ["t", "x", "y", "w", "h", "class_id", "track_id", "class_confidence"],
        "formats": ["<i8", "<f4", "<f4", "<f4", "<f4", "<u4", "<u4", "<f4"],
    }
)
NO_TRACK = np.iinfo(np.uint32).max


def write(table: DetectionTable, folder: Path | str) -> Path:
    """Write ``folder/RECORDING_bbox.npy`` for each recording of the table, also those without a row.

    Raises:
        DetectionError: a file cannot be written.
    """
    with whole_files(Path(folder), [f"{name}{SUFFIX}" for name in table.recordings]) as partials:
        for recording, partial in enumerate(partials):
            rows = np.flatnonzero(table.recording == recording)
            rows = rows[np.argsort(table.t_us[rows], kind="stable")]
            boxes = np.zeros(len(rows), BOX)
            boxes["t"], boxes["class_id"] = table.t_us[rows], table.class_id[rows]
            boxes["class_confidence"] = table.score[rows]
            boxes["track_id"] = np.where(table.track_id[rows] < 0, NO_TRACK, table.track_id[rows])
            for side, values in zip("xywh", table.xywh[rows].T):
                boxes[side] = values
            with partial.open("wb") as file:
                np.save(file, boxes, allow_pickle=False)
    return Path(folder)


def read(folder: Path | str, *, classes: Sequence[str]) -> DetectionTable:
    """Read every ``RECORDING_bbox.npy`` below a folder, or one such file.

    Args:
        folder: or file.
        classes: names by the files' class ids.

    Raises:
        DetectionError: there is none, one is no such array, or a value is none.
    """
    root = Path(folder)
    paths = [root] if root.is_file() else sorted(root.rglob(f"*{SUFFIX}"))
    if not paths:
        raise DetectionError(f"{root}: found no file *{SUFFIX}; expected one a recording")
    tables = []
    for path in paths:
        name = path.name if root.is_file() else path.relative_to(root).as_posix()
        tables.append(_table(path, name.removesuffix(SUFFIX), tuple(classes)))
    return concatenated(tables)


def _table(path: Path, name: str, classes: tuple[str, ...]) -> DetectionTable:
    try:
        boxes = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DetectionError(f"{path}: cannot be read as an .npy array ({error})") from error
    fields: tuple[str, ...] = boxes.dtype.names or ()
    missing = [field for field in ("x", "y", "w", "h", "class_id") if field not in fields]
    time = next((field for field in ("t", "ts") if field in fields), None)
    if missing or time is None or boxes.ndim != 1:
        raise DetectionError(
            f"{path}: found the fields {', '.join(fields) or 'none'}; expected t, x, y, w, h, class_id"
        )
    score = next((boxes[field] for field in ("class_confidence", "confidence") if field in fields), None)
    track = boxes["track_id"].astype(np.int64) if "track_id" in fields else np.full(len(boxes), -1)
    table = DetectionTable(
        (name,),
        classes,
        np.zeros(len(boxes), np.int64),
        boxes[time].astype(np.int64),
        np.full(len(boxes), -1),
        boxes["class_id"].astype(np.int64),
        np.ones(len(boxes), np.float32) if score is None else _real(score),
        np.stack([_real(boxes[side]) for side in "xywh"], axis=1) if len(boxes) else empty().xywh,
        np.where(track == NO_TRACK, -1, track),
    )
    table.check(str(path))
    return table


def _real(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    return values.astype(np.float32)
