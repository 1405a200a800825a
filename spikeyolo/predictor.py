"""A trained detector in a program of one's own: ``spikeyolo.load("RUN/checkpoints/best").predict("recording.raw")``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spikeyolo.detections.table import concatenated, empty
from spikeyolo.errors import ConfigError
from spikeyolo.events import Detections, Events
from spikeyolo.events.formats import open_recording
from spikeyolo.events.store import Recording
from spikeyolo.model.decode import Decoder
from spikeyolo.model.inference import Backend
from spikeyolo.prediction.detecting import Detecting, RecordingDetector, Steps, joined
from spikeyolo.prediction.fitting import Fit
from spikeyolo.prediction.reading import reading_of
from spikeyolo.prediction.sources import Opened, inputs_at, of_events
from spikeyolo.prediction.trained import Trained, load_trained

Source = Events | Path | str


class Predictor:
    """A detector with the encoder and windows it was trained on.

    Args:
        trained: what runs.

    Attributes:
        trained, classes, encoder, device, slice_duration_us, time_steps: of that.
    """

    def __init__(self, trained: Trained) -> None:
        self.trained = trained
        self.classes = trained.classes
        self.encoder = trained.encoder
        self.slice_duration_us = trained.slice_duration_us
        self.time_steps = trained.time_steps
        self.device = trained.device

    def predict(
        self,
        source: Source | Tensor | npt.NDArray[Any],
        *,
        confidence: float = 0.25,
        iou: float = 0.65,
        max_detections: int = 100,
        carry: bool = False,
        steps: Steps = "last",
        hop_us: int | None = None,
        fit: Fit = "pad",
    ) -> Any:
        """What the detector sees, at the end of every window.

        Args:
            source: events, or what ``python -m spikeyolo.predict source=…`` takes, read window by window from its first
                event on; or frames ``[T, B, C, H, W]`` (or ``[T, C, H, W]``) as the encoder makes them.
            confidence: detections with a lower class probability are left out.
            iou: of two detections of one class that overlap more, the worse is left out.
            max_detections: of one window, or of one time step.
            carry: the neurons' state goes on from window to window; else each begins afresh, as in training.
            steps: ``last`` of each window, or ``all`` time steps.
            hop_us, fit: see :class:`spikeyolo.prediction.detecting.Detecting`.

        Returns:
            Of events or recordings a :class:`DetectionTable` in px of the sensor; of frames a list of B
            :class:`Detections` in px of the frame.

        Raises:
            RecordingError: the file cannot be read.
            ConfigError: frames of a wrong shape, or a sensor that does not fit.
        """
        if isinstance(source, Tensor | np.ndarray):
            decoder = Decoder(confidence=confidence, iou=iou, max_detections=max_detections)
            return self._frames(torch.as_tensor(source), decoder)
        settings = Detecting(
            carry=carry,
            steps=steps,
            hop_us=hop_us,
            confidence=confidence,
            iou=iou,
            max_detections=max_detections,
            fit=fit,
        ).checked(self.trained)
        recordings = [list(RecordingDetector(self.trained, settings, opened)) for opened in self._opened(source)]
        tables = [joined(found) for found in recordings if found]
        return concatenated(tables) if tables else empty(self.classes)

    def _frames(self, frames: Tensor, decoder: Decoder) -> list[Detections]:
        if frames.dim() == 4:
            frames = frames[:, None]
        with torch.inference_mode():
            predictions = self.trained.window(frames.to(self.device))
        return decoder(predictions, frame_size=(frames.shape[-2], frames.shape[-1]))

    def _opened(self, source: Source) -> Iterator[Opened]:
        if isinstance(source, Events):
            yield of_events(source)
            return
        if not isinstance(source, Path | str):
            raise ConfigError(f"predict: found {type(source).__name__}; expected events, a path, or frames")
        reading = reading_of(self.trained)
        for item in inputs_at(str(source)):
            with item.open(reading) as opened:
                yield opened


def load(
    checkpoint: Path | str,
    *,
    device: str = "auto",
    backend: Backend | None = None,
    weight_bits: Literal[4, 8] | None = None,
) -> Predictor:
    """A checkpoint's detector, ready to predict.

    Args:
        checkpoint: folder such as ``outputs/…/checkpoints/best``, or an ONNX file of ``spikeyolo.export``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        backend: that runs the network; None takes torch, folded (an ONNX file: onnxruntime).
        weight_bits: rounds a checkpoint's weights to so few bits; None leaves them as they were trained.

    Raises:
        CheckpointError: it cannot be read, or does not tell its encoder and windows.
        ConfigError: there is no such device or backend, or the weights cannot be rounded.
    """
    return Predictor(load_trained(checkpoint, device=device, backend=backend, weight_bits=weight_bits))


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
