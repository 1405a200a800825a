"""MOT text: one ``RECORDING.txt`` a recording, one line a box (https://motchallenge.net/instructions).

``frame, id, left, top, width, height, confidence, class, visibility``; frames and classes count from 1, an id of -1 is
none. Event cameras have no frames: here frame k is the k-th look, and ``RECORDING.times`` holds the µs of each, one a
line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spikeyolo.detections.files import whole_files
from spikeyolo.detections.table import DetectionTable, concatenated
from spikeyolo.detections.truth import Looks
from spikeyolo.errors import DetectionError

SUFFIX, TIMES = ".txt", ".times"
LINE = ["%d", "%d", *["%.9g"] * 5, "%d", "%d"]


def write(table: DetectionTable, folder: Path | str, *, looks: Looks | None = None) -> Path:
    """Write the files of each recording of the table.

    Args:
        table: detections, tracks or truth.
        folder: for the files.
        looks: times that become frames, beside those that have a row in the table.

    Raises:
        DetectionError: a file cannot be written.
    """
    names = [f"{name}{suffix}" for name in table.recordings for suffix in (SUFFIX, TIMES)]
    with whole_files(Path(folder), names) as partials:
        for recording, name in enumerate(table.recordings):
            rows = np.flatnonzero(table.recording == recording)
            times = table.t_us[rows]
            if looks is not None and name in looks.recordings:
                times = np.concatenate((times, looks.t_us[looks.recording == looks.recordings.index(name)]))
            times = np.unique(times)
            frame = np.searchsorted(times, table.t_us[rows]) + 1
            order = np.lexsort((table.track_id[rows], frame))
            rows, frame = rows[order], frame[order]
            lines = np.column_stack(
                (frame, table.track_id[rows], table.xywh[rows], table.score[rows], table.class_id[rows] + 1)
            )
            np.savetxt(partials[2 * recording], np.column_stack((lines, np.ones(len(rows)))), LINE, delimiter=",")
            np.savetxt(partials[2 * recording + 1], times, "%d")
    return Path(folder)


def read(folder: Path | str, *, classes: Sequence[str], frame_us: int | None = None) -> DetectionTable:
    """Read every ``RECORDING.txt`` below a folder, or one such file; the metadata's ``looks`` are the times that
    ``.times`` list, by recording.

    Args:
        folder: or file.
        classes: names; the files' classes count from 1 in them. Files without classes are of the only one.
        frame_us: time between two frames, where there are no ``.times``; frame 1 is then at 0 µs.

    Raises:
        DetectionError: there is none, a line is none, or frames have no times.
    """
    root = Path(folder)
    paths = [root] if root.is_file() else sorted(root.rglob(f"*{SUFFIX}"))
    if not paths:
        raise DetectionError(f"{root}: found no file *{SUFFIX}; expected one a recording")
    tables = []
    for path in paths:
        name = path.name if root.is_file() else path.relative_to(root).as_posix()
        tables.append(_table(path, name.removesuffix(SUFFIX), tuple(classes), frame_us))
    looks = {name: times for table in tables for name, times in table.metadata.items()}
    return replace(concatenated(tables), metadata={"looks": looks} if looks else {})


def _table(path: Path, name: str, classes: tuple[str, ...], frame_us: int | None) -> DetectionTable:
    lines = _numbers(path, ",")
    lines = lines.reshape(len(lines), -1) if len(lines) else np.empty((0, 9))
    if lines.shape[1] < 7:
        raise DetectionError(f"{path}: has {lines.shape[1]} columns; expected frame, id, x, y, w, h, confidence, …")
    frame = lines[:, 0].astype(np.int64)
    class_id = lines[:, 7].astype(np.int64) - 1 if lines.shape[1] == 9 else np.full(len(lines), -1)
    if len(classes) == 1:
        class_id = np.where(class_id < 0, 0, class_id)
    listed = path.with_name(path.name.removesuffix(SUFFIX) + TIMES)
    if listed.exists():
        times = _numbers(listed, None).reshape(-1).astype(np.int64)
        if len(frame) and not (frame.min() >= 1 and frame.max() <= len(times)):
            raise DetectionError(
                f"{path}: found frame {frame.max()}; expected 1 to {len(times)}, as {listed.name} lists"
            )
        t_us = times[frame - 1] if len(frame) else frame
    elif frame_us is not None:
        t_us = (frame - 1) * frame_us
    else:
        raise DetectionError(f"{path}: has no {listed.name} beside it; expected the µs of each frame, or frame_us")
    looks = np.unique(times).tolist() if listed.exists() else None
    table = DetectionTable(
        (name,),
        classes,
        np.zeros(len(lines), np.int64),
        t_us,
        np.full(len(lines), -1),
        class_id,
        np.where(lines[:, 6] < 0, 1, lines[:, 6]).astype(np.float32),
        lines[:, 2:6].astype(np.float32),
        lines[:, 1].astype(np.int64),
        metadata={} if looks is None else {name: looks},
    )
    table.check(str(path))
    return table


def _numbers(path: Path, delimiter: str | None) -> npt.NDArray[np.float64]:
    try:
        if not path.read_text(encoding="utf-8").strip():
            return np.empty(0)
        return np.loadtxt(path, delimiter=delimiter, ndmin=2)
    except (OSError, ValueError) as error:
        raise DetectionError(f"{path}: cannot be read as MOT text ({' '.join(str(error).split())})") from error
