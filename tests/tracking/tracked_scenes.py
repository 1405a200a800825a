"""Hand-made scenes of moving boxes, whose tracks are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from spikeyolo.detections import DetectionTable

Path = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]


def straight(start: tuple[float, float], velocity: tuple[float, float], size: tuple[float, float] = (20, 20)) -> Path:
    """Centre and size over time in s, ``[S, 4]``; velocity in px/s."""

    def at(seconds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        centre = np.array(start) + seconds[:, None] * np.array(velocity)
        return np.column_stack((centre, np.broadcast_to(size, (len(seconds), 2))))

    return at


def scene(
    paths: Sequence[Path],
    *,
    rate_hz: float,
    duration_s: float,
    hidden: Sequence[tuple[int, float, float]] = (),
    classes: Sequence[int] | None = None,
    noise: float = 0.0,
    seed: int = 0,
    score: float = 0.9,
    recording: str = "scene",
) -> DetectionTable:
    """A table of what is seen, each row with its object's number as track id, from 1.

    Args:
        paths: of the objects.
        rate_hz: steps a second.
        duration_s: s.
        hidden: (object from 1, from, to) in s, where it makes no row.
        classes: id of each object.
        noise: standard deviation of every side, in box sizes.
        seed: of the noise.
        score: of every row.
        recording: name.
    """
    t_us = np.round(np.arange(1, round(duration_s * rate_hz) + 1) * 1e6 / rate_hz).astype(np.int64)
    rng = np.random.default_rng(seed)
    rows: list[tuple[npt.NDArray[np.int64], int, npt.NDArray[np.float64]]] = []
    for number, path in enumerate(paths, 1):
        seconds = t_us / 1e6
        seen = np.ones(len(t_us), bool)
        for which, start, end in hidden:
            if which == number:
                seen &= (seconds < start) | (seconds >= end)
        box = path(seconds)
        box = box + noise * np.sqrt(box[:, 2:3] * box[:, 3:]) * rng.normal(0, 1, box.shape)
        box[:, 2:] = np.maximum(box[:, 2:], 1)
        box[:, :2] -= box[:, 2:] / 2
        rows.append((t_us[seen], number, box[seen]))
    numbers = np.concatenate([np.full(len(t), number, np.int64) for t, number, _ in rows])
    ids = np.array(classes or [0] * len(paths), np.int64)
    count = len(numbers)
    return DetectionTable(
        (recording,),
        ("car", "person"),
        np.zeros(count, np.int64),
        np.concatenate([t for t, _, _ in rows]),
        np.full(count, -1, np.int64),
        ids[numbers - 1],
        np.full(count, score, np.float32),
        np.concatenate([box for _, _, box in rows]).astype(np.float32),
        numbers,
    )
