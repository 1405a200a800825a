"""What a film shows, for the Rerun viewer (https://rerun.io): a ``.rrd`` file, and nothing is sent anywhere."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from spikeyolo.detections.files import whole_file
from spikeyolo.events.types import Events
from spikeyolo.optional import optional
from spikeyolo.report.video.film import Layer, Shot, colour_of, label_text
from spikeyolo.report.video.palette import Palette
from spikeyolo.report.video.picture import EventPicture

TIMELINE = "recording"


class RerunFile:
    """Context in which the events and boxes of a film are logged, in px of the sensor, at the recording's times.

    Args:
        path: of the file; renamed into place at the end.
        width, height: of the sensor, px.
        layers: of the film's panels, each kind once.
        palette, decay_us: as of the film.

    Raises:
        ConfigError: rerun-sdk is not installed.
        DetectionError: the file cannot be written.
    """

    def __init__(
        self, path: Path, *, width: int, height: int, layers: Sequence[Layer], palette: Palette, decay_us: float
    ) -> None:
        self._rerun = optional("rerun")
        self._path, self._layers, self._palette = path, layers, palette
        self._events = EventPicture(width, height, decay_us=decay_us, palette=palette)
        self._image = np.empty((height, width, 3), np.uint8)
        self._stack = ExitStack()
        self._recording: Any = None
        self._before_us: int | None = None

    def __enter__(self) -> Self:
        partial = self._stack.enter_context(whole_file(self._path))
        logging.getLogger("rerun").setLevel(logging.ERROR)
        self._recording = self._rerun.RecordingStream("spikeyolo")
        self._recording.save(partial)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._recording.flush()
        self._recording.disconnect()
        return self._stack.__exit__(kind, error, trace)

    def add(self, events: Events) -> None:
        """Events before the next shot."""
        self._events.add(events)

    def shot(self, shot: Shot) -> None:
        """Log what one picture of the film shows."""
        rerun, recording = self._rerun, self._recording
        recording.set_time(TIMELINE, duration=np.timedelta64(shot.t_us, "us"))
        self._events.draw(shot.t_us, self._image)
        recording.log("sensor", rerun.Image(self._image).compress(jpeg_quality=90))
        if self._before_us is not None and shot.t_us > self._before_us:
            rate = 1e6 * shot.events / (shot.t_us - self._before_us)
            recording.log("events_a_second", rerun.Scalars(rate))
        self._before_us = shot.t_us
        shown = [found for panel in shot.seen for found in panel]
        for layer, found in zip(self._layers, shown, strict=True):
            boxes = rerun.Boxes2D(
                array=found.xyxy,
                array_format=rerun.Box2DFormat.XYXY,
                labels=[label_text(layer, found, row)[0] for row in range(len(found))],
                colors=[colour_of(layer, found, row, self._palette) for row in range(len(found))],
            )
            recording.log(f"sensor/{layer.kind}", boxes)
