"""A warm process that has imported the application (and torch, without starting CUDA) and forks one worker a trial.

The controller starts it with :func:`serve`, sends the application once, then one order a trial with the socket that the
worker will talk over. When the controller dies, its end of the line closes, and all workers are killed.

Where importing the application has started threads, a fork would copy the locks they hold and nobody would ever open
them; each worker is then a new process that imports the application itself.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import pickle
import select
import signal
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

__all__ = ["Unguarded", "receive", "refuse_if_imported", "send", "serve", "work"]

HEADER = struct.Struct("!I")
PR_SET_PDEATHSIG = 1
EXIT_LIMIT_S = 5.0
WORKER = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from spikeyolo.sweep.workers.forkserver import work
work()
"""
IMPORTING = "SPIKEYOLO_SWEEP_IMPORTING"  # in the environment: the process that imports the application for workers


class Unguarded(BaseException):
    """Importing the application has begun a sweep."""


def refuse_if_imported() -> None:
    """Called where a sweep begins.

    Raises:
        Unguarded: this process only imports the application; it would start workers that import it, without limit.
    """
    if os.environ.get(IMPORTING) == str(os.getpid()):
        raise Unguarded


def send(line: socket.socket, message: object, descriptors: tuple[int, ...] = ()) -> None:
    """Send one pickled message, with open files, over a stream socket."""
    body = pickle.dumps(message)
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    sent = line.sendmsg([HEADER.pack(len(body))], ancillary)
    line.sendall(HEADER.pack(len(body))[sent:] + body)


def receive(line: socket.socket) -> tuple[Any, list[int]]:
    """Receive one message and its open files.

    Raises:
        EOFError: the other end is gone.
    """
    descriptors: list[int] = []
    size = struct.calcsize("i")
    head, ancillary, _, _ = line.recvmsg(HEADER.size, socket.CMSG_LEN(4 * size))
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            received = array.array("i")
            received.frombytes(data[: len(data) - len(data) % size])
            descriptors += list(received)
    if not head:
        raise EOFError
    head += _exactly(line, HEADER.size - len(head))
    return pickle.loads(_exactly(line, HEADER.unpack(head)[0])), descriptors


def _exactly(line: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = line.recv(size - len(parts))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


def serve(descriptor: int) -> None:
    """Import what the controller names, then fork a worker for every order until the controller is gone.

    Orders are ``("trial", number, environment, payload)`` with one open file, and ``("signal", pid, signal)``.
    Answers are ``("ready", threads)``, ``("broken", trace)`` or ``("unguarded", script)``, then ``("forked", number,
    pid)`` and ``("exited", number, status)``.
    """
    line = socket.socket(fileno=descriptor)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    wake_read, wake_write = os.pipe()
    watched: list[Any] = [line, wake_read]
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    workers: dict[int, int] = {}  # process → trial
    try:
        recipe, _ = receive(line)
        run = _answer(line, recipe)
        alone = threading.active_count() == 1
        while True:
            ready, _, _ = select.select(watched, [], [])
            if wake_read in ready:
                os.read(wake_read, 4096)
                _reap(line, workers)
            if line not in ready:
                continue
            order, descriptors = receive(line)
            if order[0] == "signal":
                _, pid, number = order
                if pid in workers:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)
                    # Only a kill goes to the whole group: data loaders have no use for an interrupt.
                    if number == signal.SIGKILL:
                        with contextlib.suppress(ProcessLookupError):
                            os.killpg(pid, number)
                continue
            _, trial, environment, payload = order
            if alone:
                pid = _fork(line, (wake_read, wake_write), descriptors[0], environment, payload, run)
            else:
                pid = _spawn(descriptors[0], environment, recipe, payload)
            os.close(descriptors[0])
            workers[pid] = trial
            send(line, ("forked", trial, pid))
    except (EOFError, OSError):
        pass
    finally:
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)


def _answer(line: socket.socket, recipe: Any) -> Callable[[int, Any], None]:
    """Import the application and tell the controller how it went; returns what runs a trial."""
    try:
        run = _prepare(recipe)
    except Unguarded:
        send(line, ("unguarded", sys.argv[0]))
        raise EOFError from None
    except BaseException:
        send(line, ("broken", traceback.format_exc()))
        raise EOFError from None
    # What is here stays: forks then neither look through it for garbage nor copy its pages.
    gc.collect()
    gc.freeze()
    send(line, ("ready", [t.name for t in threading.enumerate() if t is not threading.main_thread()]))
    return run


def _prepare(recipe: Any) -> Callable[[int, Any], None]:
    """Import the application's main module and the modules named; returns what runs a trial."""
    preparation, modules, application = recipe
    from multiprocessing import spawn

    os.environ[IMPORTING] = str(os.getpid())
    try:
        # What multiprocessing does for its own workers: sys.path, argv, and the main module as __mp_main__.
        try:
            spawn.prepare(preparation)
        except SystemExit as error:  # Hydra's, of a script that runs when it is imported
            raise Unguarded from error
        for name in modules:
            importlib.import_module(name)
        from spikeyolo.sweep.workers.job import load_application

        return load_application(application)
    finally:
        os.environ.pop(IMPORTING, None)


def _fork(
    line: socket.socket,
    pipe: tuple[int, int],
    descriptor: int,
    environment: dict[str, str],
    payload: Any,
    run: Callable[[int, Any], None],
) -> int:
    server = os.getpid()
    pid = os.fork()
    if pid == 0:
        line.close()
        for end in pipe:
            os.close(end)
        os.environ.update(environment)
        _become_worker(server, lambda: run(descriptor, payload))
    return pid


def _spawn(descriptor: int, environment: dict[str, str], recipe: Any, payload: Any) -> int:
    """Start a worker as a new interpreter that reads its orders from a file in memory."""
    orders = os.memfd_create("orders")
    with os.fdopen(os.dup(orders), "wb") as file:
        pickle.dump((recipe, payload), file)
    os.lseek(orders, 0, os.SEEK_SET)
    try:
        for inherited in (orders, descriptor):
            os.set_inheritable(inherited, True)
        argv = [sys.executable, "-c", WORKER, json.dumps(sys.path), str(os.getpid()), str(descriptor), str(orders)]
        return os.posix_spawn(sys.executable, argv, {**os.environ, **environment})
    finally:
        os.close(orders)


def work() -> None:
    """A worker that was not forked: import the application, then run one order."""
    server, descriptor, orders = (int(text) for text in sys.argv[2:5])

    def run() -> None:
        with os.fdopen(orders, "rb") as file:
            recipe, payload = pickle.load(file)
        _prepare(recipe)(descriptor, payload)

    _become_worker(server, run)


def _reap(line: socket.socket, workers: dict[int, int]) -> None:
    for pid in list(workers):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            # Whatever the trial left running (data loaders) goes with it.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            send(line, ("exited", workers.pop(pid), status))


def _become_worker(server: int, run: Callable[[], None]) -> None:
    """Turn this process into a worker of its own session, run the trial, and leave without the server's clean-up."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setsid()
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != server:  # it died before the death signal was arranged
            os._exit(1)
        run()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        _leave(code)


def _leave(code: int) -> None:
    """What a normal exit of the interpreter does, in this process only, and not for longer than a few seconds: what the
    trial left running ends with its process group."""
    watchdog = threading.Timer(EXIT_LIMIT_S, os._exit, (code,))
    watchdog.daemon = True
    watchdog.start()
    with contextlib.suppress(Exception):
        threading._shutdown()  # type: ignore[attr-defined]
    with contextlib.suppress(Exception):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)
