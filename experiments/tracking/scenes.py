"""Simulated scenes of moving boxes, and what a detector of three qualities makes of them: arrays, no files.

A scene has the same geometry at every rate; what is recorded at a higher rate is faster (DURATION_S), as it is in
front of an event camera. Detections are missed in runs and singly, false ones come singly, boxes are off by an error
that changes from step to step and one that drifts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT = 346, 260
DURATION_S = {30: 4.0, 100: 4.0, 1000: 1.0, 10_000: 0.2}  # by rate, Hz
KINDS = ("crossing", "occlusion", "births", "traffic")
# Share missed, false detections a step, standard deviation of sides in box sizes.
NOISE = {"low": (0.02, 0.1, 0.02), "medium": (0.15, 0.5, 0.05), "high": (0.3, 2.0, 0.1)}
OBJECTS = 10


@dataclass(frozen=True)
class Scene:
    """Rows of truth and detections: ``t_us``, ``track``, ``xywh``, ``score``; ``object`` is -1 for false ones."""

    rate_hz: int
    truth_t_us: npt.NDArray[np.int64]
    truth_track: npt.NDArray[np.int64]
    truth_xywh: npt.NDArray[np.float64]
    t_us: npt.NDArray[np.int64]
    xywh: npt.NDArray[np.float64]
    score: npt.NDArray[np.float64]


def simulate(kind: str, noise: str, rate_hz: int, seed: int) -> Scene:
    """One scene."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])  # the same paths at every rate and noise
    duration = DURATION_S[rate_hz]
    t_us = np.round(np.arange(1, round(duration * rate_hz) + 1) * 1e6 / rate_hz).astype(np.int64)
    share = t_us / (duration * 1e6)
    boxes, seen = _paths(kind, share, rng)
    rng = np.random.default_rng([seed, KINDS.index(kind), list(NOISE).index(noise), rate_hz])
    missed, false, off = NOISE[noise]
    steps = len(share)
    truth = [(t_us[seen[k]], np.full(seen[k].sum(), k + 1), boxes[k][seen[k]]) for k in range(len(boxes))]
    found = []
    for k in range(len(boxes)):
        size = np.sqrt(boxes[k][:, 2:3] * boxes[k][:, 3:])
        drift = _slow(steps, share, rng, 4) * off * 0.7
        box = boxes[k] + size * (drift + rng.normal(0, off * 0.7, (steps, 4)))
        gone = _runs(share, missed / 2, rng) | (rng.random(steps) < missed / 2)
        rows = seen[k] & ~gone
        score = np.clip(rng.normal(0.7 - 0.15 * (off > 0.05), 0.15, steps), 0.05, 1)
        found.append((t_us[rows], box[rows], score[rows]))
    count = rng.poisson(false, steps)
    size = rng.uniform(15, 45, (count.sum(), 2))
    centre = rng.uniform((0, 0), (WIDTH, HEIGHT), (count.sum(), 2))
    found.append((np.repeat(t_us, count), np.column_stack((centre, size)), rng.uniform(0.05, 0.65, count.sum())))
    truth_t, track, true_box = (np.concatenate(part) for part in zip(*truth, strict=True))
    found_t, box, score = (np.concatenate(part) for part in zip(*found, strict=True))
    order, of_truth = np.argsort(found_t, kind="stable"), np.argsort(truth_t, kind="stable")
    return Scene(
        rate_hz,
        truth_t[of_truth],
        track[of_truth],
        _corner(true_box[of_truth]),
        found_t[order],
        _corner(box[order]),
        score[order],
    )


def _paths(kind: str, share: np.ndarray, rng: np.random.Generator) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Centre and size of each object over time, ``[S, 4]``, and when it is to be seen, ``[S]``."""
    boxes, seen = [], []
    for k in range(OBJECTS):
        size = rng.uniform(18, 40, 2)
        there = np.ones(len(share), bool)
        if kind == "crossing":  # two ways along lanes that are nearer than the boxes are high
            way = 1 if k % 2 else -1
            start, speed = rng.uniform(-60, 60), rng.uniform(220, 420)
            x = (start if way > 0 else WIDTH - start) + way * speed * share
            y = 40 + 18 * k + 6 * np.sin(2 * np.pi * (share * rng.uniform(0.5, 1.5) + rng.random()))
        elif kind == "occlusion":  # behind three posts
            way = 1 if k % 2 else -1
            start, speed = rng.uniform(-40, 80), rng.uniform(200, 350)
            x = (start if way > 0 else WIDTH - start) + way * speed * share
            y = 25 + 23 * k + 0 * share
            for post in (80, 173, 266):
                there &= np.abs(x - post) > rng.uniform(9, 16)
        else:
            low, high = np.array([40, 40]), np.array([WIDTH - 40, HEIGHT - 40])
            a, b = rng.uniform(low, high), rng.uniform(low, high)
            turns = rng.uniform(0.3, 1.2, 2)
            bend = rng.uniform(10, 40, 2)
            x, y = (
                a[i] + (b[i] - a[i]) * share + bend[i] * np.sin(2 * np.pi * (turns[i] * share + rng.random()))
                for i in (0, 1)
            )
            if kind == "births":
                begin = rng.uniform(0, 0.6)
                there &= (share >= begin) & (share <= begin + rng.uniform(0.2, 0.5))
        grow = 1 + 0.2 * np.sin(2 * np.pi * (share * rng.uniform(0.2, 0.8) + rng.random()))
        box = np.column_stack((x, y, size[0] * grow, size[1] * grow))
        there &= (x > -5) & (x < WIDTH + 5) & (y > -5) & (y < HEIGHT + 5)
        boxes.append(box)
        seen.append(there)
    if kind == "traffic":  # the first is nearest: it hides what it covers by more than half
        for k in range(1, OBJECTS):
            for near in range(k):
                seen[k] &= ~(seen[near] & (_covered(boxes[k], boxes[near]) > 0.5))
    return boxes, seen


def _covered(box: np.ndarray, by: np.ndarray) -> np.ndarray:
    low = np.maximum(box[:, :2] - box[:, 2:] / 2, by[:, :2] - by[:, 2:] / 2)
    high = np.minimum(box[:, :2] + box[:, 2:] / 2, by[:, :2] + by[:, 2:] / 2)
    return np.maximum(high - low, 0).prod(axis=1) / box[:, 2:].prod(axis=1)


def _slow(steps: int, share: np.ndarray, rng: np.random.Generator, columns: int) -> np.ndarray:
    """Unit variance, correlated over a fiftieth of the scene."""
    keep = np.exp(-50 * float(share[0]))
    value, out = rng.normal(0, 1, columns), np.empty((steps, columns))
    new = rng.normal(0, np.sqrt(1 - keep**2), (steps, columns))
    for step in range(steps):
        value = keep * value + new[step]
        out[step] = value
    return out


def _runs(share: np.ndarray, missed: float, rng: np.random.Generator) -> np.ndarray:
    """Runs of a fiftieth of the scene in the mean, over a share of it."""
    end = min(50 * float(share[0]), 1.0)
    begin = end * missed / (1 - missed)
    gone, out, draws = False, np.empty(len(share), bool), rng.random(len(share))
    for step in range(len(share)):
        gone = draws[step] >= end if gone else draws[step] < begin
        out[step] = gone
    return out


def _corner(box: np.ndarray) -> np.ndarray:
    """Centre and size to left, top, width, height."""
    size = np.maximum(box[:, 2:], 2.0)
    return np.column_stack((box[:, :2] - size / 2, size))
