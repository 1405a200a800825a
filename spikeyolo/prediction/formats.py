"""The table of a prediction in other programs' formats, and as labels that training reads."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from spikeyolo.detections import DetectionTable, coco, mot, prophesee
from spikeyolo.detections.clock import OFFSETS, Clock, to_camera
from spikeyolo.detections.files import whole_files

Format = Literal["coco", "prophesee", "mot", "labels"]


def save_as(path: Path, formats: Sequence[Format], *, min_score: float, clock: Clock = "start") -> list[Path]:
    """Write a stored table in other formats beside it; the whole table is in memory for that.

    Args:
        path: of the table.
        formats: which.
        min_score: of labels.
        clock: of the times in other programs' formats; labels count from the first event.

    Raises:
        DetectionError: one cannot be written, or a camera's clock is not known.
    """
    if not formats:
        return []
    of_start = table = with_every_recording(DetectionTable.read(path, embeddings=False))
    if clock == "camera" and set(formats) != {"labels"}:
        table = to_camera(table, table.metadata.get(OFFSETS, {}))
    written = []
    if "coco" in formats:
        written.append(coco.write(table, path.with_suffix(".json")))
    if "prophesee" in formats:
        written.append(prophesee.write(table, path.parent / "prophesee"))
    if "mot" in formats:
        written.append(mot.write(table, path.parent / "mot"))
    if "labels" in formats:
        written.append(write_labels(of_start, path.parent / "labels", min_score=min_score))
    return written


def with_every_recording(table: DetectionTable) -> DetectionTable:
    """The same rows, with the names also of recordings that have none."""
    silent = [name for name in table.metadata.get("recordings", ()) if name not in table.recordings]
    return replace(table, recordings=(*table.recordings, *silent))


def write_labels(table: DetectionTable, folder: Path, *, min_score: float) -> Path:
    """Write ``folder/RECORDING.csv`` for each recording: the detections at the end of each window, as labels.

    Columns ``t_us,x,y,w,h,class,track,confidence``, classes by name; see
    :func:`spikeyolo.events.labels.formats.table.read_csv`, which reads them.

    Args:
        table: detections or tracks; its metadata tell the time steps of a window.
        folder: for the files.
        min_score: detections of a lower score are left out.

    Raises:
        DetectionError: a file cannot be written.
    """
    facts = table.metadata["ended"]
    ends, spans = ({name: facts.get(name, {}).get(key) for name in table.recordings} for key in ("end_us", "span_us"))
    last = int(table.metadata["steps_at_once"]) - 1
    slice_us = int(table.metadata["slice_duration_us"])
    with whole_files(folder, [f"{name}.csv" for name in table.recordings]) as partials:
        for recording, (name, partial) in enumerate(zip(table.recordings, partials, strict=True)):
            rows = np.flatnonzero((table.recording == recording) & (table.score >= min_score))
            rows = rows[(table.step[rows] == last) | (table.t_us[rows] == ends[name])]
            if spans[name] is not None:  # a window may end after the recording
                rows = rows[table.t_us[rows] <= spans[name][1] + slice_us]
            partial.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("w", encoding="utf-8", newline="") as file:
                lines = csv.writer(file, lineterminator="\n")
                lines.writerow(["t_us", "x", "y", "w", "h", "class", "track", "confidence"])
                for row in rows[np.argsort(table.t_us[rows], kind="stable")]:
                    box = [f"{side:.2f}" for side in table.xywh[row].tolist()]
                    track = "" if table.track_id[row] < 0 else table.track_id[row]
                    kind = table.classes[table.class_id[row]]
                    lines.writerow([table.t_us[row], *box, kind, track, f"{table.score[row]:.4f}"])
    return folder
