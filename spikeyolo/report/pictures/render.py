"""A picture of what the detector sees: events of several windows with true and predicted boxes over them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from spikeyolo.events.types import Boxes, Detections
from spikeyolo.report.pictures import canvas
from spikeyolo.report.pictures.labels import label_corners

_COLOURS = 4  # of classes that the legend has room for


@dataclass(frozen=True, eq=False)
class RenderedWindow:
    """One tile of the picture.

    Attributes:
        frames: ``[T, 2, H, W]`` uint8, how much OFF and ON, as the encoder's ``off_on`` says of its frames.
        truth: in px of the frame.
        detections: in px of the frame.
        title: a few words above the tile.
    """

    frames: npt.NDArray[np.uint8]
    truth: Boxes
    detections: Detections
    title: str = ""


def render_windows(
    path: Path | str,
    items: Sequence[RenderedWindow],
    *,
    classes: Sequence[str],
    confidence: float = 0.25,
    columns: int = 4,
) -> Path:
    """Draw the windows as tiles of one PNG: truth dashed with its class, predictions solid with class and score.

    Args:
        path: of the PNG; written whole or not at all.
        items: at least one window.
        classes: names, in the order of class ids.
        confidence: detections with a lower score are not drawn.
        columns: the most tiles side by side.

    Returns:
        The path.
    """
    columns = max(1, min(columns, len(items)))
    rows = max(1, math.ceil(len(items) / columns))
    height, width = items[0].frames.shape[-2:] if items else (1, 1)
    tile_width = 3.4
    tile_height = float(np.clip(tile_width * height / width, 1.5, 6.8)) + 0.3
    figure = canvas.sheet(columns * tile_width, rows * tile_height + 0.4)
    for position, item in enumerate(items, start=1):
        axes = figure.add_subplot(rows, columns, position)
        canvas.darken(axes)
        axes.set_xticks([])
        axes.set_yticks([])
        _draw(axes, item, confidence)
    shown = {int(item.detections.class_id[row]) for item in items for row in _shown(item.detections, confidence)}
    _explain(figure, confidence, sorted(shown) or [0])
    figure.canvas.draw()  # only now the tiles have their size, which labels are laid out in
    figure.set_layout_engine("none")
    for axes, item in zip(figure.axes, items, strict=True):
        _label(axes, item, classes, confidence)
    return canvas.save(figure, path)


def event_image(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """OFF and ON of all time steps as colours on dark, ``[T, 2, H, W]`` → ``[H, W, 3]`` in 0..1; later steps brighter.

    Raises:
        ValueError: the channels are not OFF and ON alone.
    """
    steps, channels = frames.shape[:2]
    if channels != 2:
        raise ValueError(f"frames: found {channels} channels; expected 2, OFF and ON")
    freshness = np.linspace(0.5, 1.0, steps) if steps > 1 else np.ones(1)
    off, on = np.einsum("t,tchw->chw", freshness, frames.astype(np.float64))
    image = np.empty((*off.shape, 3))
    image[:] = to_rgb(canvas.BACKGROUND)
    busy = (off + on)[(off + on) > 0]
    full = max(float(np.percentile(busy, 95)), 1e-9) if busy.size else 1.0
    for count, colour in ((off, canvas.OFF), (on, canvas.ON)):
        strength = np.sqrt(np.clip(count / full, 0, 1))[..., None]
        image += strength * (np.asarray(to_rgb(colour)) - to_rgb(canvas.BACKGROUND))
    return np.clip(image, 0, 1)


def _draw(axes: Axes, item: RenderedWindow, confidence: float) -> None:
    height, width = item.frames.shape[-2:]
    axes.imshow(event_image(item.frames), interpolation="nearest", extent=(0, width, height, 0))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    if item.title:
        axes.set_title(item.title, color=canvas.TEXT, fontsize=8)
    for box in item.truth.xyxy:
        _frame(axes, box, color=canvas.TRUTH, linestyle=(0, (3, 2)), linewidth=1.0)
    for row in _shown(item.detections, confidence)[::-1]:  # the best last, on top
        colour = canvas.series(int(item.detections.class_id[row]))
        _frame(axes, item.detections.xyxy[row], color=colour, linestyle="solid", linewidth=1.5)


def _shown(found: Detections, confidence: float) -> npt.NDArray[np.intp]:
    """Rows of the detections that are drawn, the best first."""
    rows = np.flatnonzero(found.score >= confidence)
    return rows[np.argsort(-found.score[rows], kind="stable")]


def _label(axes: Axes, item: RenderedWindow, classes: Sequence[str], confidence: float) -> None:
    """Write the class of each box (and the score of each prediction) where it covers no other label."""
    height, width = item.frames.shape[-2:]
    found, rows = item.detections, _shown(item.detections, confidence)
    words = [f"{_name(classes, found.class_id[row])} {found.score[row]:.2f}" for row in rows]
    words += [_name(classes, class_id) for class_id in item.truth.class_id]
    if not words:
        return
    colours = [canvas.series(int(found.class_id[row])) for row in rows] + [canvas.TRUTH] * len(item.truth)
    texts = [
        axes.text(0, 0, word, color=colour, fontsize=6.5, va="top", ha="left", clip_on=True)
        for word, colour in zip(words, colours, strict=True)
    ]
    to_px = axes.transData.inverted()
    extents = [np.abs(np.diff(to_px.transform(text.get_window_extent().get_points()), axis=0))[0] for text in texts]
    corners = label_corners(
        np.concatenate((found.xyxy[rows], item.truth.xyxy)),
        np.stack(extents),
        width=width,
        height=height,
        below=np.arange(len(texts)) >= len(rows),
    )
    for text, corner in zip(texts, corners, strict=True):
        text.set_position((float(corner[0]), float(corner[1])))
        text.set_path_effects([patheffects.withStroke(linewidth=2, foreground=canvas.BACKGROUND)])


def _name(classes: Sequence[str], class_id: int) -> str:
    return classes[class_id] if class_id < len(classes) else f"class {class_id}"


def _frame(axes: Axes, xyxy: npt.NDArray[np.float32], **style: Any) -> None:
    left, top, right, bottom = (float(value) for value in xyxy)
    axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, **style))


def _explain(figure: Any, confidence: float, shown: Sequence[int]) -> None:
    """The legend: predictions have the colours of the classes that are shown, side by side."""
    colours = list(dict.fromkeys(map(canvas.series, shown)))[:_COLOURS]
    signs = {
        "truth": Line2D([], [], color=canvas.TRUTH, linestyle=(0, (3, 2)), linewidth=1.0),
        f"prediction, score from {confidence:.2f}": tuple(
            Line2D([], [], color=colour, linewidth=1.5) for colour in colours
        ),
        "ON events": Line2D([], [], color=canvas.ON, marker="s", linestyle="none", markersize=5),
        "OFF events": Line2D([], [], color=canvas.OFF, marker="s", linestyle="none", markersize=5),
    }
    figure.legend(
        list(signs.values()),
        list(signs),
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0.0)},
        loc="outside lower center",
        ncols=4,
        fontsize=8,
        frameon=False,
        labelcolor=canvas.TEXT,
    )
