"""Truth and detections of a few recordings for the tests of scoring."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spikeyolo.detections import DetectionTable, GroundTruth, Looks
from spikeyolo.metrics.protocols import Coco, Dsec, Etram, PropheseeGen1, PropheseeOneMegapixel, Protocol

PROTOCOLS: tuple[Protocol, ...] = (Coco(), PropheseeGen1(), PropheseeOneMegapixel(), Dsec(), Etram())


def classes_of(protocol: Protocol) -> tuple[str, ...]:
    if isinstance(protocol, Dsec):
        return ("pedestrian", "rider", "car", "bus")
    return tuple(protocol.classes or ("car", "pedestrian"))


def moving_truth(
    classes: tuple[str, ...], *, rate: float = 10, seconds: float = 2.0, seed: int = 0, recordings: int = 3
) -> GroundTruth:
    """Objects that move in straight lines, small ones among them; they come and go, so that some looks are empty, and
    the last recording has no box at all."""
    rng = np.random.default_rng(seed)
    times = np.round(np.arange(1, int(seconds * rate) + 1) * 1e6 / rate).astype(np.int64)
    rows: list[tuple[float, ...]] = []
    for recording in range(recordings - 1):
        for track in range(5):
            x, y = rng.uniform(0, 500, 2)
            w, h = rng.uniform(4, 120, 2)
            vx, vy = rng.uniform(-60, 60, 2)
            begin, end = np.sort(rng.uniform(0, seconds * 1e6, 2))
            class_id = rng.integers(len(classes))
            for t in times[(times >= begin) & (times <= end)]:
                rows.append((recording, t, class_id, x + vx * t * 1e-6, y + vy * t * 1e-6, w, h, track))
    names = tuple(f"drive {n}" for n in range(recordings))
    looks = Looks(names, np.repeat(np.arange(recordings), len(times)), np.tile(times, recordings))
    return GroundTruth(table_of(rows, names, classes), looks)


def table_of(rows: list[tuple[float, ...]], names: tuple[str, ...], classes: tuple[str, ...]) -> DetectionTable:
    """Rows of recording, time, class, x, y, w, h, track and, where there is one, score."""
    cells = np.asarray(rows, np.float64).reshape(len(rows), -1 if rows else 8)
    score = cells[:, 8] if cells.shape[1] > 8 else np.ones(len(cells))
    return DetectionTable(
        names,
        classes,
        cells[:, 0].astype(np.int64),
        cells[:, 1].astype(np.int64),
        np.full(len(cells), -1),
        cells[:, 2].astype(np.int64),
        score.astype(np.float32),
        cells[:, 3:7].astype(np.float32),
        cells[:, 7].astype(np.int64),
    )


def imperfect(truth: GroundTruth, *, seed: int = 0, blur: float = 4.0, shift_us: int = 0) -> DetectionTable:
    """Detections that miss some boxes, find some twice, mistake some and invent others, at times that differ from the
    truth's by up to ``shift_us``; few distinct scores, so that ties occur."""
    rng = np.random.default_rng(seed)
    boxes = truth.boxes
    row = np.concatenate((np.flatnonzero(rng.random(len(boxes)) < 0.8), rng.integers(0, len(boxes), len(boxes) // 3)))
    found = boxes[row]
    xywh = found.xywh + rng.normal(0, blur, found.xywh.shape).astype(np.float32)
    xywh[:, 2:] = np.maximum(xywh[:, 2:], 1)
    invented = rng.random(len(row)) < 0.1
    xywh[invented] += 200
    class_id = np.where(rng.random(len(row)) < 0.9, found.class_id, rng.integers(0, len(boxes.classes), len(row)))
    of_time = rng.integers(-shift_us, shift_us + 1, 10**4)
    t_us = np.maximum(found.t_us + of_time[found.t_us % 10**4], 0)
    score = (rng.integers(1, 20, len(row)) / 20).astype(np.float32)
    return replace(found, xywh=xywh, class_id=class_id, t_us=t_us, score=score)
