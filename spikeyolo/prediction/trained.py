"""A trained network with all that was settled when it was trained, out of a checkpoint or an exported file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from omegaconf import OmegaConf
from torch import Tensor

from spikeyolo import schema
from spikeyolo.engine.checkpoints.restore import restore_detector
from spikeyolo.engine.device import choose_device
from spikeyolo.errors import CheckpointError, ConfigError
from spikeyolo.evaluation.tables.identity import checkpoint_digest
from spikeyolo.model import InferenceDetector
from spikeyolo.model.inference import Backend, OnnxDetector, Precision
from spikeyolo.model.predictions import Predictions
from spikeyolo.windows.encoders import Encoder

Stream = Callable[[Tensor, Any], tuple[Predictions, Any]]


@dataclass(frozen=True, eq=False)
class Trained:
    """What runs, and how its frames are made.

    Attributes:
        window: frames ``[T, B, C, H, W]`` to predictions of all steps, from a fresh state.
        stream: the same from a state, which it returns too; None where no state is carried.
        device: of the frames.
        classes: names, in the order of class ids.
        encoder: events to frames.
        slice_duration_us, time_steps: of a window.
        max_events: of a window; more are thinned evenly. None: all are taken.
        sensor: width and height, px, of what it was trained on; None where nothing tells.
        fixed: the only T, W and H of windows that it takes; None: any.
        backend: that runs it, never ``auto``.
        settings: of the training (``data``, ``evaluator`` …), as its configuration has them; may be empty.
        digest: of what runs.
        source: the checkpoint's folder or the file.
    """

    window: Callable[[Tensor], Predictions]
    stream: Stream | None
    device: torch.device
    classes: tuple[str, ...]
    encoder: Encoder
    slice_duration_us: int
    time_steps: int
    max_events: int | None = None
    sensor: tuple[int, int] | None = None
    fixed: tuple[int, int, int] | None = None
    backend: Backend = "torch"
    settings: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""
    source: Path = Path()

    @property
    def in_lanes(self) -> bool:
        """Whether it was trained on windows that follow one another, so that it knows states other than empty ones."""
        return (self.settings.get("data") or {}).get("sampling") in ("streaming", "mixed")


def load_trained(
    checkpoint: Path | str,
    *,
    device: str = "auto",
    backend: Backend | None = None,
    precision: Precision = "float32",
    weight_bits: Literal[4, 8] | None = None,
) -> Trained:
    """A checkpoint's folder or an ONNX file that ``spikeyolo.export`` wrote.

    Args:
        checkpoint: folder such as ``outputs/…/checkpoints/best``, or a file ``NAME.onnx``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; an ONNX file runs on the CPU.
        backend: that runs the network; None runs a checkpoint folded in torch, an ONNX file in onnxruntime.
        precision: of weights and maps.
        weight_bits: rounds a checkpoint's weights to so few bits; None leaves them as they were trained.

    Raises:
        CheckpointError: it cannot be read, or does not tell its encoder and windows.
        ConfigError: there is no such device or backend, or the weights cannot be rounded.
    """
    place = Path(checkpoint)
    if place.suffix.lower() == ".onnx":
        if weight_bits is not None:
            raise ConfigError(
                f"weight_bits: found {weight_bits} with {place}, whose weights are those of its export; expected null, "
                "and python -m spikeyolo.export … weight_bits=…"
            )
        return _of_file(place, device, backend, precision)
    if place.is_file():
        raise CheckpointError(f"{place}: is a file; expected a checkpoint's folder, or a file NAME.onnx")
    detector, state = restore_detector(place, weight_bits=weight_bits)
    detector = detector.to(choose_device(device))
    network = InferenceDetector(detector, backend=backend or "torch", precision=precision)
    return Trained(
        network,
        network.stream if network.backend == "torch" else None,
        next(detector.parameters()).device,
        **_settled(state, place),
        backend=network.backend,
        digest=checkpoint_digest(place, weight_bits=weight_bits),
    )


def _of_file(file: Path, device: str, backend: Backend | None, precision: Precision) -> Trained:
    if device not in ("auto", "cpu"):
        raise ConfigError(f"device: found {device}; an ONNX file runs on the CPU, expected auto or cpu")
    if backend not in (None, "onnxruntime", "openvino"):
        raise ConfigError(f"backend: found {backend}; an ONNX file runs in onnxruntime or openvino")
    runs: Literal["onnxruntime", "openvino"] = "openvino" if backend == "openvino" else "onnxruntime"
    network = OnnxDetector(file, backend=runs, precision=precision)
    if not network.description:
        raise CheckpointError(
            f"{file}: tells neither encoder nor windows; expected a file that python -m spikeyolo.export of this "
            "version wrote"
        )
    steps, _, _, height, width = network.shape
    settled = _settled(network.description, file)
    settled["time_steps"] = steps
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return Trained(
        network, None, torch.device("cpu"), **settled, backend=runs, fixed=(steps, width, height), digest=digest
    )


def _settled(state: Mapping[str, Any], place: Path) -> dict[str, Any]:
    """Classes, encoder and windows that a checkpoint tells."""
    if not isinstance(state.get("encoder"), dict) or not isinstance(state.get("windows"), dict):
        raise CheckpointError(
            f"{place}: tells neither encoder nor windows; expected a checkpoint of version 2 or later"
        )
    node = OmegaConf.create({"encoder": state["encoder"]})
    schema.check(node)
    told = (state.get("frame") or {}).get("sensor")
    sensor = None if told is None else (int(told[0]), int(told[1]))
    encoder: Encoder = schema.build(node.encoder)
    return {
        "classes": tuple(state["classes"]),
        "encoder": encoder if sensor is None else encoder.for_sensor(*sensor),
        "slice_duration_us": int(state["windows"]["slice_duration_us"]),
        "time_steps": int(state["windows"]["time_steps"]),
        "max_events": state["windows"].get("max_events_per_sample"),
        "sensor": sensor,
        "settings": state.get("settings") or {},
        "source": place,
    }
