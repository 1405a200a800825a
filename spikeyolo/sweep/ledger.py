"""The books of a study that several controllers share: what counts towards its budget, and who runs which trial.

Every controller signs the trials it runs and gives a sign of life, so that the trials of one that died are put back,
and those of one that lives are left alone, on this machine and on others.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["Counts", "Ownership", "count", "retried_trials"]

# User attributes of a trial.
OWNER = "sweep:owner"
RETRY_OF = "sweep:retry_of"  # the number of the trial it takes over
ATTEMPT = "sweep:attempt"
ERROR = "sweep:error"
FOLDER = "sweep:folder"
RUN_ID = "sweep:run_id"  # of the observer
METRICS = "sweep:metrics"
# User attributes of the study.
SPACE = "sweep:space"
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
    read, never the clock.
    """

    def __init__(self) -> None:
        self.machine = _machine()
        pid = os.getpid()
        self.owner = f"{self.machine}|{pid}|{_start_time(pid)}|{uuid.uuid4().hex[:8]}"
        self._seen: dict[str, tuple[object, float]] = {}
        self._beat = 0
        self._last_beat = -BEAT_S

    def next_beat(self) -> tuple[str, int] | None:
        """The study attribute to write now, or None where the last sign of life is fresh."""
        if time.monotonic() - self._last_beat < BEAT_S:
            return None
        self._last_beat = time.monotonic()
        self._beat += 1
        return CONTROLLER + self.owner, self._beat

    @property
    def farewell(self) -> tuple[str, str]:
        """The study attribute that says this controller is done."""
        return CONTROLLER + self.owner, ENDED

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
        now = time.monotonic()
        last, since = self._seen.get(owner, (None, now))
        if beat != last or owner not in self._seen:
            self._seen[owner] = (beat, now)
            return True
        return now - since < SILENCE_S


def _machine() -> str:
    """Host, boot and process namespace: containers of one host may share its name and count processes alike."""
    parts = [socket.gethostname()]
    boot = Path("/proc/sys/kernel/random/boot_id")
    if boot.exists():
        parts.append(boot.read_text().strip()[:8])
    namespace = Path("/proc/self/ns/pid")
    if namespace.exists():
        parts.append(os.readlink(namespace).strip("pid:[]"))
    return "/".join(parts)


def _start_time(pid: int) -> str:
    """When a process started, or an empty text where there is none (or only its zombie)."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return ""
        return f"{process.create_time():.2f}"
    except psutil.NoSuchProcess:
        return ""
