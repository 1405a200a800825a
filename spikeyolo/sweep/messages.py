"""What the parts of a sweep say to one another: a trial to run, what it reports on the way, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spikeyolo.sweep.report.observer import Observer

__all__ = [
    "Completed",
    "Ended",
    "Event",
    "Failed",
    "Interrupted",
    "Order",
    "Outcome",
    "PruneAsked",
    "Pruned",
    "Report",
    "Started",
    "state_of",
]


@dataclass(frozen=True)
class Order:
    """What one trial is to run."""

    number: int
    overrides: tuple[str, ...]
    params: dict[str, Any]
    trial_id: int = -1  # in the study's storage
    owner: str = ""
    observer: Observer | None = None

    @property
    def context(self) -> Mapping[str, str]:
        """What the observer gives every trial to know."""
        return self.observer.context if self.observer is not None else {}


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


def state_of(outcome: Outcome) -> str:
    """Optuna's name of a trial's state, or INTERRUPTED for one that is put back."""
    names: Mapping[type, str] = {Completed: "COMPLETE", Pruned: "PRUNED", Interrupted: "INTERRUPTED", Failed: "FAIL"}
    return names[type(outcome)]


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
class PruneAsked:
    """The trial waits to be told whether it is hopeless."""

    number: int


@dataclass(frozen=True)
class Ended:
    """The trial's process is gone."""

    number: int
    outcome: Outcome
    metrics: dict[str, float] = field(default_factory=dict)
    run_id: str | None = None  # of the observer
    logged: bool = False  # whether the trial's own process has shown the observer how it ended


Event = Started | Report | PruneAsked | Ended
