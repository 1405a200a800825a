"""How a trial ended, and what it told on the way: the words between an executor and the sweep's loop."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Completed", "Ended", "Failed", "Interrupted", "Outcome", "Pruned", "Report", "Started"]


@dataclass(frozen=True)
class Completed:
    """The task function returned what it should: one number per objective."""

    values: tuple[float, ...]


@dataclass(frozen=True)
class Pruned:
    """The trial was given up as hopeless; not a failure."""


@dataclass(frozen=True)
class Interrupted:
    """The trial was stopped from outside (Ctrl-C, the time limit of a node) and is put back."""


@dataclass(frozen=True)
class Failed:
    """The trial raised, returned no number, or its process died (``crashed``, which may be retried)."""

    message: str
    details: str = ""  # the last lines of the trace or of the console
    crashed: bool = False


Outcome = Completed | Pruned | Interrupted | Failed


@dataclass(frozen=True)
class Started:
    """The trial's process has its configuration and its folder."""

    number: int
    folder: str


@dataclass(frozen=True)
class Report:
    """An intermediate value of the first objective after a step (an epoch)."""

    number: int
    value: float
    step: int


@dataclass(frozen=True)
class Ended:
    """The trial's process is gone."""

    number: int
    outcome: Outcome
    metrics: dict[str, float] = field(default_factory=dict)
    run_id: str | None = None  # of MLflow
    logged: bool = False  # whether the trial itself wrote its state there
