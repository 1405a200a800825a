"""AEDAT 2.0 recordings, as jAER writes them: lines of text, then a big-endian address and time an event.

https://docs.inivation.com/software/software-advanced-usage/file-formats/aedat-2.0.html. What an address means is the
camera's: columns count from the right and rows from the bottom, and the DVS128 marks OFF events with a 1, as jAER's own
readers have it (that page says otherwise of the DVS128).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from spikeyolo.errors import RecordingError
from spikeyolo.events.formats.words import State, WordReader

SIGNATURE = b"#!AER-DAT2.0"
HEADER_LIMIT = 1 << 22  # it may hold all settings of the camera
HEADER_END = b"#End Of ASCII Header"
# By a piece of the chip's class name in jAER, in small letters.
CHIPS = {
    "dvs128": (128, 128),
    "tmpdiff128": (128, 128),
    "davis128": (128, 128),
    "davis208": (208, 192),
    "davis240": (240, 180),
    "davis346": (346, 260),
    "davis640": (640, 480),
}
DVS128 = ("dvs128", "tmpdiff128")


class Aedat2Reader(WordReader):
    """Change events of a DVS128 or a DAVIS; frames, motion and external signals between them are passed over."""

    unit_bytes, word_type, byte_swapped = 8, np.uint32, True

    def __init__(self, path: Path, *, strict: bool, size: tuple[int, int] | None) -> None:
        chip, offset = read_header(path)
        super().__init__(path, "aedat2", 0, 0, data_offset=offset, strict=strict)
        known = next((name for name in CHIPS if name in chip.lower()), None)
        if known is None and not chip and _fits_dvs128(path, offset):
            known = "dvs128"  # recordings from before jAER named the chip
        if known is None and (chip or size is None):
            raise RecordingError(
                f"{path}: was recorded by chip {chip or 'unknown'!r}; expected a line '# AEChip:' of {', '.join(CHIPS)}"
                + ("" if chip else ", or `size`")
            )
        self._davis = known not in DVS128
        self.width, self.height = CHIPS[known] if known else size or (0, 0)

    def _state(self) -> State:
        return np.array([0, 0, 0, -self.origin_us], np.int64)  # dropped, suspicion, last time word, µs added by wraps

    def _kernel(self, words: Any, columns: Any, limit: int, state: State) -> tuple[int, int]:
        t, x, y, p = columns
        return decode_aedat2(words, self._davis, t, x, y, p, limit, self.width, self.height, state)


def read_header(path: Path) -> tuple[str, int]:
    """The chip's class as jAER names it (empty where it does not), and the byte where the events begin.

    Raises:
        RecordingError: the file ends within a line of its header.
    """
    with path.open("rb") as file:
        head = file.read(HEADER_LIMIT)
    end = head.find(HEADER_END)
    chip, at = "", 0
    while head[at : at + 1] == b"#" and (at <= end or end < 0):
        line_end = head.find(b"\n", at)
        line = head[at : line_end if line_end >= 0 else None]
        if end < 0 and at and any(byte < 32 and byte not in (9, 13) for byte in line):
            break  # an event whose first byte is that of a hash sign
        if line_end < 0:
            raise RecordingError(f"{path}: ends within its text header; expected events after the # lines")
        key, _, value = line[1:].decode("latin-1").partition(":")
        if key.strip().lower() == "aechip":
            chip = value.strip()
        at = line_end + 1
    return chip, at


def _fits_dvs128(path: Path, offset: int) -> bool:
    with path.open("rb") as file:
        file.seek(offset)
        head = file.read(1 << 16)
    pairs: npt.NDArray[np.uint32] = np.frombuffer(head[: len(head) - len(head) % 8], ">u4").reshape(-1, 2)
    return bool((pairs[:, 0] < 1 << 16).all())


@njit(nogil=True, cache=True)
def decode_aedat2(
    words: Any, davis: bool, t: Any, x: Any, y: Any, p: Any, limit: int, width: int, height: int, state: State
) -> tuple[int, int]:
    """Pairs of ``uint32``: address and time. Returns the words taken and the rows made."""
    last, added = state[2], state[3]
    half = np.int64(1) << 31
    row, pair = 0, 0
    while pair < len(words) // 2 and row < limit:
        address, time = np.int64(words[2 * pair]), np.int64(words[2 * pair + 1])
        pair += 1
        if address & (0x80000400 if davis else 0x8000):  # a frame, motion, or an external signal
            continue
        if last - time > half:
            added += np.int64(1) << 32
        last = time
        if davis:
            column, line, polarity = address >> 12 & 0x3FF, address >> 22 & 0x1FF, address >> 11 & 1
        else:
            column, line, polarity = address >> 1 & 0x7F, address >> 8 & 0x7F, 1 - (address & 1)
        t[row] = added + time
        x[row] = width - 1 - column if column < width else column
        y[row] = height - 1 - line if line < height else line
        p[row] = polarity
        row += 1
    state[1], state[2], state[3] = 1, last, added
    return 2 * pair, row
