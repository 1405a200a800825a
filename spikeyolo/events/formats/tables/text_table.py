"""Events as text: CSV or columns between spaces, ``t x y p`` in each line or in the order that a header names.

Comments (``#``, ``%``), a first line of width and height (as in the rpg_e2vid sets) and names such as ``x@346`` are
understood. Times with a fraction are seconds, others microseconds, unless ``time_unit`` says which they are.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spikeyolo.errors import RecordingError
from spikeyolo.events.formats.reader import CheckedReader, checked_columns
from spikeyolo.events.formats.tables.column_names import role_of
from spikeyolo.events.formats.tables.time_unit import TimeUnit, guess_unit, to_us, whole_numbers
from spikeyolo.events.types import Events

HEAD_BYTES = 1 << 16
BLOCK_BYTES = 1 << 22
MAX_COLUMNS = 16
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_WHOLE = re.compile(r"[+-]?\d+")
_SIZE = re.compile(r"(.+)@(\d{1,5})")


@dataclass(frozen=True)
class TextLayout:
    """How a text file keeps its events.

    Attributes:
        separator: what stands between two columns; None for any white space.
        order: the column of t, x, y and p.
        count: columns in a line.
        lines: lines before the first event.
        size: the sensor, where the file names it.
        unit: of times, as far as the first lines tell.
    """

    separator: str | None
    order: tuple[int, int, int, int]
    count: int
    lines: int
    size: tuple[int, int] | None
    unit: TimeUnit


def find_layout(head: bytes) -> TextLayout | None:
    """The layout of a file that begins with ``head``; None where these are no lines of events."""
    lines = head.decode("latin-1").split("\n")
    if len(head) >= HEAD_BYTES:
        lines = lines[:-1]  # it may be cut
    names: list[str] = []
    size: tuple[int, int] | None = None
    rows: list[list[str]] = []
    separator: str | None = None
    before = 0
    for line in lines:
        text = line.strip()
        comment = text.startswith(("#", "%", "//"))
        text = text.lstrip("#%/ ")
        if not rows:
            separator = next((sign for sign in ",;\t" if sign in text), None)
        words = [word.strip() for word in text.split(separator)] if text else []
        numbers = not comment and bool(words) and all(_NUMBER.fullmatch(word) for word in words)
        if rows:
            rows.append(words)
        elif numbers and len(words) == 2 and not names and all(_WHOLE.fullmatch(word) for word in words):
            size, before = (int(words[0]), int(words[1])), before + 1
        elif numbers:
            rows.append(words)
        elif not words or comment or not names:
            named = [_SIZE.fullmatch(word) for word in words]
            bare = [match[1] if match else word for match, word in zip(named, words)]
            if len({role_of(word) for word in bare} - {None}) == 4:
                names = bare
                sides = {role_of(match[1]): int(match[2]) for match in named if match}
                size = (sides["x"], sides["y"]) if {"x", "y"} <= sides.keys() else size
            elif not comment and words:
                return None
            before += 1
        else:
            return None
    if not rows or not 4 <= len(rows[0]) <= MAX_COLUMNS:
        return None
    order = _order(names, len(rows[0]))
    whole = [row for row in rows if len(row) == len(rows[0]) and all(map(_NUMBER.fullmatch, row))]
    if order is None or any(float(row[order[3]]) not in (-1.0, 0.0, 1.0) for row in whole[:1]):
        return None
    times = np.array([float(row[order[0]]) for row in whole])
    return TextLayout(separator, order, len(rows[0]), before, size, guess_unit(times))


def is_header_alone(head: bytes) -> bool:
    """Whether a file that begins with ``head`` names the columns of events and has no line below."""
    lines = [line.strip().lstrip("#%/ ") for line in head.decode("latin-1").splitlines()]
    words = [[word.partition("@")[0] for word in re.split(r"[,;\s]+", line)] for line in lines if line]
    return bool(words) and len({role_of(word) for word in words[-1]} - {None}) == 4


def is_event_text(path: Path) -> bool:
    """Whether a text file holds events."""
    try:
        with path.open("rb") as file:
            return find_layout(file.read(HEAD_BYTES)) is not None
    except OSError:
        return False


class TextReader(CheckedReader):
    """Lines of text, read in blocks."""

    def __init__(
        self,
        path: Path,
        layout: TextLayout,
        *,
        strict: bool,
        size: tuple[int, int] | None,
        time_unit: TimeUnit | None,
    ) -> None:
        super().__init__(path, "text", 0, 0, strict=strict)
        self._layout = layout
        self._unit: TimeUnit = time_unit or layout.unit
        self.width, self.height = layout.size or size or (0, 0)

    def _decode(self, max_events: int) -> Iterator[Events]:
        """A block ends at a line's end; what follows goes before the next."""
        line = self._layout.lines
        with self.path.open("rb") as file:
            total = max(file.seek(0, 2), 1)
            file.seek(0)
            for _ in range(self._layout.lines):
                file.readline()
            rest = b""
            while True:
                # a line of events has at least eight bytes
                block = file.read(min(BLOCK_BYTES, max(8 * max_events, 1 << 10)))
                whole, rest = (rest + block).rpartition(b"\n")[::2] if block else (rest, b"")
                if len(rest) > BLOCK_BYTES:
                    whole, rest = rest, b""  # no line is that long: the block is refused as one bad line
                if whole.strip():
                    table, good = self._parsed(whole)
                    self.share_read = min((file.tell() - len(rest)) / total, 1.0)
                    if len(table):
                        yield self._events(table, line)
                    if good is not None:
                        bad = whole.split(b"\n")[good][:60].decode("latin-1")
                        self.damaged(
                            f"{self.path}: line {line + good + 1} is {bad!r}; expected {self._layout.count} numbers"
                        )
                        return
                line += whole.count(b"\n") + 1
                if not block:
                    return

    def _parsed(self, block: bytes) -> tuple[dict[str, npt.NDArray[Any]], int | None]:
        """The block's columns, and the first line that holds no event (None where all do)."""
        try:
            return self._table(block), None
        except ValueError:
            pass
        lines = block.split(b"\n")
        good = next((i for i, text in enumerate(lines) if not self._is_event(text)), None)
        if good is None:
            raise RecordingError(f"{self.path}: holds numbers that are too large; expected t x y p")
        return (self._table(b"\n".join(lines[:good])) if good else {}), good

    def _is_event(self, line: bytes) -> bool:
        words = line.decode("latin-1").strip().split(self._layout.separator)
        return not any(words) or (
            len(words) == self._layout.count and all(_NUMBER.fullmatch(word.strip()) for word in words)
        )

    def _table(self, block: bytes) -> dict[str, npt.NDArray[Any]]:
        from pandas import read_csv

        table = read_csv(
            io.BytesIO(block),
            sep=self._layout.separator or r"\s+",
            header=None,
            engine="c",
            skipinitialspace=True,
            encoding="latin-1",
            na_filter=False,
            quoting=3,  # a quotation mark is no part of a number
        )
        if table.shape[1] != self._layout.count or any(kind.kind not in "iuf" for kind in table.dtypes):
            raise ValueError("not a table of numbers")
        return {name: table[place].to_numpy() for name, place in zip("txyp", self._layout.order)}

    def _events(self, table: dict[str, npt.NDArray[Any]], line: int) -> Events:
        try:
            t = to_us(table["t"], self._unit)
            x, y, p = (whole_numbers(table[name], name) for name in "xyp")
        except ValueError as error:
            raise RecordingError(f"{self.path}: after line {line}, found {error}; expected t x y p") from error
        return checked_columns(self, t, x, y, p)


def _order(names: list[str], count: int) -> tuple[int, int, int, int] | None:
    """Where t, x, y and p stand: by name, or in this order."""
    if not names:
        return (0, 1, 2, 3) if count == 4 else None
    if len(names) != count:
        return None
    places = {role_of(name): place for place, name in reversed(list(enumerate(names)))}
    return places["t"], places["x"], places["y"], places["p"]
