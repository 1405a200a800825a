"""A few stretches of a recording to look at: counted events, and the boxes known at their ends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spikeyolo.events.packing import unpack
from spikeyolo.events.store import Recording
from spikeyolo.events.types import Boxes


@dataclass(frozen=True, eq=False)
class Stretch:
    """Events that end at a moment of interest.

    Attributes:
        counts: ``[2, H, W]`` uint8, OFF and ON events a pixel, saturating.
        boxes: labels at ``end_us``.
        start_us, end_us: µs.
    """

    counts: npt.NDArray[np.uint8]
    boxes: Boxes
    start_us: int
    end_us: int


def stretches(
    recording: Recording, *, number: int = 4, duration_us: int = 20_000, most_events: int = 30_000
) -> list[Stretch]:
    """Stretches spread over the recording; over its label times, where it has any.

    Args:
        number: how many.
        duration_us: length of each, µs; shorter where it would hold more than ``most_events``.
        most_events: about how many events each holds at most.

    Raises:
        RecordingError: the recording is damaged.
    """
    return [_stretch(recording, end, duration_us, most_events) for end in _moments(recording, number)]


def _moments(recording: Recording, number: int) -> list[int]:
    times = np.unique(recording.boxes.t)
    times = times[(times > recording.start_us) & (times <= recording.end_us)]
    shares = (np.arange(number) + 0.5) / number
    if len(times):
        return [int(times[int(share * len(times))]) for share in shares]
    return [recording.start_us + 1 + int(share * (recording.end_us - recording.start_us)) for share in shares]


def _stretch(recording: Recording, end_us: int, duration_us: int, most_events: int) -> Stretch:
    last = recording.index_at(end_us)
    first = max(recording.index_at(end_us - duration_us), last - most_events)
    events = unpack(recording.rows(first, last), recording.width, recording.height)
    pixels = (events.p.astype(np.int64) * recording.height + events.y) * recording.width + events.x
    counts = np.bincount(pixels, minlength=2 * recording.height * recording.width)
    boxes = recording.boxes
    return Stretch(
        np.minimum(counts, 255).astype(np.uint8).reshape(2, recording.height, recording.width),
        boxes[boxes.t == end_us],
        int(events.t[0]) if len(events) else end_us - duration_us,
        end_us,
    )
