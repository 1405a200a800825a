"""Pictures of a diagnosis: labels over events, the density ratio over shifts, bars of what was counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from spikeyolo.report.pictures import canvas
from spikeyolo.report.pictures.render import event_image


@dataclass(frozen=True, eq=False)
class Overlay:
    """A moment of a recording.

    Attributes:
        x, y, p: events ``[N]``.
        width, height: of the sensor, px.
        boxes: ``[M, 4]`` xyxy, px, as the labels have them.
        mended: ``[M, 4]`` as they would be; empty where nothing is to be mended.
        title: above the picture.
    """

    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.float32]
    p: npt.NDArray[np.uint8]
    width: int
    height: int
    boxes: npt.NDArray[np.float32]
    mended: npt.NDArray[np.float32]
    title: str = ""


def draw_overlays(path: Path, items: Sequence[Overlay]) -> Path:
    """Draw moments side by side: labels dashed, mended labels solid."""
    figure = canvas.sheet(3.4 * max(len(items), 1), 3.4 * _aspect(items) + 0.7)
    for number, item in enumerate(items, start=1):
        axes = figure.add_subplot(1, len(items), number)
        canvas.darken(axes)
        frames = np.zeros((1, 2, item.height, item.width), np.float64)
        place = (item.p.astype(np.int64) * item.height + item.y.astype(np.int64)) * item.width + item.x.astype(np.int64)
        np.add.at(frames.reshape(-1), place, 1)
        image = event_image(np.minimum(frames, 255).astype(np.uint8))
        axes.imshow(image, interpolation="nearest", extent=(0, item.width, item.height, 0))
        for boxes, colour, style in (
            (item.boxes, canvas.SERIES[1], "dashed"),
            (item.mended, canvas.SERIES[0], "solid"),
        ):
            for left, top, right, bottom in boxes[:30].tolist():
                size = (right - left, bottom - top)
                axes.add_patch(Rectangle((left, top), *size, fill=False, color=colour, linestyle=style, linewidth=1.3))
        axes.set(xlim=(0, item.width), ylim=(item.height, 0), xticks=[], yticks=[])
        axes.set_title(item.title, fontsize=8, color=canvas.TEXT)
    handles = [Line2D([], [], color=canvas.SERIES[1], linestyle="dashed", label="labels as they are")]
    if any(len(item.mended) for item in items):
        handles.append(Line2D([], [], color=canvas.SERIES[0], label="mended"))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=2, fontsize=8, frameon=False, labelcolor=canvas.TEXT
    )
    return canvas.save(figure, path)


def draw_clock(
    path: Path, shift_us: npt.NDArray[np.float64], ratio: npt.NDArray[np.float64], *, best_us: float
) -> Path:
    """Draw the density ratio over shifts of the labels: all that was tried, and the neighbourhood of the best."""
    figure = canvas.sheet(8.6, 3.4)
    gaps = np.diff(shift_us)
    near = np.abs(shift_us - best_us) <= 60 * float(gaps.min()) if len(gaps) else np.ones(len(shift_us), np.bool_)
    for number, (rows, title) in enumerate(((np.ones(len(shift_us), np.bool_), "all shifts"), (near, "near the best"))):
        axes = figure.add_subplot(1, 2, number + 1)
        axes.plot(shift_us[rows] / 1000, ratio[rows], color=canvas.series(0), linewidth=1.3)
        axes.axvline(0, color=canvas.MUTED, linewidth=1.0)
        axes.axvline(best_us / 1000, color=canvas.series(1), linestyle="dashed", linewidth=1.2)
        axes.set(xlabel="added to label times, ms", title=title)
        if number == 0:
            axes.set_ylabel("event density, inside / outside")
        _dress(axes)
    return canvas.save(figure, path)


def draw_readings(path: Path, ratios: Sequence[tuple[str, float]]) -> Path:
    """Draw the density ratio under every reading of the boxes, the first as they are."""
    return draw_bars(path, ratios, label="event density, inside boxes / outside")


def draw_bars(path: Path, values: Sequence[tuple[str, float]], *, label: str, line: float | None = None) -> Path:
    """Draw named values as bars, the first apart in colour.

    Args:
        label: of the values.
        line: a bound to be seen beside them.
    """
    figure = canvas.sheet(8.0, 0.9 + 0.22 * len(values))
    axes = figure.add_subplot()
    colours = [canvas.series(1), *[canvas.series(0)] * (len(values) - 1)]
    axes.barh(range(len(values)), [value for _, value in values], 0.7, color=colours)
    axes.set_yticks(range(len(values)), [name for name, _ in values])
    axes.invert_yaxis()
    axes.margins(y=0.01)
    if line is not None:
        axes.axvline(line, color=canvas.MUTED, linestyle="dashed")
    axes.set_xlabel(label)
    _dress(axes)
    return canvas.save(figure, path)


def draw_histogram(
    path: Path, values: npt.NDArray[np.float64], *, label: str, marks: Sequence[tuple[str, float]] = ()
) -> Path:
    """Draw how often values occur, on a logarithmic axis, with bounds to be seen beside them.

    Args:
        values: ``[N]``; those that are 0 count in the lowest bar.
        label: of the values.
        marks: name and place.
    """
    figure = canvas.sheet(6.4, 3.4)
    axes = figure.add_subplot()
    shown = np.maximum(np.asarray(values, np.float64), 0.5)
    top = max(float(shown.max()) if len(shown) else 1.0, *(place for _, place in marks), 1.0)
    axes.hist(shown, np.geomspace(0.5, 1.5 * top, 40).tolist(), color=canvas.series(0))
    for number, (name, place) in enumerate(marks, start=1):
        axes.axvline(place, color=canvas.series(number), linestyle="dashed", label=name)
    axes.set(xscale="log", xlabel=f"{label} (0 at the left end)", ylabel="how many")
    _dress(axes)
    return canvas.save(figure, path)


def draw_curve(
    path: Path, x: Sequence[float], curves: Sequence[tuple[str, Sequence[float]]], *, xlabel: str, title: str
) -> Path:
    """Draw curves over one axis."""
    figure = canvas.sheet(6.4, 3.6)
    axes = figure.add_subplot()
    for number, (name, values) in enumerate(curves):
        axes.plot(x[: len(values)], values, color=canvas.series(number), linewidth=1.5, label=name)
    axes.set(xlabel=xlabel, title=title)
    _dress(axes)
    return canvas.save(figure, path)


def draw_layers(path: Path, rows: Sequence[tuple[str, float, float]], gradients: Sequence[tuple[str, float]]) -> Path:
    """Draw for every layer the share of steps in which a neuron fires and that in which it fires as often as it can,
    and the gradient norm of every block.

    Args:
        rows: layer, share of outputs above 0, share at the largest.
        gradients: block, norm; none: they are not drawn.
    """
    figure = canvas.sheet(11.0 if gradients else 5.5, max(3.0, 0.7 + 0.17 * max(len(rows), len(gradients))))
    axes = figure.add_subplot(1, 2 if gradients else 1, 1)
    at = np.arange(len(rows))
    axes.barh(at, [row[1] for row in rows], 0.7, color=canvas.series(0), label="fires")
    axes.barh(at, [row[2] for row in rows], 0.7, color=canvas.series(1), label="fires as often as it can")
    axes.set_yticks(at, [row[0] for row in rows], fontsize=6)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.set(xlim=(0, 1), xlabel="share of outputs")
    _dress(axes)
    axes.tick_params(axis="y", labelsize=6)
    if not gradients:
        return canvas.save(figure, path)
    other = figure.add_subplot(1, 2, 2)
    at = np.arange(len(gradients))
    other.barh(at, [max(norm, 1e-12) for _, norm in gradients], 0.7, color=canvas.series(2))
    other.set_yticks(at, [name for name, _ in gradients], fontsize=6)
    other.invert_yaxis()
    other.margins(y=0.01)
    other.set(xscale="log", xlabel="norm of the gradient")
    _dress(other)
    return canvas.save(figure, path)


def _aspect(items: Sequence[Overlay]) -> float:
    return max((item.height / item.width for item in items), default=0.5)


def _dress(axes: Axes) -> None:
    canvas.darken(axes)
    axes.grid(color=canvas.FAINT, linewidth=0.5)
    axes.set_axisbelow(True)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, labelcolor=canvas.TEXT, facecolor=canvas.PANEL, edgecolor=canvas.FAINT)
