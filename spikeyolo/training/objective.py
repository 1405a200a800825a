"""Which figures a run can have: a sweep's wishes are held against them before training and read from them after it."""

from __future__ import annotations

import difflib
import logging
import math
from collections.abc import Iterable, Mapping, Sequence

from spikeyolo.errors import ConfigError

log = logging.getLogger(__name__)


def known_figures(judged: Iterable[str], costs: Iterable[str]) -> list[str]:
    """Names that ``metrics.json`` will hold, but for the loss terms of the last epoch (``last/train/…``).

    Args:
        judged: figures as the evaluator names them.
        costs: of energy and latency.
    """
    judged = list(judged)
    of_epochs = [f"{prefix}val/{name}" for prefix in ("", "last/") for name in judged]
    return [*of_epochs, *costs, "best_epoch", "epochs", "seconds_per_epoch", "warm_up_seconds", "data_wait_share"]


def check(names: Iterable[str], *, known: Sequence[str], key: str = "objective") -> None:
    """Refuse a figure that no run has, before training.

    Raises:
        ConfigError: names the key, the figure, and the nearest of the known ones.
    """
    for name in names:
        if name not in known and not name.startswith("last/train/"):
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(known)}"
            raise ConfigError(f"{key}: found {name!r}, which no run has; {hint}")


def chosen(figures: Mapping[str, float], names: Sequence[str]) -> float | tuple[float, ...]:
    """The figure that a sweep asked for, or several of them; one that validation leaves undefined is NaN, and said.

    Raises:
        ConfigError: a figure of that name does not exist.
    """
    for name in names:
        if name not in figures:
            raise ConfigError(f"objective: found {name!r}; expected one of {', '.join(sorted(figures))}")
        if math.isnan(figures[name]):
            log.warning("objective: %s is not defined for this run (no true box counts for it), so it is NaN", name)
    values = tuple(float(figures[name]) for name in names)
    return values if len(values) > 1 else values[0]
