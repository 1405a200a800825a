"""What a person sees of converting recordings: bars while it goes, a table and pictures afterwards."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TextIO

import numpy as np
import numpy.typing as npt
from rich.console import Console as RichConsole
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from spikeyolo.events.types import Boxes

_LINE_INTERVAL_S = 15.0


class Running(Protocol):
    """A recording under way: its place in the list, its events so far (-1: done), and the share of its file read."""

    @property
    def index(self) -> int: ...
    @property
    def events(self) -> int: ...
    @property
    def share(self) -> float: ...


class View(Protocol):
    """A stretch of a recording to be drawn: ``[2, H, W]`` counts of OFF and ON events, boxes, and its time, µs."""

    @property
    def counts(self) -> npt.NDArray[np.uint8]: ...
    @property
    def boxes(self) -> Boxes: ...
    @property
    def start_us(self) -> int: ...
    @property
    def end_us(self) -> int: ...


class ConversionBars:
    """One bar for all recordings, one for each that is under way; plain lines where nobody watches a terminal."""

    def __init__(self, names: Sequence[str], *, stream: TextIO | None = None) -> None:
        self._names = list(names)
        self._console = RichConsole(file=sys.stderr if stream is None else stream, highlight=False)
        self._live = self._console.is_terminal and not self._console.is_dumb_terminal
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}"),
            console=self._console,
            transient=True,
            disable=not self._live,
        )
        self._whole = self._bars.add_task("recordings", total=len(self._names), text=f"0/{len(self._names)}")
        self._tasks: dict[int, TaskID] = {}
        self._began: dict[int, float] = {}
        self._done = 0
        self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def watch(self, running: Sequence[Running]) -> None:
        """Show what is under way."""
        for item in running:
            if item.events < 0:
                if item.index in self._tasks:
                    self._bars.remove_task(self._tasks.pop(item.index))
                continue
            if item.index not in self._tasks:
                self._tasks[item.index] = self._bars.add_task(f"  {self._names[item.index]}", total=1.0, text="")
                self._began[item.index] = time.monotonic()
            seconds = max(time.monotonic() - self._began[item.index], 1e-3)
            text = f"{item.events / 1e6:.1f} M events, {item.events / 1e6 / seconds:.1f} M a second"
            self._bars.update(self._tasks[item.index], completed=item.share, text=text)
        if not self._live and time.monotonic() - self._last_line > _LINE_INTERVAL_S:
            self._last_line = time.monotonic()
            busy = ", ".join(
                f"{self._names[item.index]} {item.events / 1e6:.1f} M ({100 * item.share:.0f} %)" for item in running
            )
            self._console.print(f"{self._done}/{len(self._names)} recordings; events so far: {busy}", soft_wrap=True)

    def finished(self, name: str, status: str, detail: str) -> None:
        """Count a recording as done; say so in a line where it matters."""
        self._done += 1
        self._bars.update(self._whole, completed=self._done, text=f"{self._done}/{len(self._names)}")
        if self._done == len(self._names):
            for task in self._tasks.values():
                self._bars.remove_task(task)
            self._tasks.clear()
        if status == "failed" or not self._live:
            self._console.print(
                f"{self._done}/{len(self._names)} {name}: {status} {detail}".rstrip(), markup=False, soft_wrap=True
            )


def print_table(rows: Sequence[tuple[str, str, Mapping[str, Any]]], *, stream: TextIO | None = None) -> None:
    """A line a recording, and a line for all: what it is, how it ended, what it holds.

    Args:
        rows: name, status and manifest entry of each.
        stream: where to; the output stream by default.
    """
    table = Table(title=None, header_style="bold")
    for heading in ("recording", "status", "from", "sensor"):
        table.add_column(heading)
    for heading in ("events", "cleaned", "filtered", "from s", "span s", "boxes", "dropped"):
        table.add_column(heading, justify="right")
    events = cleaned = filtered = kept = dropped = 0
    for name, status, entry in rows:
        if not entry:
            table.add_row(name, status)
            continue
        left_out = dropped_boxes(entry["boxes"])
        events += entry["events"]
        cleaned += sum(cleaned_events(entry.get("event_counts", {})).values())
        filtered += sum(filtered_events(entry.get("filter_counts", {})).values())
        kept += entry["boxes"].get("kept", 0)
        dropped += sum(left_out.values())
        table.add_row(
            name,
            status,
            str(entry["source_format"] or "-"),
            f"{entry['width']}x{entry['height']}",
            f"{entry['events']:,}",
            ", ".join(f"{rule} {count:,}" for rule, count in cleaned_events(entry.get("event_counts", {})).items()),
            ", ".join(f"{name} {count:,}" for name, count in filtered_events(entry.get("filter_counts", {})).items()),
            f"{(entry.get('time_offset_us', 0) + entry['start_us']) / 1e6:.6f}",
            f"{(entry['end_us'] - entry['start_us']) / 1e6:.3f}",
            str(entry["boxes"].get("kept", 0)) if entry["labelled"] else "-",
            ", ".join(f"{rule} {count}" for rule, count in left_out.items()),
        )
    if len(rows) > 1:
        table.add_section()
        totals = (str(cleaned or ""), str(filtered or ""))
        table.add_row(f"{len(rows)} recordings", "", "", "", f"{events:,}", *totals, "", "", str(kept), str(dropped))
    console = RichConsole(file=sys.stdout if stream is None else stream, highlight=False)
    if not console.is_terminal:
        console.width = 200  # a file has no edge to fold lines at
    console.print(table)


def cleaned_events(counts: Mapping[str, int]) -> dict[str, int]:
    """How many events each rule left out or lifted."""
    return {name: counts[name] for name in ("outside_sensor", "stepped_back") if counts.get(name)}


def filtered_events(counts: Mapping[str, int]) -> dict[str, int]:
    """How many events each filter left out."""
    names = ("outside_time_range", "outside_region", "on_hot_pixels", "background_activity")
    return {name: counts[name] for name in names if counts.get(name)}


def dropped_boxes(counts: Mapping[str, int]) -> dict[str, int]:
    """How many boxes each rule left out."""
    return {name.removeprefix("dropped_"): count for name, count in counts.items() if name.startswith("dropped_")}


def draw_preview(path: Path, views: Sequence[View], *, classes: Sequence[str], title: str) -> Path:
    """Draw stretches of a recording as tiles of one PNG, boxes in the colours of their classes.

    Args:
        path: of the PNG; written whole or not at all.
        views: at least one.
        classes: names, in the order of class ids.
        title: above the picture.
    """
    from matplotlib.patches import Rectangle

    from spikeyolo.report.pictures import canvas
    from spikeyolo.report.pictures.render import event_image

    height, width = views[0].counts.shape[-2:]
    figure = canvas.sheet(3.6 * len(views), 3.6 * height / width + 0.7)
    figure.suptitle(title, color=canvas.TEXT, fontsize=9)
    for position, view in enumerate(views, start=1):
        axes = figure.add_subplot(1, len(views), position)
        canvas.darken(axes)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.imshow(event_image(view.counts[None]), interpolation="nearest", extent=(0, width, height, 0))
        seconds = (view.end_us - view.start_us) / 1e6
        axes.set_title(f"{view.end_us / 1e6:.3f} s, the last {seconds * 1e3:.1f} ms", color=canvas.TEXT, fontsize=8)
        for (left, top, right, bottom), k in zip(view.boxes.xyxy, view.boxes.class_id):
            colour = canvas.series(int(k))
            axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, color=colour, linewidth=1.2))
            axes.text(left, top, classes[k], color=colour, fontsize=7, va="bottom", clip_on=True)
    return canvas.save(figure, path)
