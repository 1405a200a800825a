"""Which process is which, over machines, restarts and clocks that are set; and one at a time at a file."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from filelock import FileLock, Timeout


def machine() -> str:
    """Host, boot and process namespace: containers of one host may share its name and count processes alike."""
    parts = [socket.gethostname()]
    boot = Path("/proc/sys/kernel/random/boot_id")
    if boot.exists():
        parts.append(boot.read_text().strip()[:8])
    namespace = Path("/proc/self/ns/pid")
    if namespace.exists():
        parts.append(os.readlink(namespace).strip("pid:[]"))
    return "/".join(parts)


def start_time(pid: int) -> str:
    """When a process started, or an empty text where there is none (or only its zombie).

    In the kernel's ticks since boot: a time of day changes for all processes when the clock is set.
    """
    try:
        if Path("/proc/self/stat").exists():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            return "" if fields[0] in "ZX" else fields[19]
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except (OSError, psutil.NoSuchProcess):
        return ""


def identity() -> str:
    """This process, as :func:`is_gone` takes it."""
    return f"{machine()}|{os.getpid()}|{start_time(os.getpid())}"


def is_gone(process: str) -> bool:
    """Whether a process is known to have ended: on this machine, or before it was started anew.

    Nothing is known of other machines and of other containers.
    """
    where, _, rest = process.partition("|")
    pid, _, started = rest.partition("|")
    here = machine()
    if where == here:
        return pid.isdigit() and start_time(int(pid)) != started
    theirs, ours = where.split("/"), here.split("/")
    return len(theirs) == len(ours) == 3 and theirs[0] == ours[0] and theirs[1] != ours[1]


@contextmanager
def alone(file: Path, *, patience_s: float) -> Iterator[bool]:
    """Hold the lock of a file, ``.NAME.lock`` beside it, which is let go when its holder dies and removed at the end.

    Args:
        file: need not be there yet.
        patience_s: how long to wait for whoever holds it.

    Yields:
        False where another process holds it still; True also where nothing can be locked, as if there were no other.
    """
    lock = FileLock(file.with_name(f".{file.name}.lock"), timeout=patience_s)
    free = True
    try:
        lock.acquire()
    except Timeout:
        free = False
    except (OSError, NotImplementedError):
        pass
    try:
        yield free
    finally:
        if lock.is_locked:
            with suppress(OSError):
                Path(lock.lock_file).unlink()  # while it is held: who waited finds what was made
            lock.release()
