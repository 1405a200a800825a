"""Figures beside the numbers: curves of precision over recall, and which classes are taken for which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.colors import LinearSegmentedColormap

from spikeyolo.report.pictures import canvas


def draw_precision_recall(path: Path | str, curves: Mapping[str, npt.NDArray[np.float64]]) -> Path:
    """Draw one curve a class, its average precision in the legend.

    Args:
        path: of the PNG; written whole or not at all.
        curves: class name → ``[R]`` precision at R recalls evenly spaced over 0..1, in 0..1.
    """
    figure = canvas.sheet(5.2, 4.2)
    axes = figure.add_subplot()
    canvas.darken(axes)
    for index, (name, precision) in enumerate(curves.items()):
        recall = np.linspace(0, 1, len(precision))
        label = f"{name}  {precision.mean():.3f}"
        axes.plot(recall, precision, color=canvas.series(index), linewidth=1.6, label=label)
    if len(curves) > 1:
        mean = np.mean(list(curves.values()), axis=0)
        label = f"all  {mean.mean():.3f}"
        axes.plot(np.linspace(0, 1, len(mean)), mean, color=canvas.TEXT, linewidth=2.2, linestyle="dashed", label=label)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision", title="average precision at IoU 0.50")
    axes.grid(color=canvas.FAINT, linewidth=0.5)
    if curves:
        axes.legend(
            fontsize=8, labelcolor=canvas.TEXT, facecolor=canvas.PANEL, edgecolor=canvas.FAINT, loc="lower left"
        )
    else:
        axes.text(0.5, 0.5, "no truth", color=canvas.TEXT, ha="center", va="center")
    return canvas.save(figure, path)


def draw_confusion(path: Path | str, matrix: npt.NDArray[np.int64], classes: Sequence[str], *, title: str = "") -> Path:
    """Draw counts, coloured by their share of the row.

    Args:
        path: of the PNG; written whole or not at all.
        matrix: ``[K + 1, K + 1]``; rows are the truth and columns what was detected; the last row holds detections
            of nothing, or of an object that has its detection already, the last column objects that were missed.
        classes: K names.
        title: which detections were counted.

    Raises:
        ValueError: the matrix does not fit the classes.
    """
    size = len(classes) + 1
    if matrix.shape != (size, size):
        raise ValueError(
            f"the confusion matrix has shape {matrix.shape}; expected [{size}, {size}] for {size - 1} classes"
        )
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    edge = float(np.clip(0.6 * size, 3.0, 14.0))
    figure = canvas.sheet(edge + 1.2, edge + 0.8)
    axes = figure.add_subplot()
    canvas.darken(axes)
    colours = LinearSegmentedColormap.from_list("house", [canvas.PANEL, canvas.OFF])
    axes.imshow(share, cmap=colours, vmin=0, vmax=1)
    for row, column in np.ndindex(matrix.shape):
        if matrix[row, column]:
            axes.text(column, row, str(matrix[row, column]), ha="center", va="center", color=canvas.TEXT, fontsize=8)
    ticks = range(size)
    axes.set_xticks(ticks, [*classes, "missed"], rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, [*classes, "nothing"])
    axes.set(xlabel="detected", ylabel="true (nothing: also an object found already)")
    axes.set_title(title, fontsize=8)
    return canvas.save(figure, path)
