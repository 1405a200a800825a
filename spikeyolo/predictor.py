"""A trained detector in a program of one's own: ``spikeyolo.load("RUN/checkpoints/best").predict("recording.raw")``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spikeyolo import schema
from spikeyolo.detections import DetectionTable
from spikeyolo.detections.table import empty
from spikeyolo.engine.checkpoints.restore import restore_detector
from spikeyolo.engine.device import choose_device
from spikeyolo.errors import CheckpointError, ConfigError
from spikeyolo.events import Detections, Events
from spikeyolo.events.formats import open_recording
from spikeyolo.events.packing import TIME_SHIFT, Packed, pack, times
from spikeyolo.events.store import Recording
from spikeyolo.model import InferenceDetector
from spikeyolo.model.decode import Decoder
from spikeyolo.model.detector import Detector
from spikeyolo.model.inference import Backend
from spikeyolo.windows.encoders import Encoder

Source = Events | Path | str


class Predictor:
    """A detector with the encoder and windows it was trained on.

    Args:
        detector: in eval mode, on its device.
        classes: names, in the order of class ids.
        encoder: events to frames.
        slice_duration_us, time_steps: of a window.
        backend: that runs the network; None runs it as training does.

    Attributes:
        detector, classes, encoder, device: as given.
    """

    def __init__(
        self,
        detector: Detector,
        *,
        classes: tuple[str, ...],
        encoder: Encoder,
        slice_duration_us: int,
        time_steps: int,
        backend: Backend | None = None,
    ) -> None:
        self.detector = detector
        self.classes = classes
        self.encoder = encoder
        self.slice_duration_us = slice_duration_us
        self.time_steps = time_steps
        self.device = next(detector.parameters()).device
        self._network = detector if backend is None else InferenceDetector(detector, backend=backend)

    def predict(
        self,
        source: Source | Tensor | npt.NDArray[Any],
        *,
        confidence: float = 0.25,
        iou: float = 0.65,
        max_detections: int = 100,
        carry: bool = False,
    ) -> Any:
        """What the detector sees, at the end of every window.

        Args:
            source: events, or a recording's file or stored folder, which is read window by window from its first
                event on; or frames ``[T, B, C, H, W]`` (or ``[T, C, H, W]``) as the encoder makes them.
            confidence: detections with a lower class probability are left out.
            iou: of two detections of one class that overlap more, the worse is left out.
            max_detections: of one window.
            carry: the neurons' state goes on from window to window; else each begins afresh, as in training.

        Returns:
            Of events or a file a :class:`DetectionTable` in px of the sensor; of frames a list of B
            :class:`Detections` in px of the frame.

        Raises:
            RecordingError: the file cannot be read.
            ConfigError: frames of a wrong shape, or a sensor that is too small.
        """
        decoder = Decoder(confidence=confidence, iou=iou, max_detections=max_detections)
        if isinstance(source, Tensor | np.ndarray):
            return self._frames(torch.as_tensor(source), decoder)
        name, width, height, batches = _opened(source)
        found = list(self._windows(batches, decoder, name=name, sensor=(width, height), carry=carry))
        return _joined(found) if found else empty(self.classes)

    def _frames(self, frames: Tensor, decoder: Decoder) -> list[Detections]:
        if frames.dim() == 4:
            frames = frames[:, None]
        self.detector.check(frames)
        with torch.inference_mode():
            predictions = self._network(frames.to(self.device))
        return decoder(predictions, frame_size=(frames.shape[-2], frames.shape[-1]))

    def _windows(
        self, batches: Iterable[Packed], decoder: Decoder, *, name: str, sensor: tuple[int, int], carry: bool
    ) -> Iterator[DetectionTable]:
        columns, rows = self.encoder.frame_size(*sensor)
        duration = self.slice_duration_us * self.time_steps
        state: Any = None
        for start, packed in windows(batches, duration):
            frames = np.empty((self.time_steps, self.encoder.channels, rows, columns), np.uint8)
            self.encoder.encode(packed, start_us=start, slice_us=self.slice_duration_us, out=frames)
            tensor = torch.from_numpy(frames)[:, None].to(self.device)
            with torch.inference_mode():
                if carry:
                    predictions, state = self._network.stream(tensor, state)
                else:
                    predictions = self._network(tensor)
            (found,) = decoder(predictions, frame_size=(rows, columns))
            xyxy = self.encoder.placement().to_sensor(found.xyxy, *sensor)
            yield DetectionTable(
                (name,),
                self.classes,
                np.zeros(len(found), np.int64),
                np.full(len(found), start + duration, np.int64),
                found.step.astype(np.int64),
                found.class_id.astype(np.int64),
                found.score,
                np.concatenate((xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]), axis=1),
                np.full(len(found), -1, np.int64),
                found.embedding,
            )


def load(checkpoint: Path | str, *, device: str = "auto", backend: Backend | None = None) -> Predictor:
    """A checkpoint's detector, ready to predict.

    Args:
        checkpoint: folder such as ``outputs/…/checkpoints/best``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        backend: that runs the network; None runs it as training does.

    Raises:
        CheckpointError: it cannot be read, or does not tell its encoder and windows.
        ConfigError: there is no such device or backend.
    """
    from omegaconf import OmegaConf

    folder = Path(checkpoint)
    detector, state = restore_detector(folder)
    if not isinstance(state.get("encoder"), dict) or not isinstance(state.get("windows"), dict):
        raise CheckpointError(
            f"{folder}: tells neither encoder nor windows; expected a checkpoint of version 2 or later"
        )
    node = OmegaConf.create({"encoder": state["encoder"]})
    schema.check(node)
    return Predictor(
        detector.to(choose_device(device)),
        classes=tuple(state["classes"]),
        encoder=schema.build(node.encoder),
        slice_duration_us=int(state["windows"]["slice_duration_us"]),
        time_steps=int(state["windows"]["time_steps"]),
        backend=backend,
    )


def read_events(path: Path | str) -> Events:
    """All events of a file of any known format, or of a stored recording, in memory.

    Raises:
        RecordingError: it cannot be read.
    """
    folder = Path(path)
    if folder.is_dir():
        recording = Recording.open(folder)
        return recording.slice(recording.start_us, recording.end_us)
    reader = open_recording(folder)
    parts = list(reader.batches())
    return Events.concatenate(parts) if parts else Events.empty(reader.width, reader.height)


def windows(batches: Iterable[Packed], duration_us: int) -> Iterator[tuple[int, Packed]]:
    """Starts (µs) and packed events of windows back to back from the first event on; the last one may be short of
    events."""
    rest: Packed = np.empty(0, np.uint64)
    start: int | None = None
    for batch in batches:
        rest = np.concatenate((rest, batch))
        if not len(rest):
            continue
        if start is None:
            start = int(times(rest[:1])[0])
        while int(times(rest[-1:])[0]) >= start + duration_us:
            end = int(np.searchsorted(rest, np.uint64((start + duration_us) << TIME_SHIFT)))
            yield start, rest[:end]
            rest, start = rest[end:], start + duration_us
    if start is not None and len(rest):
        yield start, rest


def _joined(tables: list[DetectionTable]) -> DetectionTable:
    """Rows of one recording, in their order."""
    columns = ("recording", "t_us", "step", "class_id", "score", "xywh", "track_id")
    rows: dict[str, Any] = {name: np.concatenate([getattr(table, name) for table in tables]) for name in columns}
    embeddings = [table.embedding for table in tables if table.embedding is not None]
    return replace(tables[0], **rows, embedding=np.concatenate(embeddings) if embeddings else None)


def _opened(source: Source) -> tuple[str, int, int, Iterator[Packed]]:
    """Name, sensor and packed events of a source."""
    if isinstance(source, Events):
        source.check("events")
        return "events", source.width, source.height, iter([pack(source)] if len(source) else [])
    if not isinstance(source, Path | str):
        raise ConfigError(f"predict: found {type(source).__name__}; expected events, a path, or frames")
    path = Path(source)
    if path.is_dir():
        stored = Recording.open(path)
        step = 1 << 20
        rows = (stored.rows(first, first + step) for first in range(0, stored.num_events, step))
        return stored.name.removesuffix(".zarr"), stored.width, stored.height, rows
    reader = open_recording(path)
    return path.stem, reader.width, reader.height, (pack(events) for events in reader.batches())
