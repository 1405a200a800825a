"""ROS 1 bags with event arrays of ``dvs_msgs`` or ``prophesee_event_msgs``, through the package ``rosbags``.

Messages: https://github.com/uzh-rpg/rpg_dvs_ros (dvs_msgs), https://github.com/prophesee-ai/prophesee_ros_wrapper; both
have one layout. A bag keeps its index at its end, so one that is cut off is refused (``rosbag reindex`` mends it).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spikeyolo.errors import RecordingError
from spikeyolo.events.formats.reader import CheckedReader, columns
from spikeyolo.events.types import Events

SIGNATURE = b"#ROSBAG V"
TYPES = ("dvs_msgs/msg/EventArray", "prophesee_event_msgs/msg/EventArray")
EVENT = np.dtype([("x", "<u2"), ("y", "<u2"), ("s", "<u4"), ("ns", "<u4"), ("on", "u1")])
# What the package raises where a bag is damaged.
DAMAGE = (OSError, EOFError, ValueError, KeyError, RuntimeError, AssertionError, IndexError, struct.error)


class RosbagReader(CheckedReader):
    """The events of the bag's first topic of events, by name; event times are unix times."""

    clock = "unix"

    def __init__(self, path: Path, *, strict: bool) -> None:
        super().__init__(path, "rosbag", 0, 0, strict=strict)
        with self._opened() as bag:
            topics = sorted({link.topic for link in bag.connections if link.msgtype in TYPES})
            if not topics:
                found = ", ".join(sorted({f"{link.topic} ({link.msgtype})" for link in bag.connections})) or "nothing"
                raise RecordingError(f"{path}: a ROS bag with {found}; expected a topic of {' or '.join(TYPES)}")
            self._topic = topics[0]
            self._messages = max(sum(link.msgcount for link in self._links(bag)), 1)
            if topics[1:]:
                self.opening_warnings.append(
                    f"{path}: holds events of {', '.join(topics)}; took {topics[0]} and left the others out"
                )
            try:
                self.height, self.width = _rows(next(bag.messages(self._links(bag)))[2])[:2]
            except StopIteration:
                raise RecordingError(f"{path}: topic {self._topic} holds no messages; expected events") from None
            except (*DAMAGE, self._errors()) as error:
                raise RecordingError(f"{path}: damaged ({_first_line(error)}); expected a whole ROS bag") from error

    def _decode(self, max_events: int) -> Iterator[Events]:
        parts: list[npt.NDArray[np.void]] = []
        count, done, damage = 0, 0, ""
        with self._opened() as bag:
            messages = bag.messages(self._links(bag))
            while not damage:
                try:
                    data = next(messages, (None, 0, None))[2]
                    rows = None if data is None else _rows(data)[2]
                except (*DAMAGE, self._errors()) as error:
                    damage = _first_line(error)
                    break
                if rows is None:
                    break
                parts.append(rows)
                count, done = count + len(rows), done + 1
                self.share_read = done / self._messages
                if count >= max_events:
                    yield self._events(parts)
                    parts, count = [], 0
        if parts:
            yield self._events(parts)
        if damage:
            self.damaged(f"{self.path}: damaged after {done} messages ({damage}); expected a whole ROS bag")

    def _events(self, parts: list[npt.NDArray[np.void]]) -> Events:
        rows = np.concatenate(parts)
        t = rows["s"].astype(np.int64) * 1_000_000 + rows["ns"] // 1000 - self.origin_us
        return columns(t, rows["x"], rows["y"], rows["on"] != 0, self.width, self.height)

    def _links(self, bag: Any) -> list[Any]:
        return [link for link in bag.connections if link.topic == self._topic and link.msgtype in TYPES]

    def _opened(self) -> closing[Any]:
        """The bag with its index read, to be closed again."""
        try:
            from rosbags.rosbag1 import Reader
        except ImportError as error:
            raise RecordingError(
                f"{self.path}: reading ROS bags takes the package rosbags; expected it: pip install spikeyolo[ros]"
            ) from error
        bag = Reader(self.path)
        try:
            bag.open()
        except (*DAMAGE, self._errors()) as error:
            reason = _first_line(error)
            raise RecordingError(f"{self.path}: cannot be read ({reason}); expected a whole ROS bag") from error
        return closing(bag)

    @staticmethod
    def _errors() -> type[Exception]:
        from rosbags.rosbag1 import ReaderError

        return ReaderError


def _rows(message: bytes) -> tuple[int, int, npt.NDArray[np.void]]:
    """Height, width and events of one serialised EventArray, after its header of number, stamp and frame.

    Raises:
        ValueError: the message is shorter than it says.
    """
    frame = struct.unpack_from("<I", message, 12)[0]
    height, width, count = struct.unpack_from("<III", message, 16 + frame)
    return height, width, np.frombuffer(message, EVENT, count, 28 + frame)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:160] if str(error) else type(error).__name__
