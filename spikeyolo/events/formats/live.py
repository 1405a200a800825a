"""Recordings that are still being made: a RAW or DAT file that grows, or a stream of the same bytes."""

from __future__ import annotations

import logging
import os
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from spikeyolo.errors import RecordingError
from spikeyolo.events.cleaning import EventRules
from spikeyolo.events.formats.sniff import open_recording
from spikeyolo.events.formats.words import WordReader

STANDARD_INPUT = "-"
_PIECE = 1 << 18  # bytes read at once
_HEAD = 1 << 12  # bytes that surely hold a header and some words
_POLL_S = 0.02

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LiveSource:
    """A file that grows, a named pipe, or ``-``, the standard input.

    Attributes:
        address: path, or ``-``.
        timeout_s: it has ended when it gives nothing for so long while it is waited for.
        stopped: asked while it is waited for: whether to end now.
    """

    address: str
    timeout_s: float = 10.0
    stopped: Callable[[], bool] = lambda: False

    @property
    def is_stream(self) -> bool:
        """Whether its bytes can be read only once."""
        return is_stream(self.address)

    @property
    def name(self) -> str:
        """What messages call it."""
        return "standard input" if self.address == STANDARD_INPUT else self.address

    @contextmanager
    def open(self, *, rules: EventRules | None = None, size: tuple[int, int] | None = None) -> Iterator[WordReader]:
        """Its events as they come, to be read once; they end with the source.

        Raises:
            RecordingError: it gives nothing, is of a format that is not read as it grows, or names no sensor.
        """
        pieces = self._stream_pieces() if self.is_stream else self._file_pieces()
        head = b""
        for piece in pieces:
            head += piece
            if len(head) >= _HEAD:
                break
        if not head:
            raise RecordingError(
                f"{self.name}: gave no byte {'' if self.is_stream else f'within {self.timeout_s:g} s '}before its end; "
                "expected a recording"
            )
        with tempfile.TemporaryDirectory(prefix="spikeyolo-live-") as folder:  # what it is, its beginning tells
            beginning = Path(folder) / (Path(self.address).name if self.address != STANDARD_INPUT else "stdin.raw")
            beginning.write_bytes(head)
            try:
                reader = open_recording(beginning, rules=rules, size=size)
            except RecordingError as error:
                raise RecordingError(str(error).replace(str(beginning), self.name)) from error
        if not isinstance(reader, WordReader):
            raise RecordingError(f"{self.name}: is {reader.format}; expected RAW or DAT where a recording grows")
        if reader.size_from == "guessed":
            raise RecordingError(f"{self.name}: names no sensor size; expected size=[WIDTH,HEIGHT] where it grows")
        reader.path = Path(self.name)
        first = head[reader.data_offset :]
        reader.live = lambda: _after(first, pieces)
        yield reader

    def _file_pieces(self) -> Iterator[bytes]:
        path = Path(self.address)
        waited = 0.0
        while not path.exists():
            if waited >= self.timeout_s or self.stopped():
                raise RecordingError(f"{path}: no such file; expected a recording that grows")
            time.sleep(_POLL_S)
            waited += _POLL_S
        with path.open("rb", buffering=0) as file:
            while True:
                piece = file.read(_PIECE)
                if piece:
                    waited = 0.0
                    yield piece
                    continue
                if os.fstat(file.fileno()).st_size < file.tell():
                    raise RecordingError(f"{path}: became shorter while it was read; expected a recording that grows")
                if self.stopped() or self._stalled(waited):
                    return
                time.sleep(_POLL_S)
                waited += _POLL_S

    def _stream_pieces(self) -> Iterator[bytes]:
        pieces: queue.Queue[bytes | OSError] = queue.Queue(maxsize=16)
        threading.Thread(target=_read_into, args=(self.address, pieces), daemon=True).start()
        waited = 0.0
        while True:
            try:
                piece = pieces.get(timeout=_POLL_S)
            except queue.Empty:
                waited += _POLL_S
                if self.stopped() or self._stalled(waited):
                    return
                continue
            if isinstance(piece, OSError):
                raise RecordingError(f"{self.name}: cannot be read ({piece.strerror})") from piece
            if not piece:
                return
            waited = 0.0
            yield piece

    def _stalled(self, waited: float) -> bool:
        if waited < self.timeout_s:
            return False
        log.warning("%s: gave nothing for %g s, which is taken as its end (timeout)", self.name, self.timeout_s)
        return True


def is_stream(address: str) -> bool:
    """Whether this is the standard input, or a pipe or device whose bytes can be read only once."""
    path = Path(address)
    return address == STANDARD_INPUT or (path.exists() and not path.is_file() and not path.is_dir())


def _after(first: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from pieces


def _read_into(address: str, pieces: queue.Queue[bytes | OSError]) -> None:
    """All bytes as they come; an empty piece is the end."""
    try:
        descriptor = sys.stdin.fileno() if address == STANDARD_INPUT else os.open(address, os.O_RDONLY)
        piece = b"-"
        while piece:
            piece = os.read(descriptor, _PIECE)
            pieces.put(piece)
    except OSError as error:
        pieces.put(error)
