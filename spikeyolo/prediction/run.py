"""Predicts on recordings one after the other, keeps what is found, and makes one table of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from spikeyolo.detections import DetectionWriter
from spikeyolo.engine.guards.interrupt import StopRequested, StopWatch
from spikeyolo.errors import RecordingError
from spikeyolo.events.formats.live import LiveSource
from spikeyolo.events.packing import Packed, times
from spikeyolo.prediction.detecting import Costs, Detecting, Position, RecordingDetector
from spikeyolo.prediction.parts import Parts
from spikeyolo.prediction.reading import Reading
from spikeyolo.prediction.sources import Input, Opened
from spikeyolo.prediction.trained import Trained
from spikeyolo.tracking import Tracker, track_stream

log = logging.getLogger("spikeyolo")

Tell = Callable[[int, int | None, str], None]


@dataclass
class Speed:
    """How much of recordings went through in how long.

    Attributes:
        windows: so many.
        recorded_us: time of the recordings, µs.
        elapsed_s: time that it took, s.
        costs: what it was spent on.
    """

    windows: int = 0
    recorded_us: int = 0
    elapsed_s: float = 0.0
    costs: Costs = field(default_factory=Costs)

    @property
    def factor(self) -> float:
        """Recorded time by time spent: 2 is twice as fast as real time."""
        return 1e-6 * self.recorded_us / self.elapsed_s if self.elapsed_s else 0.0

    def words(self) -> str:
        """``28.7 windows/s, 2.3 × real time``."""
        per_second = self.windows / self.elapsed_s if self.elapsed_s else 0.0
        return f"{per_second:.3g} windows/s, {self.factor:.2g} × real time"

    def shares(self) -> str:
        """What the time was spent on, in per cent."""
        total = self.costs.total or 1.0
        return ", ".join(f"{name} {100 * seconds / total:.0f} %" for name, seconds in asdict(self.costs).items())


@dataclass
class Prediction:
    """One prediction over recordings.

    Args:
        trained: what runs.
        detecting: how, checked.
        inputs: the recordings.
        reading: how their files are read.
        parts: what is found goes there.

    Attributes:
        speed: of this run, without what was found before.
        failed: why recordings could not be predicted on, by name.
    """

    trained: Trained
    detecting: Detecting
    inputs: Sequence[Input]
    reading: Reading
    parts: Parts
    speed: Speed = field(default_factory=Speed)
    failed: dict[str, RecordingError] = field(default_factory=dict)

    def go(self, stop: StopWatch, tell: Tell) -> None:
        """Predict on what is left.

        Args:
            stop: asked after each window; what is found so far is kept.
            tell: told of each window: how many are done, of about how many, and how fast.

        Raises:
            StopRequested: it was asked to stop.
            SpikeyoloError: it cannot go on. A recording that cannot be read is noted instead where there are several,
                and so is a live one that breaks off.
        """
        reached = self.parts.reached
        for item in self.inputs:
            if item.name in reached.ended:
                continue
            if reached.current != item.name:
                reached.current, reached.position = item.name, Position()
            try:
                with item.open(self.reading) as opened:
                    self._recording(opened, stop, tell)
            except RecordingError as error:
                if isinstance(item.place, LiveSource) and reached.position.windows:
                    self.failed[item.name] = error  # what was live may not come again: what was found is kept
                    self.parts.save()
                    return
                if len(self.inputs) == 1:
                    self.parts.remove()
                    raise
                log.error("%s: %s", item.name, error)
                self.failed[item.name] = error
                self.parts.discard(item.name)
        reached.current = None
        self.parts.save()

    def _recording(self, opened: Opened, stop: StopWatch, tell: Tell) -> None:
        reached, speed = self.parts.reached, self.speed
        position = reached.position
        before = position.windows
        if before and self.detecting.carry:
            self.parts.restore(self._template(opened))
        read = _ReadShare(opened)
        opened = replace(opened, batches=iter(read))
        detector = RecordingDetector(
            self.trained, self.detecting, opened, position, speed.costs, stopped=lambda: stop.requested
        )
        if detector.fitted.said:
            log.warning("%s: %s", opened.name, detector.fitted.said)
        began, elapsed = time.monotonic(), speed.elapsed_s
        recorded = speed.recorded_us
        start = position.until_us
        for table in detector:
            self.parts.append(table)
            speed.windows += 1
            speed.elapsed_s = elapsed + time.monotonic() - began
            if start < 0 and position.span_us is not None:
                start = position.span_us[0]
            speed.recorded_us = recorded + position.until_us - start
            share = read.until(position.until_us)
            tell(position.windows, round(position.windows / share) if share else None, speed.words())
            if stop.requested:
                raise StopRequested
        if stop.requested:
            raise StopRequested
        fit = detector.fitted
        reached.ended[opened.name] = {
            "sensor": [opened.width, opened.height],
            "frame": list(fit.frame),
            "fit": fit.said,
            "windows": position.windows,
            "end_us": max(position.until_us, 0),
            "span_us": position.span_us,
            **opened.notes(),
        }
        reached.current, reached.position = None, Position()

    def _template(self, opened: Opened) -> Any:
        """A state of the network for frames of this recording."""
        detector = RecordingDetector(self.trained, self.detecting, opened)
        width, height = detector.fitted.frame
        frames = torch.zeros((1, 1, self.trained.encoder.channels, height, width), dtype=torch.uint8)
        assert self.trained.stream is not None
        with torch.inference_mode():
            return self.trained.stream(frames.to(self.trained.device), None)[1]


class _ReadShare:
    """The batches of a recording, and how much of it lies before a time in the last of them."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._times, self._shares = (0, 0), (0.0, 0.0)

    def __iter__(self) -> Iterator[Packed]:
        for batch in self._opened.batches:
            share = self._opened.share()
            if share is not None and len(batch):
                first, last = times(batch[[0, -1]]).tolist()
                self._times, self._shares = (first, last), (self._shares[1], share)
            yield batch

    def until(self, time_us: int) -> float:
        """0 to 1; 0 where nobody knows."""
        (first, last), (before, after) = self._times, self._shares
        part = (time_us - first) / max(last - first, 1)
        return before + (after - before) * min(max(part, 0.0), 1.0)


def write_table(
    parts: Parts,
    path: Path,
    *,
    metadata: Mapping[str, Any],
    tracker: Tracker | None = None,
    step_us: int | None = None,
) -> tuple[int, int]:
    """Make one table of all parts, whole or not at all; returns its numbers of rows and of tracks.

    Args:
        parts: that hold the rows.
        path: of the table.
        metadata: of the table, JSON values.
        tracker: whose tracks the rows get; None: none.
        step_us: see :func:`track_stream`.

    Raises:
        DetectionError: it cannot be written.
    """
    tables = parts.tables()
    if tracker is not None:
        tables = track_stream(tables, tracker, step_us=step_us)
    tracks: set[tuple[str, int]] = set()
    with DetectionWriter(path, classes=parts.classes, embedding=parts.reached.embedding, metadata=metadata) as writer:
        for table in tables:
            if len(table):
                writer.append(table)
                found = table.track_id >= 0
                numbers = zip(table.recording[found].tolist(), table.track_id[found].tolist(), strict=True)
                tracks |= {(table.recordings[recording], track) for recording, track in set(numbers)}
    return writer.rows, len(tracks)
