"""Who looks on while a sweep runs: a tracking server that keeps the sweep as one run and every trial as its child."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Observer", "SweepRecord", "TrialRecord"]


@dataclass(frozen=True)
class TrialRecord:
    """A trial as its observer sees it.

    Attributes:
        run_id: the observer's run that the trial has begun itself, or None.
        state: COMPLETE, PRUNED, FAIL or INTERRUPTED.
        reports: step → value, as reported to the pruner.
    """

    number: int
    params: Mapping[str, Any]
    state: str
    run_id: str | None = None
    values: Sequence[float] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    reports: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SweepRecord:
    """A sweep at its end.

    Attributes:
        status: FINISHED, FAILED or KILLED.
        best_values: of the best trial, one per objective; empty where none completed.
        best_overrides: the best trial's parameters as overrides.
        best_runs: the observer's runs of the best trials.
        folder: of the sweep, with its results and figures.
    """

    status: str
    folder: Path
    best_values: Sequence[float] = ()
    best_overrides: str = ""
    best_runs: Sequence[str] = ()


class Observer(Protocol):
    """Keeps a sweep and its trials. It travels to the trials' processes, so it must be picklable."""

    @property
    def context(self) -> Mapping[str, str]:
        """What every trial is given to know, to make its own run a child of the sweep's."""
        ...

    def open(self, run_id: str | None, *, study_name: str, directions: Sequence[str], space: Mapping[str, str]) -> str:
        """Go on with the run of a resumed sweep, or begin one; returns its id.

        Args:
            space: parameter → its distribution in words.
        """
        ...

    def log_trial(self, trial: TrialRecord) -> str:
        """Keep a trial that has ended, from its own process; returns the id of its run."""
        ...

    def complete_trial(self, trial: TrialRecord, *, logged: bool) -> str | None:
        """Keep what the trial's process could not: all where it was killed, its state where the sweep judges otherwise.

        Args:
            logged: whether the trial's process has done its part.
        """
        ...

    def close(self, sweep: SweepRecord) -> None:
        """Keep the sweep's end: its best, its files."""
        ...
