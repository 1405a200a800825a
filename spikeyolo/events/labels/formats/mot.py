"""MOTChallenge text files: ``frame,id,left,top,width,height,conf,class,visibility``, without a header."""

from __future__ import annotations

import configparser
import csv
from pathlib import Path

import numpy as np

from spikeyolo.errors import LabelError
from spikeyolo.events.labels.formats.rows import LabelRows, confidences, numbers, tracks
from spikeyolo.events.labels.formats.text import number, read_text
from spikeyolo.events.labels.tracks import as_track_ids


def read_mot(path: Path) -> LabelRows:
    """Boxes of a MOTChallenge ground truth (https://motchallenge.net/instructions).

    Frames and classes count from 1. How long a frame lasts says ``frameRate`` of a ``seqinfo.ini`` beside the file or
    in the folder above, or the label rules; otherwise the first column is the time. Classes are named by a
    ``labels.txt`` beside the file, as CVAT writes it. Rows that are marked as ignored (``conf`` 0) are left out. Left
    and top are taken as written: the specification counts px from 1, common tools from 0.

    Raises:
        LabelError: a line is no such row, or rows have no class.
    """
    rows: list[list[int | float]] = []
    for line, values in enumerate(csv.reader(read_text(path).splitlines()), start=1):
        if not values:
            continue
        if not 6 <= len(values) <= 10:
            raise LabelError(
                f"{path}: line {line} has {len(values)} values; expected frame,id,left,top,width,height,conf,class,"
                "visibility"
            )
        rows.append([number(value.strip(), f"{path}: a value in line {line}") for value in values])
    used = [row for row in rows if len(row) < 7 or row[6] != 0]
    kinds = [row[7] if len(row) in (8, 9) else -1 for row in used]
    names_file, names = path.with_name("labels.txt"), None
    if names_file.is_file() and names_file != path:
        lines = read_text(names_file).splitlines()
        names = dict(enumerate((line.strip() for line in lines if line.strip()), start=1))
    count = len(used)
    return LabelRows(
        numbers([row[0] for row in used]),
        np.array([row[2:6] for row in used], np.float64).reshape(count, 4),
        numbers([kind if kind >= 0 else float("nan") for kind in kinds]),
        as_track_ids(tracks([row[1] for row in used], count)),
        confidences(None, count),
        names=names,
        first_class=1,
        frame_us=_frame_us(path),
        first_frame=1,
        left_out={"ignored": len(rows) - count} if len(rows) > count else {},
    )


def sequence_files(path: Path) -> list[Path]:
    """Other files that say how this one is to be read."""
    beside = [path.with_name("labels.txt"), path.with_name("seqinfo.ini"), path.parent.with_name("seqinfo.ini")]
    return [file for file in beside if file.is_file() and file != path]


def _frame_us(path: Path) -> float | None:
    file = next((file for file in sequence_files(path) if file.name == "seqinfo.ini"), None)
    if file is None:
        return None
    parser = configparser.ConfigParser(strict=False)
    try:
        parser.read_string(read_text(file))
        rate = parser.getfloat("Sequence", "frameRate")
    except (configparser.Error, ValueError) as error:
        raise LabelError(f"{file}: has no frameRate ({' '.join(str(error).split())})") from error
    if rate <= 0:
        raise LabelError(f"{file}: frameRate is {rate:g}; expected frames a second")
    return 1e6 / rate
