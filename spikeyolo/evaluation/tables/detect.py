"""Runs a network once over a split and writes what it finds, and what is true, as two tables in px of the sensor."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from spikeyolo.detections import DetectionTable, DetectionWriter
from spikeyolo.errors import ConfigError
from spikeyolo.evaluation.looks import Looks, Stretch, WholeRecordings
from spikeyolo.evaluation.tables.identity import recording_names
from spikeyolo.model import InferenceDetector
from spikeyolo.model.decode import Decoder
from spikeyolo.model.inference import Backend, fold
from spikeyolo.model.inference.backend import check_backend
from spikeyolo.model.predictions import Predictions
from spikeyolo.windows import Placement

Steps = Literal["all", "scored"]


@dataclass(frozen=True)
class Detecting:
    """How detections are made.

    Attributes:
        carry: the neurons' state goes on from each stretch of a recording into the next.
        steps: whose detections are kept: those of ``all`` time steps, or those that are ``scored``.
        confidence, iou, max_detections: see :class:`Decoder`; ``max_detections`` of each step.
        backend: that runs the network; None runs it as training validates it: folded, in torch.
        precision: of the backend.
        embeddings: keep each detection's embedding, where the network makes some.
    """

    carry: bool
    steps: Steps
    confidence: float
    iou: float
    max_detections: int
    backend: Backend | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    embeddings: bool = True

    def check(self, device: torch.device) -> None:
        """Refuse what no detector can be run with.

        Raises:
            ConfigError: the backend is not installed, does not run on the device, or carries no state.
        """
        if self.backend is None and self.precision != "float32":
            raise ConfigError(f"precision: found {self.precision}; expected a backend beside it, as backend=torch")
        if self.carry and self.backend not in (None, "torch"):
            raise ConfigError(f"backend: found {self.backend}, which carries no state; expected torch with carry=true")
        if self.backend is not None:
            check_backend(device, backend=self.backend, precision=self.precision)

    def network(self, detector: nn.Module) -> nn.Module:
        """The detector as it will run."""
        if self.backend is None:
            return fold(detector)
        return InferenceDetector(detector, backend=self.backend, precision=self.precision)


def detect(
    detector: nn.Module,
    looks: Looks,
    settings: Detecting,
    *,
    detections: Path,
    truth: Path,
    metadata: Mapping[str, Any],
    device: torch.device,
    advance: Callable[[str], None] = lambda text: None,
) -> None:
    """Write both tables, whole or not at all.

    The truth's metadata hold ``looks``, the times of each recording at which detections are scored (also where nothing
    is to be seen), ``scored_step`` (None: whichever step ends at a look) and ``step_looks``, the times at which
    something is known at each step.

    Args:
        detector: trained, in eval mode.
        looks: the split's windows.
        settings: how detections are made.
        detections, truth: files to write.
        metadata: of both, JSON values.
        device: the detector's.
        advance: called after each stretch.

    Raises:
        DetectionError: a file cannot be written.
        RecordingError: events cannot be read.
    """
    parts, classes = looks.parts, looks.data.classes
    names = recording_names(parts)
    network = settings.network(detector)
    width = getattr(detector, "embedding", 0) if settings.embeddings else 0
    decoder = Decoder(confidence=settings.confidence, iou=settings.iou, max_detections=settings.max_detections)
    placement = looks.data.encoder.placement()
    scored_at: dict[str, list[int]] = defaultdict(list)
    known_at: list[dict[str, list[int]]] = [defaultdict(list) for _ in range(looks.data.rules.time_steps)]
    # The truth is renamed into place first: where detections are, their truth is.
    with (
        DetectionWriter(detections, classes=classes, embedding=width or None, metadata=metadata) as found,
        DetectionWriter(truth, classes=classes, metadata=metadata) as true,
    ):
        for stretch, predictions in _inferred(network, looks, settings, device):
            for step in range(len(stretch.ends_us)):
                for mask, times in ((stretch.known, known_at[step]), (stretch.scored, scored_at)):
                    for window in np.flatnonzero(mask[step]):
                        times[names[stretch.recording[window]]].append(int(stretch.ends_us[step, window]))
                scored = stretch.scored[step]
                if settings.steps == "all" or scored.any():
                    found.append(
                        _rows(
                            stretch,
                            step,
                            predictions,
                            decoder,
                            placement,
                            looks,
                            names=names,
                            kept=None if settings.steps == "all" else scored,
                            embeddings=bool(width),
                        )
                    )
            true.append(_truth_rows(stretch, names, classes))
            advance("")
        true.metadata |= {
            "looks": scored_at,
            "scored_step": None if isinstance(looks, WholeRecordings) else looks.data.rules.time_steps - 1,
            "step_looks": known_at if settings.steps == "all" else None,
        }


def _inferred(
    network: nn.Module, looks: Looks, settings: Detecting, device: torch.device
) -> Iterator[tuple[Stretch, Predictions]]:
    state: Any = None
    for stretch in looks:
        with torch.inference_mode():
            frames = stretch.frames.to(device, non_blocking=True)
            if settings.carry:
                predictions, state = network.stream(frames, None if stretch.first else state)  # type: ignore[operator]
            else:
                predictions = network(frames)
        yield stretch, predictions


def _rows(
    stretch: Stretch,
    step: int,
    predictions: Predictions,
    decoder: Decoder,
    placement: Placement,
    looks: Looks,
    *,
    names: Sequence[str],
    kept: npt.NDArray[np.bool_] | None,
    embeddings: bool,
) -> DetectionTable:
    """What one step of each of the windows shows."""
    height, width = stretch.frames.shape[-2:]
    found = decoder(predictions.at_step(step, embeddings=embeddings), frame_size=(height, width))
    windows = [window for window in range(len(found)) if kept is None or kept[window]]
    counts = [len(found[window]) for window in windows]
    index = np.repeat(np.array(windows, np.int64), counts)
    sensor = looks.parts[0].recording
    joined = [found[window] for window in windows]
    xyxy = placement.to_sensor(np.concatenate([item.xyxy for item in joined]), sensor.width, sensor.height)
    return DetectionTable(
        tuple(names),
        tuple(looks.data.classes),
        stretch.recording[index],
        stretch.ends_us[step, index],
        np.full(len(index), step, np.int64),
        np.concatenate([item.class_id for item in joined]).astype(np.int64),
        np.concatenate([item.score for item in joined]).astype(np.float32),
        np.concatenate((xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]), axis=1),
        np.full(len(index), -1, np.int64),
        np.concatenate([item.embedding for item in joined if item.embedding is not None]) if embeddings else None,
    )


def _truth_rows(stretch: Stretch, names: Sequence[str], classes: Sequence[str]) -> DetectionTable:
    boxes = stretch.truth
    return DetectionTable(
        tuple(names),
        tuple(classes),
        stretch.recording[stretch.window],
        boxes.t,
        stretch.step,
        boxes.class_id,
        np.ones(len(boxes), np.float32),
        np.concatenate((boxes.xyxy[:, :2], boxes.xyxy[:, 2:] - boxes.xyxy[:, :2]), axis=1),
        boxes.track_id,
    )
