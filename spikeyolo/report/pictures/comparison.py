"""A comparison of runs for a person: a table on the terminal or in Markdown, and a forest plot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from spikeyolo.report.pictures import canvas


@dataclass(frozen=True)
class ComparedRow:
    """One configuration.

    Attributes:
        name: of its run, or of its first one.
        seeds: how many runs it stands for.
        figures: name → mean over the seeds.
        spread: standard deviation over the seeds of the compared figure; NaN with one.
        difference, low, high: to the first row, and its interval; NaN in the first row.
        verdict: ``better``, ``worse``, ``cannot be told with N recordings``; empty in the first row.
        over_recordings: low and high with the seeds held fixed; NaN in the first row.
    """

    name: str
    seeds: int
    figures: Mapping[str, float]
    spread: float
    difference: float = math.nan
    low: float = math.nan
    high: float = math.nan
    verdict: str = ""
    over_recordings: tuple[float, float] = (math.nan, math.nan)


def cells(rows: Sequence[ComparedRow], metric: str, settings: Mapping[str, Sequence[Any]]) -> list[list[str]]:
    """The comparison as text: the head first, then a line a row."""
    names = [name for name in rows[0].figures if name != metric]
    lines = [["run", *settings, metric, "difference", "95 %", "verdict", *names]]
    for index, row in enumerate(rows):
        own = f"{row.figures[metric]:.3f}"
        if row.seeds > 1:
            own += f" ± {row.spread:.3f} ({row.seeds} seeds)"
        interval = "" if math.isnan(row.low) else f"{row.low:+.3f} … {row.high:+.3f}"
        difference = "" if math.isnan(row.difference) else f"{row.difference:+.3f}"
        values = [_text(values[index]) for values in settings.values()]
        lines.append(
            [
                row.name,
                *values,
                own,
                difference,
                interval,
                row.verdict or "held against",
                *(_figure(row.figures[name]) for name in names),
            ]
        )
    return lines


def print_table(lines: Sequence[Sequence[str]], *, width: int | None = None) -> str:
    """A table for a terminal."""
    table = Table(*lines[0], box=None, pad_edge=False, header_style="bold")
    for line in lines[1:]:
        table.add_row(*line)
    console = Console(width=width or 1000, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """The same in Markdown."""
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    rows = [f"| {' | '.join(line)} |" for line in escaped]
    return "\n".join([rows[0], "|" + "---|" * len(lines[0]), *rows[1:]]) + "\n"


def draw_forest(path: Path | str, rows: Sequence[ComparedRow], metric: str, *, confidence: float) -> Path:
    """Draw the difference of each row to the first with its interval.

    Args:
        path: of the PNG; written whole or not at all.
        rows: at least two; the first is the one that the others are held against.
        metric: what the difference is of.
        confidence: of the intervals.
    """
    others = rows[1:]
    figure = canvas.sheet(7.0, 1.6 + 0.42 * len(others))
    axes = figure.add_subplot()
    canvas.darken(axes)
    axes.axvline(0, color=canvas.MUTED, linewidth=1.0, linestyle="dashed")
    for height, row in enumerate(others):
        colour = {"better": canvas.series(0), "worse": canvas.series(1)}.get(row.verdict, canvas.MUTED)
        if not math.isnan(row.low):
            axes.plot([row.low, row.high], [height, height], color=colour, linewidth=2.0, solid_capstyle="butt")
        axes.plot([row.difference], [height], color=colour, marker="s", markersize=6, linestyle="none")
        axes.annotate(
            f"{row.difference:+.3f}  {row.verdict}",
            (row.difference, height),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            color=canvas.TEXT,
            fontsize=7,
        )
    axes.set_yticks(range(len(others)), [row.name for row in others])
    axes.set_ylim(len(others) - 0.4, -0.7)
    axes.margins(x=0.15)
    axes.set(
        xlabel=f"difference of {metric}, {100 * confidence:g} % interval",
        title=f"held against {rows[0].name}",
    )
    axes.grid(color=canvas.FAINT, linewidth=0.5, axis="x")
    return canvas.save(figure, path)


def _text(value: Any) -> str:
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _figure(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
