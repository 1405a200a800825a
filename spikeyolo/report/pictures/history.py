"""How a training went: loss and mAP over its epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from spikeyolo.report.pictures import canvas

TERMS = ("total", "box", "class", "dfl", "track")  # of the loss, as metrics.csv names them


def draw_history(path: Path | str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Draw the terms of the loss above, mAP50 and mAP below, the best epoch marked.

    Args:
        path: of the PNG; written whole or not at all.
        rows: of ``metrics.csv``, one an epoch: ``epoch``, ``train/…`` losses, ``val/map50``, ``val/map``; numbers or
            their text, an empty text where there is none.
    """
    figure = canvas.sheet(7.0, 5.6)
    losses, scores = figure.subplots(2, 1, sharex=True)
    epochs = [_number(row["epoch"]) for row in rows]
    names = [name for name in TERMS if any(f"train/{name}" in row for row in rows)]
    for index, name in enumerate(names):
        _curve(losses, epochs, [_number(row.get(f"train/{name}", "")) for row in rows], name, index)
    for index, name in enumerate(("val/map50", "val/map")):
        values = [_number(row.get(name, "")) for row in rows]
        _curve(scores, epochs, values, {"val/map50": "mAP50", "val/map": "mAP50:95"}[name], index)
        known = [(value, epoch) for value, epoch in zip(values, epochs, strict=True) if math.isfinite(value)]
        if known and name == "val/map50":
            value, epoch = max(known)
            scores.axvline(epoch, color=canvas.FAINT, linewidth=1.0, zorder=0)
            scores.annotate(
                f"{value:.3f} in epoch {epoch:.0f}",
                (epoch, value),
                xytext=(4, 4),
                textcoords="offset points",
                color=canvas.TEXT,
                fontsize=8,
                ha="right" if epochs and epoch > sum(epochs[:: len(epochs) - 1 or 1]) / 2 else "left",
            )
    losses.set(ylabel="loss", title="training")
    scores.set(ylabel="validation", xlabel="epoch", ylim=(0, 1.08))
    for axes in (losses, scores):
        canvas.darken(axes)
        axes.grid(color=canvas.FAINT, linewidth=0.5)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8, labelcolor=canvas.TEXT, facecolor=canvas.PANEL, edgecolor=canvas.FAINT)
    return canvas.save(figure, path)


def _curve(axes: Axes, epochs: Sequence[float], values: Sequence[float], label: str, index: int) -> None:
    known = [(epoch, value) for epoch, value in zip(epochs, values, strict=True) if not math.isnan(value)]
    marker = "o" if len(known) < 12 else None  # one epoch alone draws no line
    axes.plot(
        [epoch for epoch, _ in known],
        [value for _, value in known],
        color=canvas.series(index),
        linewidth=1.6,
        marker=marker,
        markersize=3,
        label=label,
    )


def _number(value: Any) -> float:
    return float(value) if value not in ("", None) else math.nan
