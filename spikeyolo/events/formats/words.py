"""Streaming of binary words: a file buffer of fixed size goes through a kernel into columns of events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spikeyolo.errors import RecordingError
from spikeyolo.events.formats.reader import CheckedReader, blank_columns
from spikeyolo.events.types import Events

BUFFER_BYTES = 1 << 18  # stays in the second-level cache
# Room past the asked number of rows: one vector word gives up to 32 events at once.
SLACK = 32

State = npt.NDArray[np.int64]


class WordReader(CheckedReader):
    """Base of the binary decoders: subclasses name the words and the kernel."""

    unit_bytes = 8  # a unit is what the kernel consumes whole
    unit_events = 1  # at most so many events in one
    word_type: type[np.unsignedinteger[Any]] = np.uint64
    byte_swapped = False
    jumps_at = 0  # where the state counts time words that jump ahead and back; 0: nowhere

    def __init__(
        self, path: Path, format: str, width: int, height: int, *, data_offset: int, strict: bool = False
    ) -> None:
        super().__init__(path, format, width, height, strict=strict)
        self.data_offset = data_offset
        self.live: Callable[[], Iterator[bytes]] | None = None  # gives the bytes behind the header as they come

    def _state(self) -> State:
        """What the kernel carries from word to word, at the file's start.

        First the events dropped so far, then whether some event may break an invariant (and is to be looked for).
        """
        raise NotImplementedError

    def _kernel(self, words: Any, columns: Any, limit: int, state: State) -> tuple[int, int]:
        """Decode until the words end or ``limit`` rows are there: words taken, rows made."""
        raise NotImplementedError

    def _find_first(self) -> int:
        if self.live is not None and self._first_us is None:
            return 0  # which nobody knows before it comes
        return super()._find_first()

    def _decode(self, max_events: int) -> Iterator[Events]:
        if self.live is not None:
            yield from self._decode_live(self.live(), max_events)
            return
        state = self._state()
        size = min(BUFFER_BYTES, max(max_events, 64) * self.unit_bytes)
        buffer = np.empty(size - size % self.unit_bytes, np.uint8)
        with self.path.open("rb", buffering=0) as file:
            file.seek(0, 2)
            left = size = max(file.tell() - self.data_offset, 0)
            file.seek(self.data_offset)
            words, tail = self._fill(file, buffer)
            while len(words):
                limit = min(max_events, max(left // self.unit_bytes, 1) * self.unit_events)
                columns = blank_columns(limit + SLACK)
                rows = 0
                while rows < limit and len(words):
                    room = tuple(column[rows:] for column in columns)
                    taken, made = self._kernel(words, room, limit - rows, state)
                    words, rows, left = words[taken:], rows + made, left - taken * words.itemsize
                    if not len(words):
                        words, more = self._fill(file, buffer)
                        tail = tail or more  # the last fill of a file that ended in one is empty
                self.dropped_events, self.suspect, state[1] = int(state[0]), bool(state[1]), 0
                self.time_jumps = int(state[self.jumps_at]) if self.jumps_at else 0
                self.share_read = 1.0 - left / max(size, 1)
                t, x, y, p = columns
                yield Events(t[:rows], x[:rows], y[:rows], p[:rows], self.width, self.height)
        if tail:
            self._damaged_tail(tail)

    def _decode_live(self, pieces: Iterator[bytes], max_events: int) -> Iterator[Events]:
        state = self._state()
        rest = b""
        for piece in pieces:
            held = bytearray(rest + piece)  # which kernels may be handed as they are handed a buffer
            whole = len(held) - len(held) % self.unit_bytes
            rest = bytes(held[whole:])
            words = np.frombuffer(held, self.word_type, whole // np.dtype(self.word_type).itemsize)
            if self.byte_swapped:
                words = words.byteswap()
            while len(words):
                limit = min(max_events, max(words.nbytes // self.unit_bytes, 1) * self.unit_events)
                t, x, y, p = blank_columns(limit + SLACK)
                taken, rows = self._kernel(words, (t, x, y, p), limit, state)
                words = words[taken:]
                self.dropped_events, self.suspect, state[1] = int(state[0]), bool(state[1]), 0
                self.time_jumps = int(state[self.jumps_at]) if self.jumps_at else 0
                if self._first_us is None:
                    inside = (x[:rows] < self.width) & (y[:rows] < self.height)
                    if not inside.any():
                        continue
                    self._first_us = int(t[inside.argmax()])
                t -= self._first_us
                yield Events(t[:rows], x[:rows], y[:rows], p[:rows], self.width, self.height)
        if rest:
            self._damaged_tail(len(rest))

    def _damaged_tail(self, tail: int) -> None:
        self.damaged(
            f"{self.path}: truncated, {tail} bytes of an unfinished event at its end; expected whole words of "
            f"{self.unit_bytes} bytes"
        )

    def _fill(self, file: Any, buffer: npt.NDArray[np.uint8]) -> tuple[Any, int]:
        """The next whole words, and how many bytes at the file's end are none."""
        filled = 0
        view = memoryview(buffer.data)
        try:
            while filled < len(buffer):
                count = file.readinto(view[filled:])
                if not count:
                    break
                filled += count
        except OSError as error:
            raise RecordingError(f"{self.path}: cannot be read ({error.strerror}); expected a readable file") from error
        whole = filled - filled % self.unit_bytes
        words = buffer[:whole].view(self.word_type)
        if self.byte_swapped:
            words = words.byteswap(inplace=True)
        return words, filled - whole
