"""The books of a study that several controllers share: what counts towards its budget, and who runs which trial.

Every controller signs the trials it runs and gives a sign of life, so that the trials of one that died are put back,
and those of one that lives are left alone, on this machine and on others.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spikeyolo.processes import machine as _machine
from spikeyolo.processes import start_time as _start_time

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["Counts", "Heartbeat", "Ownership", "count", "retried_trials"]

# User attributes of a trial.
OWNER = "sweep:owner"
RETRY_OF = "sweep:retry_of"  # the number of the trial it takes over
ATTEMPT = "sweep:attempt"
ERROR = "sweep:error"
FOLDER = "sweep:folder"
RUN_ID = "sweep:run_id"  # of the observer
METRICS = "sweep:metrics"
OVERRIDES = "sweep:overrides"  # all of its job, those that every trial shares included
# User attributes of the study.
SPACE = "sweep:space"
CONFIGURATION = "sweep:configuration"  # what every trial shares: key → value, as text
SEED = "sweep:seed"  # of samplers that walk through one sequence
PARENT_RUN = "sweep:parent_run_id"  # of the observer
CONTROLLER = "sweep:controller:"  # one a controller: its count of signs of life
ENDED = "ended"

BEAT_S = 15.0
SILENCE_S = 60.0


@dataclass(frozen=True)
class Counts:
    """How many trials of the study are in which state; ``retried`` are failures that a later trial took over.

    What counts towards ``n_trials``: every trial that runs or has finished, unless a later one took its crash over.
    """

    complete: int = 0
    running: int = 0
    waiting: int = 0
    pruned: int = 0
    failed: int = 0
    retried: int = 0

    @property
    def finished(self) -> int:
        return self.complete + self.pruned + self.failed


def retried_trials(trials: Sequence[FrozenTrial]) -> set[int]:
    """Numbers of the trials that a later one took over."""
    return {trial.user_attrs[RETRY_OF] for trial in trials if RETRY_OF in trial.user_attrs}


def count(trials: Sequence[FrozenTrial]) -> Counts:
    """How many of these trials are in which state."""
    retried = retried_trials(trials)
    found = Counter(trial.state.name for trial in trials if trial.number not in retried)
    return Counts(
        complete=found["COMPLETE"],
        running=found["RUNNING"],
        waiting=found["WAITING"],
        pruned=found["PRUNED"],
        failed=found["FAIL"],
        retried=sum(trial.number in retried for trial in trials),
    )


class Ownership:
    """The identity of this controller, and its judgement of the others.

    Controllers of this machine are judged by their process; others by their signs of life, of which only the change is
    read, never the clock. Silence counts as far as this controller has watched it: not while the storage was away, nor
    while this one itself stood still.

    Args:
        machine: where this controller runs; found out where not given.
    """

    def __init__(self, machine: str | None = None) -> None:
        self.machine = machine or _machine()
        pid = os.getpid()
        self.owner = f"{self.machine}|{pid}|{_start_time(pid)}|{uuid.uuid4().hex[:8]}"
        self._watched: dict[str, _Watch] = {}
        self._lock = threading.Lock()  # the loop and the thread that gives signs of life both look
        self._beat = 0

    def next_beat(self) -> tuple[str, int]:
        """The study attribute that is this controller's next sign of life."""
        self._beat += 1
        return CONTROLLER + self.owner, self._beat

    @property
    def farewell(self) -> tuple[str, str]:
        """The study attribute that says this controller is done."""
        return CONTROLLER + self.owner, ENDED

    def watch(self, study_attributes: Mapping[str, Any]) -> None:
        """Look at the signs of life of all controllers."""
        for name, beat in study_attributes.items():
            if name.startswith(CONTROLLER) and beat != ENDED:
                self._silence(name.removeprefix(CONTROLLER), beat)

    def forget(self) -> None:
        """Begin to count silence anew: the storage could not be read, so the others could not write either."""
        with self._lock:
            self._watched.clear()

    def is_alive(self, owner: str | None, study_attributes: Mapping[str, Any]) -> bool:
        """Whether a trial's owner still runs it. A trial without an owner has none: it is signed under the lock."""
        if not owner:
            return False
        if owner == self.owner:
            return True
        beat = study_attributes.get(CONTROLLER + owner)
        if beat == ENDED:
            return False
        machine, pid, started, _ = [*owner.split("|"), "", "", ""][:4]
        if machine == self.machine:
            return _start_time(int(pid)) == started
        return self._silence(owner, beat) < SILENCE_S

    def _silence(self, owner: str, beat: object) -> float:
        """Seconds of unchanged signs of life that this controller has watched."""
        now = time.monotonic()
        with self._lock:
            seen = self._watched.get(owner)
            if seen is None or seen.beat != beat:
                seen = self._watched[owner] = _Watch(beat, now)
            # Signs are looked at every BEAT_S; a longer pause was this controller's own.
            seen.silence_s += min(now - seen.looked_s, 2 * BEAT_S)
            seen.looked_s = now
            return seen.silence_s


@dataclass
class _Watch:
    """What was seen of one controller."""

    beat: object
    looked_s: float
    silence_s: float = 0.0


class Heartbeat:
    """Calls ``beat`` every ``every_s`` seconds from a thread, also while the loop draws, waits or writes.

    Args:
        failures: what ``beat`` may raise while the storage is away.
        on_failure: called then.
    """

    def __init__(
        self,
        beat: Callable[[], None],
        *,
        failures: tuple[type[Exception], ...],
        on_failure: Callable[[], None],
        every_s: float = BEAT_S,
    ) -> None:
        self._beat, self._failures, self._on_failure, self._every_s = beat, failures, on_failure, every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweep-heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                self._beat()
            except self._failures:
                self._on_failure()
