"""A line between the processes that train together: one that fails or dies ends the others, with its sentence.

Collectives tell nothing of why a process is gone, and on a GPU they wait. So process 0 holds a connection to each of
the others, which the system closes with the process, however that ends.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from multiprocessing.connection import Client, Connection, Listener, wait

log = logging.getLogger(__name__)

GRACE_S = 20.0


class Lifeline:
    """One process's end of the line.

    Args:
        rank, world: this process of how many.
        grace_s: that the main thread gets to end by itself once another process has failed; then it is ended.

    Attributes:
        failure: the sentence of the process that failed first; None while all is well.
    """

    def __init__(self, rank: int, world: int, *, grace_s: float = GRACE_S) -> None:
        self.rank = rank
        self.world = world
        self.failure: str | None = None
        self.failed = threading.Event()
        self._grace_s = grace_s
        self._names: dict[Connection, str] = {}
        self._lock = threading.Lock()
        self._over = False
        self._thread: threading.Thread | None = None

    def listen(self, listener: Listener) -> None:
        """Of process 0: take the calls of all others, then watch over them."""
        while len(self._names) < self.world - 1:
            connection = listener.accept()
            self._names[connection] = str(connection.recv())
        listener.close()
        self._watch()

    def call(self, address: str, port: int, key: bytes) -> None:
        """Of every other process: call process 0, then watch over it."""
        connection = Client((address, port), authkey=key)
        connection.send(f"process {self.rank} of {self.world} ({socket.gethostname()}, pid {os.getpid()})")
        self._names[connection] = f"process 0 of {self.world}"
        self._watch()

    def _watch(self) -> None:
        self._thread = threading.Thread(target=self._attend, name="lifeline", daemon=True)
        self._thread.start()

    def _attend(self) -> None:
        while self._names:
            for connection in wait(list(self._names)):
                assert isinstance(connection, Connection)
                try:
                    sentence = connection.recv()
                except (EOFError, OSError):
                    sentence = f"{self._names[connection]} ended without a word (killed, or out of memory?)"
                if sentence is None:  # it is done
                    del self._names[connection]
                    continue
                del self._names[connection]
                if not self._over:
                    self._fail(sentence)
                return

    def _fail(self, sentence: str) -> None:
        self.failure = sentence
        self.failed.set()
        self._send(sentence)
        timer = threading.Timer(self._grace_s, self._end)
        timer.daemon = True
        timer.start()

    def _end(self) -> None:
        """The main thread waits in a collective that nobody will come to."""
        if not self._over:
            if self.rank == 0:
                log.error("error: %s", self.failure)
            logging.shutdown()
            os._exit(2)

    def tell(self, sentence: str) -> None:
        """This process fails: the others are to end with this sentence."""
        with self._lock:
            if self._over:
                return
            self._over = True
        if self.failure is None:
            who = f"process {self.rank} of {self.world} ({socket.gethostname()}, pid {os.getpid()})"
            self._send(f"{who}: {sentence}")

    def leave(self) -> None:
        """This process has done its work. Others than process 0 wait for its end: a launcher ends all with the first.

        Says what happened meanwhile by :attr:`failure`.
        """
        with self._lock:
            if self._over:
                return
            self._over = True
        self._send(None)
        if self.rank and self._thread is not None:
            self._thread.join()

    def _send(self, message: str | None) -> None:
        for connection in list(self._names):
            try:
                connection.send(message)
            except (OSError, ValueError):
                continue
