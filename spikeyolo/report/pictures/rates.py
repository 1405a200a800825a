"""Learning rates as pictures: over a training to come, and the losses that a range test found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spikeyolo.report.pictures import canvas


def draw_schedule(path: Path | str, rates: Sequence[float], *, epochs: int, title: str) -> Path:
    """Draw the learning rate of each update over epochs.

    Args:
        path: of the PNG; written whole or not at all.
        rates: one an update.
        epochs: of the training.
        title: of the picture.
    """
    figure = canvas.sheet(7.0, 3.4)
    axes = figure.subplots()
    axes.plot([epochs * at / len(rates) for at in range(len(rates))], rates, color=canvas.series(0), linewidth=1.6)
    axes.set(xlabel="epoch", ylabel="learning rate", title=title, xlim=(0, epochs), ylim=(0, None))
    canvas.darken(axes)
    axes.grid(color=canvas.FAINT, linewidth=0.5)
    return canvas.save(figure, path)


def draw_range_test(
    path: Path | str, rates: Sequence[float], losses: Sequence[float], *, fastest: float, least: float
) -> Path:
    """Draw the loss over the logarithm of the learning rate, with the two rates that were found.

    Args:
        path: of the PNG; written whole or not at all.
        rates, losses: one an update.
        fastest, least: rates where the loss falls fastest and where it is least.
    """
    figure = canvas.sheet(7.0, 4.0)
    axes = figure.subplots()
    axes.plot(rates, losses, color=canvas.series(0), linewidth=1.6)
    for index, (rate, label) in enumerate(((fastest, "falls fastest"), (least, "least"))):
        axes.axvline(rate, color=canvas.series(index + 1), linewidth=1.0, label=f"{label}: {rate:.2g}")
    low, high = min(losses), max(losses[: max(1, len(losses) // 4)])
    margin = 0.15 * (high - low) or 0.1 * abs(low) or 1.0
    axes.set(
        xlabel="learning rate", ylabel="loss", title="range test", xscale="log", ylim=(low - margin, high + margin)
    )
    canvas.darken(axes)
    axes.grid(color=canvas.FAINT, linewidth=0.5)
    axes.legend(fontsize=8, labelcolor=canvas.TEXT, facecolor=canvas.PANEL, edgecolor=canvas.FAINT)
    return canvas.save(figure, path)
