"""A pool of workers on this machine: one process a trial, one device a worker, a free worker gets the next trial at
once. Talks to the warm server for starts and exits, and to every trial over a socket of its own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from spikeyolo.errors import SweepError
from spikeyolo.sweep.messages import (
    Completed,
    Ended,
    Event,
    Failed,
    Interrupted,
    Order,
    Outcome,
    PruneAsked,
    Pruned,
    Report,
    Started,
)
from spikeyolo.sweep.workers.job import CONSOLE, DETAIL_LINES
from spikeyolo.sweep.workers.server import WarmServer

__all__ = ["LocalPool"]

KILL_LIMIT_S = 10.0


@dataclass
class Worker:
    """A running trial."""

    slot: int
    connection: Connection | None
    deadline_s: float | None = None  # when it is interrupted; afterwards when it is killed
    late: bool = False
    pid: int | None = None
    folder: str = ""
    outcome: Outcome | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    reports: dict[int, float] = field(default_factory=dict)
    run_id: str | None = None
    logged: bool = False


class LocalPool:
    """Workers of this machine.

    Args:
        slots: the environment of each worker (its device).
        application: from :func:`spikeyolo.sweep.workers.job.pack_application`.
        preload: modules the warm server imports.
        log: where the server and trials without a folder yet write.
        trial_timeout_s: how long one trial may take; None for as long as it likes.
        grace_s: how long one that takes longer may clean up.
    """

    def __init__(
        self,
        *,
        slots: Sequence[Mapping[str, str]],
        application: Mapping[str, Any],
        preload: Sequence[str],
        log: Path,
        trial_timeout_s: float | None = None,
        grace_s: float = 10.0,
    ) -> None:
        self.slots = [dict(slot) for slot in slots]
        self._server = WarmServer(application=application, preload=preload, log=log)
        self._log = log
        self._trial_timeout_s = trial_timeout_s
        self._grace_s = grace_s
        self._later: list[Event] = []  # events of other trials, seen while one was killed
        self._workers: dict[int, Worker] = {}
        self._stopping = False

    @property
    def running(self) -> tuple[int, ...]:
        return tuple(self._workers)

    @property
    def free(self) -> int:
        return len(self.slots) - len(self._workers)

    @property
    def capacity(self) -> int:
        return len(self.slots)

    def warm_up(self) -> None:
        """Start the server, without waiting for its imports."""
        # Threads are counted when libraries load, so before the fork; the share is the same for all workers.
        self._server.warm_up({k: v for k, v in self.slots[0].items() if k != "CUDA_VISIBLE_DEVICES"})

    def start(self, order: Order) -> None:
        """Start a trial on a free worker.

        Raises:
            SweepError: the application cannot be imported, or no worker is free.
        """
        if not self.free:
            raise SweepError("no worker is free")
        if not self._server.ready:
            self.warm_up()
            self._server.wait()
        used = {worker.slot for worker in self._workers.values()}
        slot = next(i for i in range(len(self.slots)) if i not in used)
        here, there = socket.socketpair()
        deadline_s = None if self._trial_timeout_s is None else time.monotonic() + self._trial_timeout_s
        worker = Worker(slot=slot, connection=Connection(here.detach()), deadline_s=deadline_s)
        self._workers[order.number] = worker
        with contextlib.suppress(OSError):  # a server that died is seen by the next poll, which ends this trial
            self._server.send(("trial", order.number, self.slots[slot], order), (there.fileno(),))
        there.close()

    def poll(self, timeout_s: float) -> list[Event]:
        """What happened within ``timeout_s`` seconds; returns as soon as something did."""
        later, self._later = self._later, []
        return later + self._listen(0.0 if later else timeout_s)

    def _listen(self, timeout_s: float) -> list[Event]:
        line = self._server.line
        if line is None:
            return []
        self._stop_late()
        connections = {w.connection: n for n, w in self._workers.items() if w.connection is not None}
        events: list[Event] = []
        ready = wait([*connections, line], timeout_s)
        for connection in ready:
            if isinstance(connection, Connection):
                events += self._read(connections[connection])
        if line in ready:
            events += self._read_server()
        return events

    def _read(self, number: int) -> list[Event]:
        """Read the messages a trial has sent so far."""
        worker = self._workers[number]
        events: list[Event] = []
        try:
            while worker.connection is not None and worker.connection.poll():
                message = worker.connection.recv()
                kind = message[0]
                if kind == "started":
                    worker.folder = message[1]
                    events.append(Started(number, message[1]))
                elif kind == "report":
                    worker.reports.setdefault(message[2], message[1])
                    events.append(Report(number, message[1], message[2]))
                elif kind == "prune?":
                    events.append(PruneAsked(number))
                elif kind == "record":
                    worker.metrics.update(message[1])
                elif kind == "run":
                    worker.run_id = message[1]
                elif kind == "summary?":
                    worker.connection.send((worker.run_id, worker.metrics, worker.reports))
                elif kind == "logged":
                    worker.run_id, worker.logged = message[1], True
                elif kind == "completed":
                    worker.outcome = Completed(message[1])
                elif kind == "pruned":
                    worker.outcome = Pruned()
                elif kind == "interrupted":
                    worker.outcome = Interrupted()
                elif kind in ("failed", "crashed"):
                    worker.outcome = Failed(message[1], message[2], crashed=kind == "crashed")
        except (EOFError, OSError):
            assert worker.connection is not None
            worker.connection.close()
            worker.connection = None
        return events

    def _read_server(self) -> list[Event]:
        try:
            answer = self._server.receive()
        except (EOFError, OSError):
            return self._lose_server()
        if answer[0] == "forked":
            _, number, pid = answer
            if number in self._workers:
                self._workers[number].pid = pid
            return []
        _, number, status = answer
        return self._end(number, status) if number in self._workers else []

    def _end(self, number: int, status: int | None) -> list[Event]:
        events = self._read(number)
        worker = self._workers.pop(number)
        if worker.connection is not None:
            worker.connection.close()
        outcome = worker.outcome
        if worker.late and not isinstance(outcome, Completed | Pruned) and not self._stopping:
            outcome = Failed(f"the trial took longer than trial_timeout={self._trial_timeout_s:g} s")
        if outcome is None:
            outcome = Interrupted() if self._stopping else Failed(_cause(status), self._tail(worker), crashed=True)
        if self._stopping and isinstance(outcome, Failed):
            outcome = Interrupted()  # what a trial raises on its way out is not its own failure
        if isinstance(outcome, Failed) and not outcome.details:
            outcome = Failed(outcome.message, self._tail(worker), outcome.crashed)
        return [*events, Ended(number, outcome, worker.metrics, worker.run_id, worker.logged)]

    def _lose_server(self) -> list[Event]:
        """The server is gone, and its workers with it; the next start makes a new one."""
        events = [event for number in list(self._workers) for event in self._end(number, None)]
        self.close()
        return events

    def _tail(self, worker: Worker) -> str:
        path = Path(worker.folder, CONSOLE) if worker.folder else self._log
        try:
            lines = path.read_text(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return "\n".join(lines[-DETAIL_LINES:])

    def answer(self, number: int, prune: bool) -> None:
        """Answer a trial that asked whether to give up."""
        worker = self._workers.get(number)
        if worker is not None and worker.connection is not None:
            # One that died while asking needs no answer; its exit follows.
            with contextlib.suppress(OSError):
                worker.connection.send(prune)

    def _stop_late(self) -> None:
        """Interrupt trials whose time is over; kill those that do not stop."""
        now = time.monotonic()
        for worker in self._workers.values():
            if worker.deadline_s is None or now < worker.deadline_s or worker.pid is None:
                continue
            self._send_signal(worker, signal.SIGKILL if worker.late else signal.SIGINT)
            worker.late, worker.deadline_s = True, now + self._grace_s

    def kill(self, number: int) -> None:
        """Kill one trial and wait until it is gone; nothing is told of it any more."""
        deadline = time.monotonic() + KILL_LIMIT_S
        killed = False
        while number in self._workers and time.monotonic() < deadline:
            worker = self._workers[number]
            if worker.pid is not None and not killed:
                self._send_signal(worker, signal.SIGKILL)
                killed = True
            self._later += [event for event in self._listen(0.1) if event.number != number]

    def interrupt(self, grace_s: float) -> list[Event]:
        """Interrupt all trials, give them ``grace_s`` seconds to stop cleanly, then kill; returns how they ended."""
        self._stopping = True
        events: list[Event] = []
        self._signal(signal.SIGINT)
        deadline = time.monotonic() + grace_s
        while self._workers and time.monotonic() < deadline:
            events += self._polled_while_stopping(deadline - time.monotonic())
        self._signal(signal.SIGKILL)
        deadline = time.monotonic() + KILL_LIMIT_S
        while self._workers and time.monotonic() < deadline:
            events += self._polled_while_stopping(1.0)
        self._stopping = False
        return events

    def _polled_while_stopping(self, timeout_s: float) -> list[Event]:
        events = self.poll(max(0.0, timeout_s))
        for event in events:
            if isinstance(event, PruneAsked):
                self.answer(event.number, False)
        return [event for event in events if not isinstance(event, PruneAsked)]

    def _signal(self, number: signal.Signals) -> None:
        for worker in self._workers.values():
            self._send_signal(worker, number)

    def _send_signal(self, worker: Worker, number: signal.Signals) -> None:
        if worker.pid is not None and self._server.line is not None:
            with contextlib.suppress(OSError):  # the server is gone, and its workers with it
                self._server.send(("signal", worker.pid, number))

    def close(self) -> None:
        """Kill what still runs and end the server."""
        self._server.close()


def _cause(status: int | None) -> str:
    if status is None:
        return "the workers' server died and took the trial with it"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        hint = " (out of memory?)" if number == signal.SIGKILL else ""
        return f"the trial's process was killed by {signal.Signals(number).name}{hint}"
    return f"the trial's process ended with exit code {os.WEXITSTATUS(status)} and no result"
