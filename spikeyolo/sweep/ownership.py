"""Who runs a trial: every controller signs the trials it runs and gives a sign of life, so that the trials of one that
died are put back, and those of one that lives are left alone, on this machine and on others.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

__all__ = ["BEAT_S", "CONTROLLER", "ENDED", "OWNER", "SILENCE_S", "Ownership"]

OWNER = "sweep:owner"  # user attribute of a trial
CONTROLLER = "sweep:controller:"  # user attribute of the study, one a controller: its count of signs of life
ENDED = "ended"
BEAT_S = 15.0
SILENCE_S = 60.0


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
