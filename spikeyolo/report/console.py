"""What a person sees of a run: a live bar on a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, TextIO

from annotated_types import Gt
from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

KNOWN_AFTER_S, KNOWN_AFTER_ITEMS = 3.0, 2  # since the first: before, nothing tells how long the rest takes

Advance = Callable[[str], None]
Stages = Callable[[int, int | None, str], None]


class Console:
    """Progress of one run, on the error stream, so that results on the output stream stay clean.

    Args:
        stream: where to write; by default the error stream as it is when the object is made.
        line_interval_s: off a terminal, at least this much time passes between two lines of one stretch of work.
    """

    def __init__(self, *, stream: TextIO | None = None, line_interval_s: Annotated[float, Gt(0)] = 15.0) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._rich = RichConsole(file=self._stream, highlight=False)
        self._line_interval_s = line_interval_s

    @property
    def live(self) -> bool:
        """Whether a person watches a terminal that can redraw a line."""
        return self._rich.is_terminal and not self._rich.is_dumb_terminal

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Advance]:
        """Follow ``total`` steps: call what is yielded after each, with a few words (such as losses) or none."""
        with self.stages(label) as tell:
            done = 0

            def advance(text: str = "") -> None:
                nonlocal done
                done += 1
                tell(done, total, text)

            yield advance

    @contextmanager
    def stages(self, label: str) -> Iterator[Stages]:
        """Follow work whose amount is known only once it goes: call what is yielded with done, total (None where
        nobody knows) and a few words.

        Nothing is shown unless it is called.
        """
        if not self.live:
            yield self._plain_lines(label)
            return
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}"),
            console=self._rich,
            transient=True,
            refresh_per_second=4,
        )
        with bar, log_lines_above(self._stream):
            task = None

            def tell(done: int, total: int | None, text: str) -> None:
                nonlocal task
                if task is None:
                    task = bar.add_task(label, total=total, text=text)
                bar.update(task, completed=done, total=total, text=text)

            yield tell

    def epoch_line(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """One line for an epoch that is over, such as ``epoch 3  train/loss 1.92  val/map50 0.41``."""
        self.line("  ".join([f"epoch {epoch}", *(f"{name} {brief(value)}" for name, value in metrics.items())]))

    def line(self, text: str) -> None:
        """One line of plain text."""
        print(text, file=self._stream, flush=True)

    def _plain_lines(self, label: str) -> Stages:
        last = time.monotonic()
        first: tuple[float, int] | None = None  # before it lies what is done once, such as compilation

        def tell(done: int, total: int | None, text: str) -> None:
            nonlocal first, last
            now = time.monotonic()
            if first is None and done:
                first = (now, done)
            if now - last < self._line_interval_s:
                return
            last = now
            of = ""
            if total is not None:
                passed, since = (now - first[0], done - first[1]) if first else (0.0, 0)
                known = passed >= KNOWN_AFTER_S and since >= KNOWN_AFTER_ITEMS
                of = f"/{total}, {brief_time(passed / since * (total - done))} left" if known else f"/{total}"
            self.line(f"{label}: {done}{of}{f'  {text}' if text else ''}")

        return tell


@contextmanager
def log_lines_above(stream: TextIO) -> Iterator[None]:
    """While a live bar has taken over the error stream, let log lines go through it instead of across the bar."""
    handlers = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream in (stream, sys.__stderr__, sys.__stdout__)
    ]
    before = [handler.setStream(sys.stderr) for handler in handlers]  # rich's own stream, which prints above the bar
    try:
        yield
    finally:
        for handler, former in zip(handlers, before):
            if former is not None:
                handler.setStream(former)


def brief(value: float) -> str:
    """A number in four significant figures."""
    return f"{value:.4g}"


def brief_time(seconds: float) -> str:
    """A time span such as ``42 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
