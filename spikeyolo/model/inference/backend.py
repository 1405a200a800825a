"""A trained detector as inference runs it: the folded network in torch, compiled, in OpenVINO or in onnxruntime."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikeyolo.errors import ConfigError
from spikeyolo.model.detector import STRIDES, Detector
from spikeyolo.model.head import anchor_points
from spikeyolo.model.inference.fold import fold
from spikeyolo.model.inference.window import onnx_model
from spikeyolo.model.neuron import Ilif, Neuron, Relu
from spikeyolo.model.predictions import Predictions
from spikeyolo.model.streaming import DetectorState
from spikeyolo.optional import optional

Backend = Literal["torch", "compile", "openvino", "onnxruntime", "auto"]
Precision = Literal["float32", "bfloat16"]
Program = Callable[[Tensor], tuple[Tensor, ...]]  # a window's frames → its outputs, for frames of one shape

log = logging.getLogger(__name__)


class InferenceDetector(nn.Module):
    """Takes a detector's place wherever it only infers: frames in, predictions out.

    OpenVINO and onnxruntime build a program for each shape of window, the first time they meet it; they run on a CPU
    and take whole windows from a fresh state. All use as many threads as torch.

    Args:
        detector: trained, in any mode; it is left as it is.
        backend: ``torch`` is the folded network; ``compile`` the same through ``torch.compile``; ``auto`` is OpenVINO
            for a detector on a CPU whose neurons it takes, where it is installed, and torch elsewhere.
        precision: of weights and maps; spike counts are exact in bfloat16, membranes of torch integrate in float32.

    Attributes:
        backend: what runs, never ``auto``.

    Raises:
        ConfigError: the backend is not installed, has no such precision, or does not run on the detector's device.
    """

    def __init__(self, detector: nn.Module, *, backend: Backend = "torch", precision: Precision = "float32") -> None:
        super().__init__()
        device = next(detector.parameters()).device
        check_backend(device, backend=backend, precision=precision)
        if backend == "auto":
            backend = _best(detector, device)
            log.info("backend=auto: %s", backend)
        self.backend: Backend = backend
        self.precision: Precision = precision
        in_torch = backend in ("torch", "compile")
        folded = fold(detector, dtype=torch.bfloat16 if in_torch and precision == "bfloat16" else None)
        assert isinstance(folded, Detector)
        self.network = folded
        self.eval()
        self._run = torch.compile(folded) if backend == "compile" else folded
        self._programs: dict[tuple[int, ...], tuple[int, Program]] = {}

    def forward(self, frames: Tensor) -> Predictions:
        """All steps of windows ``[T, B, C, H, W]`` from a fresh state, as :class:`Detector` gives them."""
        if self.backend in ("torch", "compile"):
            predictions: Predictions = self._run(frames)
            return predictions
        self.network.check(frames)
        return window_predictions(self._program(frames), frames)

    def stream(self, frames: Tensor, state: DetectorState | None = None) -> tuple[Predictions, DetectorState]:
        """The next steps of a long recording, as :meth:`Detector.stream`.

        Raises:
            ConfigError: the backend starts every window from a fresh state.
        """
        if self.backend != "torch":
            raise ConfigError(
                f"backend={self.backend} starts every window from a fresh state and carries none; "
                "to stream, take backend=torch"
            )
        return self.network.stream(frames, state)

    def _program(self, frames: Tensor) -> tuple[Tensor, ...]:
        steps, batch = frames.shape[:2]
        shape = (steps, *frames.shape[2:])
        held, program = self._programs.get(shape, (0, None))
        if program is None or held < batch:
            log.info(
                "building the network for %s, once for windows [T, B, C, H, W] = %s", self.backend, list(frames.shape)
            )
            model = onnx_model(self.network, frames, optimize=False)
            if self.backend == "openvino":
                program = openvino_program(model, self.precision)
            else:
                program = onnxruntime_program(model)
            held = batch
            self._programs[shape] = held, program
        window = F.pad(frames, (0, 0) * 3 + (0, held - batch))  # the last batch of a set may be a smaller one
        return tuple(output[:, :batch] for output in program(window))


def window_predictions(outputs: tuple[Tensor, ...], frames: Tensor) -> Predictions:
    """What a program gives (see :mod:`spikeyolo.model.inference.window`) for these frames, with its anchor points."""
    box, classes, *embedding = outputs
    bottom, right = -frames.shape[-2] % STRIDES[-1], -frames.shape[-1] % STRIDES[-1]
    sizes = [((frames.shape[-2] + bottom) // s, (frames.shape[-1] + right) // s) for s in STRIDES]
    points, strides = anchor_points(sizes, STRIDES, frames.device)
    return Predictions(box, classes, points, strides, embedding[0] if embedding else None)


def check_backend(device: torch.device, *, backend: Backend = "torch", precision: Precision = "float32") -> None:
    """Refuse early what an :class:`InferenceDetector` of a detector on this device would refuse.

    Raises:
        ConfigError: the backend is not installed, has no such precision, or does not run on the device.
    """
    if backend in ("openvino", "onnxruntime"):
        for package in (backend, "onnx", "onnxscript"):
            optional(package)
        if device.type != "cpu":
            raise ConfigError(f"backend={backend} runs on a CPU, found the detector on {device}; expected torch")
        if backend == "onnxruntime" and precision == "bfloat16":
            raise ConfigError("backend=onnxruntime runs in float32, found precision=bfloat16; expected openvino")


def _best(detector: nn.Module, device: torch.device) -> Backend:
    counted = all(isinstance(module, Ilif | Relu) for module in detector.modules() if isinstance(module, Neuron))
    installed = all(importlib.util.find_spec(name) for name in ("openvino", "onnx", "onnxscript"))
    return "openvino" if device.type == "cpu" and counted and installed else "torch"


def openvino_program(model: bytes, precision: Precision = "float32") -> Program:
    """An ONNX model in OpenVINO on a CPU."""
    openvino = optional("openvino")
    settings = {
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    core = openvino.Core()
    if precision == "bfloat16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        log.warning("precision: found bfloat16 on a processor that cannot multiply it: OpenVINO computes in float32")
    compiled = core.compile_model(core.read_model(model), "CPU", settings)

    def run(frames: Tensor) -> tuple[Tensor, ...]:
        results = compiled(frames.float().numpy())
        return tuple(torch.from_numpy(results[output].copy()) for output in compiled.outputs)

    return run


def onnxruntime_program(model: bytes) -> Program:
    """An ONNX model in onnxruntime on a CPU."""
    runtime = optional("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(frames: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.from_numpy(value) for value in session.run(None, {"frames": frames.float().numpy()}))

    return run
