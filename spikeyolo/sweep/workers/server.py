"""The controller's end of the line to the warm process that imports the application and forks the workers.

The other end is :mod:`spikeyolo.sweep.workers.forkserver`.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import spawn
from multiprocessing.connection import wait
from pathlib import Path
from typing import IO, Any

from spikeyolo.errors import SweepError
from spikeyolo.sweep.workers import forkserver

__all__ = ["WarmServer"]

START_LIMIT_S = 300.0
BOOT = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
descriptor = int(sys.argv[2])
from spikeyolo.sweep.workers.forkserver import serve
serve(descriptor)
"""

logger = logging.getLogger("spikeyolo.sweep")


class WarmServer:
    """A process that has imported the application; ended, it can be started anew.

    Args:
        application: from :func:`spikeyolo.sweep.workers.job.pack_application`.
        preload: modules it imports.
        log: where it writes.

    Attributes:
        line: to the process; None while there is none.
        ready: whether it has imported the application.
    """

    def __init__(self, *, application: Mapping[str, Any], preload: Sequence[str], log: Path) -> None:
        self.line: socket.socket | None = None
        self.ready = False
        self._application = dict(application)
        self._preload = list(preload)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def warm_up(self, environment: Mapping[str, str]) -> None:
        """Start the process with these variables too, without waiting for its imports."""
        if self._process is not None:
            return
        here, there = socket.socketpair()
        command = [sys.executable, "-c", BOOT, json.dumps([p or os.getcwd() for p in sys.path]), str(there.fileno())]
        with self._open_log() as log:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **environment},
                pass_fds=[there.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C on the terminal is the controller's to handle
            )
        there.close()
        self.line = here
        preparation = {k: v for k, v in spawn.get_preparation_data("trial").items() if k != "authkey"}
        self.send((preparation, self._preload, self._application))

    def _open_log(self) -> IO[bytes]:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        return self._log.open("ab")

    def wait(self) -> None:
        """Wait until the application is imported.

        Raises:
            SweepError: it cannot be, or takes too long.
        """
        assert self.line is not None
        if not wait([self.line], START_LIMIT_S):
            raise SweepError(f"the workers' server did not start within {START_LIMIT_S:.0f} s; see {self._log}")
        try:
            answer = self.receive()
        except (EOFError, OSError) as error:
            self.close()
            raise SweepError(f"the workers' server died while importing the application; see {self._log}") from error
        if answer[0] == "unguarded":
            self.close()
            raise SweepError(
                f"{answer[1]}: importing this script runs it, which every worker would do; its last lines must be "
                "if __name__ == '__main__': main()"
            )
        if answer[0] == "broken":
            self.close()
            last = answer[1].strip().splitlines()[-1]
            raise SweepError(f"the application cannot be imported by its workers: {last}; the trace is in {self._log}")
        if answer[1]:
            logger.warning(
                "importing the application starts the threads %s, whose locks a fork would copy for ever: every trial "
                "imports the application anew, which takes longer",
                ", ".join(answer[1]),
            )
        self.ready = True

    def send(self, message: object, descriptors: tuple[int, ...] = ()) -> None:
        """Send a message and open files.

        Raises:
            OSError: the process is gone.
        """
        assert self.line is not None
        forkserver.send(self.line, message, descriptors)

    def receive(self) -> Any:
        """The next answer.

        Raises:
            EOFError, OSError: the process is gone.
        """
        assert self.line is not None
        return forkserver.receive(self.line)[0]

    def close(self) -> None:
        """End the process, which kills what it has forked."""
        self.ready = False
        if self.line is not None:
            self.line.close()
            self.line = None
        if self._process is not None:
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
