"""The dark sheet all pictures are drawn on, and the one way they reach the disk: whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BACKGROUND = "#0d1117"
PANEL = "#161b22"
FAINT = "#30363d"
MUTED = "#6e7681"
TEXT = "#e6edf3"
ON = "#ffb454"
OFF = "#4aa8ff"
TRUTH = "#f0f6fc"
SERIES = ("#3ddc97", "#ff6b8a", "#c792ea", "#f9e154", "#5ce1e6", "#ff914d", "#a3be8c", "#e06cff")


def series(index: int) -> str:
    """The colour of class (or curve) ``index``."""
    return SERIES[index % len(SERIES)]


def sheet(width: float, height: float) -> Figure:
    """An empty dark figure of that size in inches, without pyplot's global state."""
    figure = Figure(figsize=(width, height), facecolor=BACKGROUND, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def darken(axes: Axes) -> None:
    """Dress a pair of axes for the dark sheet."""
    axes.set_facecolor(PANEL)
    axes.tick_params(colors=TEXT, labelsize=8)
    for side in axes.spines.values():
        side.set_color(FAINT)
    for label in (axes.xaxis.label, axes.yaxis.label, axes.title):
        label.set_color(TEXT)


def save(figure: Figure, path: Path | str, *, dpi: int = 120) -> Path:
    """Write a PNG beside ``path`` and rename it into place; folders are made.

    Raises:
        OSError: the disk is full or the folder cannot be written; then nothing is left behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        # no version string in the file: the same picture is the same bytes
        figure.savefig(partial, format="png", dpi=dpi, facecolor=figure.get_facecolor(), metadata={"Software": None})
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path
