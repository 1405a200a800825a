"""Converting many recordings at once: a process each, one report of what all of them are doing."""

from __future__ import annotations

import multiprocessing
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Any

from spikeyolo.errors import SpikeyoloError
from spikeyolo.events.conversion.convert import Conversion, Progress, convert

_POLL_S = 0.2


@dataclass(frozen=True)
class Outcome:
    """What became of one recording.

    Attributes:
        conversion: what was asked for.
        status: ``converted``, ``verified`` (was finished before), ``repaired`` or ``failed``.
        entry: for the manifest; empty where it failed.
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


Watch = Callable[[Sequence[Running]], None]


def convert_all(
    conversions: Sequence[Conversion],
    *,
    workers: int,
    finished: Callable[[Outcome], None],
    watch: Watch | None = None,
) -> None:
    """Convert recordings in spawned processes; one that fails does not stop the others.

    Args:
        conversions: what to convert.
        workers: processes; 1 converts in this one.
        finished: told each outcome, in the order they come.
        watch: told now and then what is under way.
    """
    if workers == 1 or len(conversions) == 1:
        for index, conversion in enumerate(conversions):
            finished(_attempt(conversion, _teller(index, watch)))
        return
    context = multiprocessing.get_context("spawn")  # numba and zarr's threads do not survive a fork
    reports = context.Queue()
    pool = ProcessPoolExecutor(
        min(workers, len(conversions)), mp_context=context, initializer=_begin, initargs=(reports, os.getpid())
    )
    stop = threading.Event()
    follower = threading.Thread(target=_follow, args=(reports, watch, stop), daemon=True)
    follower.start()
    try:
        tasks: dict[Future[Outcome], Conversion] = {
            pool.submit(_convert_in_worker, index, conversion): conversion
            for index, conversion in enumerate(conversions)
        }
        for task in as_completed(tasks):
            try:
                finished(task.result())
            except BrokenProcessPool:
                finished(Outcome(tasks[task], "failed", error="its process was killed (out of memory?)"))
    finally:
        pool.shutdown(cancel_futures=True)
        stop.set()
        follower.join()


def _attempt(conversion: Conversion, progress: Progress | None) -> Outcome:
    try:
        status, entry = convert(conversion, progress=progress)
    except SpikeyoloError as error:
        return Outcome(conversion, "failed", error=str(error))
    return Outcome(conversion, status, entry)


def _teller(index: int, watch: Watch | None) -> Progress | None:
    return None if watch is None else lambda events, share: watch([Running(index, events, share)])


class _Worker:
    """What a worker process knows of its pool."""

    reports: Any = None


def _begin(reports: Any, parent: int) -> None:
    _Worker.reports = reports
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """Do not outlive a parent that was killed."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _convert_in_worker(index: int, conversion: Conversion) -> Outcome:
    reports = _Worker.reports
    reports.put(Running(index, 0, 0.0))
    try:
        return _attempt(conversion, lambda events, share: reports.put(Running(index, events, share)))
    finally:
        reports.put(Running(index, -1, 1.0))


def _follow(reports: Any, watch: Watch | None, stop: threading.Event) -> None:
    running: dict[int, Running] = {}
    while not stop.is_set():
        try:
            news: Running = reports.get(timeout=_POLL_S)
        except queue.Empty:
            continue
        running[news.index] = news
        if watch is not None:
            watch(list(running.values()))
        if news.events < 0:
            del running[news.index]
