"""Converting many recordings at once: a process each, one report of what all of them are doing."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from spikeyolo.errors import SpikeyoloError
from spikeyolo.events.conversion.convert import Conversion, Progress, convert

_BYTES_A_WORKER = 16 << 20  # a process takes as long to start as so many bytes take to convert
_TRIES = 2
_END_S = 10.0


@dataclass(frozen=True)
class Outcome:
    """What became of one recording.

    Attributes:
        conversion: what was asked for.
        status: ``converted``, ``verified`` (was finished before), ``repaired`` or ``failed``.
        entry: of the manifest; empty where it failed.
        error: one sentence, where it failed.
    """

    conversion: Conversion
    status: str
    entry: dict[str, Any] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class Running:
    """A conversion under way: its place in the list, how many events it has written (-1: done), and the share of its
    file that they took."""

    index: int
    events: int
    share: float


@dataclass(frozen=True)
class _Crash:
    """An error that no user can cause, as a worker sends it."""

    trace: str


Watch = Callable[[Sequence[Running]], None]


def convert_all(
    conversions: Sequence[Conversion],
    *,
    workers: int | None,
    finished: Callable[[Outcome], None],
    watch: Watch | None = None,
) -> None:
    """Convert recordings in spawned processes; one that fails does not stop the others.

    A file whose process is killed is tried once more.

    Args:
        conversions: what to convert.
        workers: processes; 1 converts in this one, None takes as many as the files are worth, at most one a core.
        finished: called with each outcome, in the order they come; what it raises ends the work.
        watch: called now and then with what is under way.
    """
    workers = min(workers or _worth(conversions), len(conversions))
    if workers <= 1 or multiprocessing.current_process().daemon:  # a daemon may have no children
        for index, conversion in enumerate(conversions):
            finished(_attempt(conversion, _teller(index, watch)))
            if watch is not None:
                watch([Running(index, -1, 1.0)])
        return
    waiting, tries = deque(range(len(conversions))), Counter[int]()
    processes: dict[Connection, SpawnProcess] = {}
    busy: dict[Connection, int] = {}
    news: dict[int, Running] = {}

    def give(line: Connection) -> None:
        """The next conversion to the process behind this line, or its end."""
        if not waiting:
            line.close()
            processes.pop(line).join()
            return
        busy[line] = index = waiting.popleft()
        tries[index] += 1
        news[index] = Running(index, 0, 0.0)
        with suppress(OSError):  # killed while it waited: that is seen below
            line.send(conversions[index])

    def start() -> None:
        line, process = _start()
        processes[line] = process
        give(line)

    def done(index: int, outcome: Outcome) -> None:
        news[index] = Running(index, -1, 1.0)
        if watch is not None:
            watch(list(news.values()))
        del news[index]
        finished(outcome)

    try:
        for _ in range(workers):
            start()
        while busy:
            for line in wait(list(busy)):
                assert isinstance(line, Connection)
                try:
                    said = line.recv()
                except (EOFError, OSError):  # killed
                    index = busy.pop(line)
                    line.close()
                    processes.pop(line).join()
                    if tries[index] < _TRIES:
                        waiting.append(index)
                    else:
                        error = f"{_address(conversions[index])}: its process was killed twice (out of memory?)"
                        done(index, Outcome(conversions[index], "failed", error=error))
                    if waiting:
                        start()
                    continue
                if isinstance(said, _Crash):
                    raise RuntimeError(f"{_address(conversions[busy[line]])}: {said.trace}")
                if isinstance(said, Outcome):
                    done(busy.pop(line), said)
                    give(line)
                else:
                    index = busy[line]
                    news[index] = Running(index, *said)
                    if watch is not None:
                        watch(list(news.values()))
    finally:
        for line, process in processes.items():
            process.terminate()
            line.close()
        for process in processes.values():
            process.join(_END_S)
            process.kill()
            process.join()


def _worth(conversions: Sequence[Conversion]) -> int:
    """How many processes the files are worth, at most one a core."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    sources = [conversion.source for conversion in conversions]
    files = sum(source.size_bytes if source.folder is None else _BYTES_A_WORKER for source in sources)
    return min(cores, 1 + files // _BYTES_A_WORKER)


def _start() -> tuple[Connection, SpawnProcess]:
    context = multiprocessing.get_context("spawn")  # numba and zarr's threads do not survive a fork
    line, other = context.Pipe()
    process = context.Process(target=_work, args=(other,), daemon=True)
    process.start()
    other.close()
    return line, process


def _work(line: Connection) -> None:
    """Convert what comes over the line, until nothing comes or the other end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, who ends this process
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing half-written stays
    while True:
        try:
            conversion = line.recv()
        except (EOFError, OSError):
            return
        try:
            line.send(_attempt(conversion, lambda events, share: line.send((events, share))))
        except Exception:
            line.send(_Crash(traceback.format_exc()))


def _attempt(conversion: Conversion, progress: Progress | None) -> Outcome:
    try:
        status, entry = convert(conversion, progress=progress)
    except SpikeyoloError as error:
        return Outcome(conversion, "failed", error=str(error))
    return Outcome(conversion, status, entry)


def _teller(index: int, watch: Watch | None) -> Progress | None:
    return None if watch is None else lambda events, share: watch([Running(index, events, share)])


def _address(conversion: Conversion) -> str:
    return conversion.source.address(conversion.source.events)
