"""Figures of an evaluation: accuracy over time in the window, thresholds, errors, calibration, when it fails."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from spikeyolo.metrics.coco import ThresholdCurve
from spikeyolo.metrics.scores import Calibration, PropertyCurve, Scores
from spikeyolo.metrics.tracking import TrackingScores
from spikeyolo.report.pictures import canvas


def draw_steps(
    path: Path, steps: Mapping[int, Mapping[str, float]], *, slice_duration_us: int | None = None
) -> Path | None:
    """Draw mAP50 and mAP over the time since a window began; None where steps are not known.

    Args:
        path: of the PNG; a CSV is written beside it.
        steps: ``map``, ``map50`` of each time step.
        slice_duration_us: length of a step, µs; None counts steps, from 0 as everywhere.
    """
    if not steps:
        return None
    times = [(step + 1) * slice_duration_us if slice_duration_us else step for step in steps]
    figure = canvas.sheet(5.2, 3.6)
    axes = figure.add_subplot()
    for index, (key, label) in enumerate((("map50", "mAP50"), ("map", "mAP50:95"))):
        values = [row[key] for row in steps.values()]
        axes.plot(times, values, color=canvas.series(index), marker="o", markersize=4, linewidth=1.6, label=label)
    axes.set(
        ylim=(0, 1.02),
        xlabel="µs since the window began" if slice_duration_us else "time step",
        title="what is known after each step",
    )
    _dress(axes)
    _table(path, ["step", "us", "map", "map50"], zip(steps, times, *_columns(steps.values(), ("map", "map50"))))
    return canvas.save(figure, path)


def draw_threshold(path: Path, curve: ThresholdCurve) -> Path:
    """Draw precision, recall and F1 over the score from which detections count.

    Args:
        path: of the PNG; a CSV is written beside it.
        curve: at IoU 0.50.
    """
    figure = canvas.sheet(5.2, 4.2)
    axes = figure.add_subplot()
    for index, (name, values) in enumerate(
        (("precision", curve.precision), ("recall", curve.recall), ("F1", curve.f1))
    ):
        axes.plot(curve.threshold, values, color=canvas.series(index), linewidth=1.6, label=name)
    title = "at IoU 0.50"
    if len(curve.f1):
        best = int(curve.f1.argmax())
        axes.axvline(curve.threshold[best], color=canvas.MUTED, linewidth=1.0)
        title = f"F1 {curve.f1[best]:.3f} from the score {curve.threshold[best]:.3f} on, at IoU 0.50"
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="score from which detections count", title=title)
    _dress(axes)
    kept = np.unique(np.linspace(0, max(len(curve.f1) - 1, 0), min(len(curve.f1), 1000)).astype(np.int64))
    rows = zip(curve.threshold[kept], curve.precision[kept], curve.recall[kept], curve.f1[kept])
    _table(path, ["score", "precision", "recall", "f1"], rows)
    return canvas.save(figure, path)


def draw_errors(path: Path, errors: Mapping[str, float], counts: Mapping[str, int]) -> Path:
    """Draw how much mAP50 each kind of error costs.

    Args:
        path: of the PNG; a CSV is written beside it.
        errors: kind → loss of mAP50.
        counts: kind → how many.
    """
    figure = canvas.sheet(5.2, 3.2)
    axes = figure.add_subplot()
    heights = list(range(len(errors)))
    values = [0.0 if math.isnan(value) else value for value in errors.values()]
    axes.barh(heights, values, 0.6, color=canvas.series(1))
    axes.set_yticks(heights, [f"{kind} ({counts.get(kind, 0)})" for kind in errors])
    axes.invert_yaxis()
    axes.set(xlabel="mAP50 that would be won without it", title="kinds of error (how many)")
    _dress(axes)
    _table(path, ["kind", "map50", "count"], ((kind, value, counts.get(kind, 0)) for kind, value in errors.items()))
    return canvas.save(figure, path)


def draw_calibration(path: Path, calibration: Calibration) -> Path:
    """Draw a reliability diagram: the share of right detections over their score.

    Args:
        path: of the PNG; a CSV is written beside it.
        calibration: at IoU 0.50.
    """
    figure = canvas.sheet(5.2, 4.2)
    axes = figure.add_subplot()
    width = calibration.high - calibration.low
    axes.bar(calibration.low, np.nan_to_num(calibration.right), width, align="edge", color=canvas.series(0), alpha=0.8)
    axes.plot((0, 1), (0, 1), color=canvas.MUTED, linestyle="dashed", linewidth=1.2, label="as the score says")
    axes.set(
        xlim=(0, 1),
        ylim=(0, 1.02),
        xlabel="score",
        ylabel="share of right detections",
        title=f"expected calibration error {calibration.error:.3f}",
    )
    _dress(axes)
    c = calibration
    _table(path, ["low", "high", "score", "right", "count"], zip(c.low, c.high, c.score, c.right, c.count))
    return canvas.save(figure, path)


def draw_properties(path: Path, curves: Mapping[str, PropertyCurve]) -> Path | None:
    """Draw the share of objects that is found over their size, speed and number of events; None without a curve.

    Args:
        path: of the PNG; a CSV is written beside it.
        curves: as far as they are known.
    """
    if not curves:
        return None
    figure = canvas.sheet(4.2 * len(curves), 3.6)
    rows: list[Sequence[Any]] = []
    for position, (key, curve) in enumerate(curves.items(), start=1):
        axes = figure.add_subplot(1, len(curves), position)
        centres = (curve.low + curve.high) / 2
        for index, (values, label) in enumerate(
            ((curve.found, "by any score"), (curve.found_at_best, "from the best F1 on"))
        ):
            axes.plot(centres, values, color=canvas.series(index), marker="o", markersize=4, linewidth=1.6, label=label)
        axes.set(ylim=(0, 1.02), xlabel=curve.name, title="objects found at IoU 0.50" if position == 1 else "")
        _dress(axes)
        rows += zip([key] * len(centres), curve.low, curve.high, curve.count, curve.found, curve.found_at_best)
    _table(path, ["property", "low", "high", "count", "found", "found_at_best"], rows)
    return canvas.save(figure, path)


def write_tables(folder: Path, scores: Scores, tracks: TrackingScores | None = None) -> None:
    """Write ``classes.csv``, ``recordings.csv``, ``precision_recall.csv``, ``confusion.csv`` and, where recordings have
    tags, ``tags.csv``, where tracks were scored, ``tracks.csv`` into ``folder``."""
    slices = (
        ("classes", "class", scores.per_class),
        ("recordings", "recording", scores.per_recording),
        ("tags", "tag", scores.per_tag),
    )
    for file, kind, of_name in slices:
        if of_name:
            header = [kind, *next(iter(of_name.values()))]
            _table(folder / f"{file}.csv", header, ([name, *row.values()] for name, row in of_name.items()))
    curves = scores.precision_curves
    recall = np.linspace(0, 1, 101)
    _table(folder / "precision_recall.csv", ["recall", *curves], zip(recall, *curves.values()))
    named = zip([*scores.classes, "nothing"], scores.confusion.counts.tolist())
    _table(folder / "confusion.csv", ["true", *scores.classes, "missed"], ([name, *row] for name, row in named))
    if tracks is not None:
        kinds = {"all": {"": tracks.figures}, "class": tracks.per_class, "recording": tracks.per_recording}
        lines = ([kind, name, *row.values()] for kind, part in kinds.items() for name, row in part.items())
        _table(folder / "tracks.csv", ["of", "name", *tracks.figures], lines)


def _columns(rows: Any, names: Sequence[str]) -> list[list[float]]:
    listed = list(rows)
    return [[row[name] for row in listed] for name in names]


def _dress(axes: Axes) -> None:
    canvas.darken(axes)
    axes.grid(color=canvas.FAINT, linewidth=0.5)
    axes.set_axisbelow(True)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, labelcolor=canvas.TEXT, facecolor=canvas.PANEL, edgecolor=canvas.FAINT)


def _table(picture: Path, header: Sequence[str], rows: Any) -> None:
    """Write a figure's numbers beside it, whole or not at all."""
    path = picture.with_suffix(".csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        partial.write_text(buffer.getvalue(), encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
