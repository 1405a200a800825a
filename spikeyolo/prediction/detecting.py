"""One recording through the network, window by window: from packed events to rows of the table."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch

from spikeyolo.detections import DetectionTable
from spikeyolo.errors import ConfigError
from spikeyolo.events import Detections
from spikeyolo.events.packing import TIME_SHIFT, Packed
from spikeyolo.model.decode import Decoder
from spikeyolo.model.predictions import Predictions
from spikeyolo.prediction.fitting import Fit, Fitted, fitted
from spikeyolo.prediction.sources import Opened
from spikeyolo.prediction.trained import Trained
from spikeyolo.prediction.windows import windows
from spikeyolo.windows.slicing import thinned

Steps = Literal["all", "last"]


@dataclass(frozen=True, kw_only=True)
class Detecting:
    """How detections are made.

    Attributes:
        hop_us: from one window's start to the next one's, µs; None: a window's length.
        carry: every time step goes through the network once, and the neurons' state goes on from step to step; then
            ``hop_us`` is how much goes through it at once. Else each window begins afresh, and of windows that overlap
            the later one tells of the time that they share only what the earlier did not.
        steps: whose detections are kept: those of all time steps, or the last one of each window.
        confidence, iou, max_detections: see :class:`Decoder`; ``max_detections`` of each step.
        fit: see :func:`fitted`.
        classes: names of those that are kept; None: all.
    """

    carry: bool
    steps: Steps = "all"
    hop_us: int | None = None
    confidence: float = 0.1
    iou: float = 0.65
    max_detections: int = 100
    fit: Fit = "pad"
    classes: tuple[str, ...] | None = None

    def steps_at_once(self, trained: Trained) -> int:
        """Time steps that go through the network together."""
        return (self.hop_us or 0) // trained.slice_duration_us if self.carry else trained.time_steps

    def step_us(self, trained: Trained) -> int | None:
        """Time between two steps whose detections are kept, µs; None where it varies, as where windows overlap."""
        if self.steps == "last":
            return self.hop_us
        slice_us = trained.slice_duration_us
        return slice_us if (self.hop_us or 0) % slice_us == 0 else None

    def checked(self, trained: Trained) -> Detecting:
        """The same with a hop.

        Raises:
            ConfigError: what runs carries no state, or the hop is none.
        """
        slice_us = trained.slice_duration_us
        duration = slice_us * trained.time_steps
        hop = duration if self.hop_us is None else self.hop_us
        if self.carry and trained.stream is None:
            raise ConfigError("carry: found true, but what runs the network starts every window afresh; expected false")
        if not 1 <= hop <= duration:
            raise ConfigError(f"hop_us: found {hop}; expected 1 to {duration}, the window's length")
        if self.carry and hop % slice_us:
            raise ConfigError(
                f"hop_us: found {hop}; expected a multiple of {slice_us}, the length of a time step, with carry=true"
            )
        return replace(self, hop_us=hop)


@dataclass
class Costs:
    """Seconds that were spent on reading and decoding events, encoding, the network, decoding boxes."""

    read: float = 0.0
    encode: float = 0.0
    network: float = 0.0
    decode: float = 0.0

    @contextmanager
    def of(self, what: str) -> Iterator[None]:
        """Count the time of a block."""
        began = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, what, getattr(self, what) + time.perf_counter() - began)

    @property
    def total(self) -> float:
        """All of it, s."""
        return self.read + self.encode + self.network + self.decode


@dataclass
class Position:
    """Where in a recording a prediction stands.

    Attributes:
        windows: that are done.
        until_us: end of the last time step whose detections are kept, µs.
        span_us: times of the first event and of the last one of those windows, µs; None: none is done.
        state: of the neurons.
    """

    windows: int = 0
    until_us: int = -1
    span_us: tuple[int, int] | None = None
    state: Any = None


@dataclass(frozen=True, eq=False)
class RecordingDetector:
    """Iterate it for the detections of each window, as they come.

    Args:
        trained: what runs.
        detecting: how detections are made, checked.
        opened: the recording.
        position: where to begin; it moves along.
        costs: to which the time is added.
        stopped: whether a live source ends because it was asked to; its last window is then left for later.

    Raises:
        ConfigError: the recording's sensor does not fit.
    """

    trained: Trained
    detecting: Detecting
    opened: Opened
    position: Position = field(default_factory=Position)
    costs: Costs = field(default_factory=Costs)
    stopped: Callable[[], bool] = lambda: False

    @property
    def fitted(self) -> Fitted:
        """How the recording's sensor becomes the network's frame."""
        fixed = self.trained.fixed
        return fitted(
            self.trained.encoder,
            (self.opened.width, self.opened.height),
            trained=self.trained.sensor,
            fixed=None if fixed is None else (fixed[1], fixed[2]),
            fit=self.detecting.fit,
        )

    def __iter__(self) -> Iterator[DetectionTable]:
        trained, detecting, position, costs = self.trained, self.detecting, self.position, self.costs
        fit = self.fitted
        assert detecting.hop_us is not None
        hop, slice_us = detecting.hop_us, trained.slice_duration_us
        steps = detecting.steps_at_once(trained)
        duration = steps * slice_us
        decoder = Decoder(confidence=detecting.confidence, iou=detecting.iou, max_detections=detecting.max_detections)
        most = trained.max_events and max(trained.max_events * steps // trained.time_steps, 1)
        shape = (steps, trained.encoder.channels, fit.frame[1], fit.frame[0])
        found = windows(self.opened.batches, duration, hop)
        index = 0
        while True:
            with costs.of("read"):
                window = next(found, None)
            if window is None or (window.last and self.stopped()):
                return
            index += 1
            if index <= position.windows:  # done before; its events had to be read, as filters remember them
                continue
            with costs.of("encode"):
                frames = np.empty(shape, np.uint8)
                packed = thinned(window.packed, most)
                trained.encoder.encode(
                    packed, start_us=window.start_us, slice_us=slice_us, out=frames, placement=fit.placement
                )
            with costs.of("network"), torch.inference_mode():
                tensor = torch.from_numpy(frames)[:, None].to(trained.device)
                if detecting.carry:
                    assert trained.stream is not None
                    predictions, position.state = trained.stream(tensor, position.state)
                else:
                    predictions = trained.window(tensor)
                if trained.device.type == "cuda":
                    torch.cuda.synchronize(trained.device)
            with costs.of("decode"):
                ends = window.start_us + slice_us * np.arange(1, steps + 1, dtype=np.int64)
                kept = ends > position.until_us
                if detecting.steps == "last":
                    kept[:-1] = False
                elif window.last:  # a step begins before the recording ends
                    kept &= ends - slice_us <= _last_us(window.packed)
                chosen = np.flatnonzero(kept)
                table = self._rows(decoder(_each(predictions, chosen), frame_size=fit.used[::-1]), ends, chosen, fit)
                position.until_us = int(ends[kept][-1]) if len(chosen) else position.until_us
            first, last = position.span_us or (window.start_us, window.start_us)
            position.windows, position.span_us = index, (first, max(last, _last_us(window.packed)))
            yield table

    def _rows(
        self, found: list[Detections], ends: np.ndarray[Any, Any], chosen: np.ndarray[Any, Any], fit: Fitted
    ) -> DetectionTable:
        counts = [len(item) for item in found]
        xyxy = fit.placement.to_sensor(
            np.concatenate([item.xyxy for item in found]), self.opened.width, self.opened.height
        )
        step = np.repeat(chosen, counts).astype(np.int64)
        xywh = np.concatenate((xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]), axis=1)
        embeddings = [item.embedding for item in found if item.embedding is not None]
        table = DetectionTable(
            (self.opened.name,),
            self.trained.classes,
            np.zeros(len(step), np.int64),
            ends[step],
            step,
            np.concatenate([item.class_id for item in found]).astype(np.int64),
            np.concatenate([item.score for item in found]).astype(np.float32),
            xywh,
            np.full(len(step), -1, np.int64),
            np.concatenate(embeddings) if embeddings else None,
        )
        kept = np.asarray((xywh[:, 2:] > 0).all(axis=1))  # of what lies in a padded border nothing is left
        if self.detecting.classes is not None:
            kept &= np.isin(table.class_id, [self.trained.classes.index(name) for name in self.detecting.classes])
        return table[kept]


def _each(predictions: Predictions, steps: np.ndarray[Any, Any]) -> Predictions:
    """These time steps of one window, as if each were a window."""
    rows = torch.from_numpy(steps).to(predictions.class_logits.device)
    embedding = predictions.embedding
    return replace(
        predictions,
        box_logits=predictions.box_logits[rows].transpose(0, 1),
        class_logits=predictions.class_logits[rows].transpose(0, 1),
        embedding=None if embedding is None else embedding[rows].transpose(0, 1),
    )


def _last_us(packed: Packed) -> int:
    return int(packed[-1] >> np.uint64(TIME_SHIFT)) if len(packed) else -1


def joined(tables: list[DetectionTable]) -> DetectionTable:
    """Rows of one recording, in their order."""
    columns = ("recording", "t_us", "step", "class_id", "score", "xywh", "track_id")
    rows: dict[str, Any] = {name: np.concatenate([getattr(table, name) for table in tables]) for name in columns}
    embeddings = [table.embedding for table in tables if table.embedding is not None]
    return replace(tables[0], **rows, embedding=np.concatenate(embeddings) if embeddings else None)
