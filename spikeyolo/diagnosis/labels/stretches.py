"""Stretches of recordings, cut so that labels and events can be held against one another quickly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spikeyolo.diagnosis.labels.density import Stretch
from spikeyolo.diagnosis.written import Written
from spikeyolo.events.packing import Packed, unpack
from spikeyolo.events.types import Boxes
from spikeyolo.windows.matching import BoxMatcher
from spikeyolo.windows.slicing import distinct, spread

LONGEST_US = 8_000_000  # of one stretch
SHIFT_US = 3_000_000  # by as much labels may be off
MOST = 16  # recordings
EVENTS = 1_000_000  # of all stretches together
_PIECE_US = 100_000
_BIN_PX = 0.2  # an object moves so far in a bin


def crossing_us(recordings: Sequence[Written]) -> float | None:
    """How long an object usually takes to move by its own size, µs; None where tracks do not tell."""
    found = []
    for item in recordings:
        boxes = item.boxes
        if boxes is None:
            continue
        for track in np.unique(boxes.track_id[boxes.track_id >= 0])[:50]:
            one = boxes[boxes.track_id == track]
            t = np.diff(one.t)
            xyxy = one.xyxy.astype(np.float64)
            centre = (xyxy[:, :2] + xyxy[:, 2:]) / 2
            size = np.sqrt(np.clip((xyxy[:, 2:] - xyxy[:, :2]).prod(1), 1, None))[1:]
            moved = np.hypot(*np.diff(centre, axis=0).T)
            some = (t > 0) & (moved > 0)
            found.append(size[some] * t[some] / moved[some])
    every = np.concatenate([*found, np.empty(0)])
    return float(np.median(every)) if len(every) else None


def bin_us(recordings: Sequence[Written], crossing: float | None) -> int:
    """Length of a bin, µs: an object moves by a fraction of a pixel in it."""
    if crossing is None:
        return 1000
    sizes = [np.sqrt(np.clip((b.xyxy[:, 2:] - b.xyxy[:, :2]).prod(1), 1, None)) for b in _boxes(recordings)]
    return int(np.clip(crossing * _BIN_PX / float(np.median(np.concatenate(sizes))), 100, 1000))


def cut(recordings: Sequence[Written], *, bin_us: int) -> list[Stretch]:
    """A stretch of each of some recordings that have boxes, around the middle of their labels."""
    some = [item for item in recordings if item.boxes is not None and len(item.boxes)]
    some = [some[index] for index in spread(len(some), MOST).tolist()]
    return [_cut(item, bin_us, EVENTS // len(some)) for item in some]


def _cut(item: Written, bin_us: int, most: int) -> Stretch:
    recording, boxes = item.recording, item.boxes
    assert boxes is not None
    first, end = recording.start_us, recording.end_us
    if end - first > LONGEST_US:
        middle = int(np.median(distinct(boxes.t)))
        first = int(np.clip(middle - LONGEST_US // 2, first, end - LONGEST_US))
        end = first + LONGEST_US
    bins = -(-(end - first) // bin_us)
    packed = _thinned(item, first, first + bins * bin_us, most)
    events = unpack(packed[0], recording.width, recording.height)
    before = SHIFT_US // bin_us
    near = boxes[(boxes.t >= first - 2 * SHIFT_US) & (boxes.t < end + 2 * SHIFT_US)]
    matcher = BoxMatcher([near], temporal_buffer=0.0)
    # A bin's boxes are those in its middle.
    shown, known = matcher.match(0, first - before * bin_us - bin_us // 2, bin_us, bins + 2 * before)
    edges = first + bin_us * np.arange(bins + 1, dtype=np.int64)
    return Stretch(
        name=item.name,
        start_us=first,
        bin_us=bin_us,
        x=events.x.astype(np.float32),
        y=events.y.astype(np.float32),
        p=events.p,
        first_event=np.searchsorted(events.t, edges).astype(np.int64),
        xyxy=shown.xyxy,
        first_box=np.searchsorted(shown.step, np.arange(bins + 2 * before + 1)).astype(np.int64),
        known=known,
        before=before,
        width=recording.width,
        height=recording.height,
        kept=packed[1],
    )


def _thinned(item: Written, start_us: int, end_us: int, most: int) -> tuple[Packed, float]:
    """Events of a stretch, read piece by piece and thinned evenly, and the share that is left."""
    count = item.recording.count(start_us, end_us)
    every = max(1, -(-count // most))
    pieces = [
        item.recording.packed(begin, min(begin + _PIECE_US, end_us))[::every]
        for begin in range(start_us, end_us, _PIECE_US)
    ]
    return np.concatenate(pieces), 1.0 / every


def _boxes(recordings: Sequence[Written]) -> list[Boxes]:
    return [item.boxes for item in recordings if item.boxes is not None and len(item.boxes)]
