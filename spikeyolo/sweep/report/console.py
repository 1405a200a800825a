"""What one sees of a running sweep: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spikeyolo.sweep.messages import Completed, Failed, Interrupted, Outcome, Pruned
from spikeyolo.sweep.study.ledger import Counts

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

__all__ = ["SweepConsole"]

logger = logging.getLogger("spikeyolo.sweep")


class SweepConsole:
    """Shows trials done, running, pruned and failed, the best so far, and the time left.

    Args:
        n_trials: the budget.
        capacity: how many trials run at a time.
        line: writes parameters as overrides.
    """

    def __init__(self, *, n_trials: int, capacity: int, line: Callable[[Mapping[str, Any]], str]) -> None:
        self._n_trials = n_trials
        self._capacity = capacity
        self._line = line
        self._counts = Counts()
        self._best: tuple[int, Sequence[float], Mapping[str, Any]] | None = None
        self._running: dict[int, tuple[float, str]] = {}
        self._durations: list[float] = []
        self._begun = time.monotonic()
        self._live: Live | None = None

    def open(self) -> None:
        if sys.stdout.isatty():
            from rich.live import Live

            self._live = Live(get_renderable=self._table, refresh_per_second=2, transient=False)
            self._live.start()

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def say(self, text: str, *, level: int = logging.INFO) -> None:
        """One message above the table, or one line."""
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False)
        else:
            logger.log(level, "%s", text)

    def update(self, counts: Counts, best: tuple[int, Sequence[float], Mapping[str, Any]] | None) -> None:
        self._counts, self._best = counts, best

    def begun(self, number: int, params: Mapping[str, Any]) -> None:
        self._running[number] = (time.monotonic(), "")
        if self._live is None:
            logger.info("trial %d: %s", number, self._line(params) or "(no parameters)")

    def reported(self, number: int, value: float, step: int) -> None:
        if number in self._running:
            self._running[number] = (self._running[number][0], f"step {step}: {value:.4g}")

    def ended(self, number: int, outcome: Outcome, folder: str, retried: bool) -> None:
        begun, _ = self._running.pop(number, (time.monotonic(), ""))
        duration = time.monotonic() - begun
        if isinstance(outcome, Completed):
            self._durations.append(duration)
            self.say(f"trial {number}: {_values(outcome.values)} after {_time(duration)}; {self._progress()}")
        elif isinstance(outcome, Pruned):
            self._durations.append(duration)
            self.say(f"trial {number}: pruned after {_time(duration)}; {self._progress()}")
        elif isinstance(outcome, Interrupted):
            self.say(f"trial {number}: interrupted and put back")
        elif isinstance(outcome, Failed):
            again = "; its parameters run again" if retried else ""
            self.say(f"trial {number} failed: {outcome.message}{again}; its folder: {folder or '(none yet)'}")
            if outcome.details:
                self.say("\n".join(f"    {line}" for line in outcome.details.splitlines()))

    def dropped(self, number: int) -> None:
        self._running.pop(number, None)
        self.say(f"trial {number}: this controller stood still, another has taken it over", level=logging.WARNING)

    def _progress(self) -> str:
        text = f"{self._counts.finished} of {self._n_trials} done"
        if self._best is not None:
            text += f", best {_values(self._best[1])} (trial {self._best[0]})"
        left = self.time_left()
        return text + (f", about {_time(left)} left" if left else "")

    def time_left(self) -> float | None:
        """Seconds until the budget is spent, from the mean length of this run's trials; None before the first."""
        if not self._durations:
            return None
        left = max(0, self._n_trials - self._counts.finished)
        return sum(self._durations) / len(self._durations) * left / max(1, self._capacity)

    def _table(self) -> RenderableType:
        from rich.table import Table

        counts = self._counts
        table = Table(title="sweep", title_justify="left", show_header=False)
        table.add_column(style="bold")
        table.add_column(overflow="fold")
        states = f"{counts.complete} complete, {counts.pruned} pruned, {counts.failed} failed"
        more = f", {counts.retried} retried" if counts.retried else ""
        table.add_row("trials", f"{counts.finished} of {self._n_trials}: {states}, {counts.running} running{more}")
        if self._best is not None:
            table.add_row("best", f"{_values(self._best[1])} (trial {self._best[0]})")
            table.add_row("", self._line(self._best[2]))
        left = self.time_left()
        elapsed = time.monotonic() - self._begun
        table.add_row("time", f"{_time(elapsed)}, about {_time(left)} left" if left is not None else _time(elapsed))
        for number, (begun, text) in sorted(self._running.items()):
            table.add_row(f"trial {number}", f"{_time(time.monotonic() - begun)}  {text}")
        return table


def _values(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.6g}" for value in values)


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
