"""A network that ``spikeyolo.export`` wrote as an ONNX file, run in onnxruntime or OpenVINO."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from spikeyolo.errors import CheckpointError, ConfigError
from spikeyolo.model.inference.backend import Precision, onnxruntime_program, openvino_program, window_predictions
from spikeyolo.model.inference.window import METADATA_KEY
from spikeyolo.model.predictions import Predictions
from spikeyolo.optional import optional


class OnnxDetector:
    """Takes frames ``[T, B, C, H, W]`` of the one shape that was exported, from a fresh state, on the CPU.

    Args:
        path: the file.
        backend: what runs it.
        precision: bfloat16 in OpenVINO only.

    Attributes:
        shape: T, B, C, H and W.
        description: what the export kept of classes, encoder and windows; empty in files of other programs.

    Raises:
        CheckpointError: it is no ONNX model, or none of frames ``[T, B, C, H, W]``.
        ConfigError: the backend is not installed, or has no such precision.
    """

    def __init__(
        self,
        path: Path,
        *,
        backend: Literal["onnxruntime", "openvino"] = "onnxruntime",
        precision: Precision = "float32",
    ) -> None:
        if backend == "onnxruntime" and precision == "bfloat16":
            raise ConfigError("backend=onnxruntime runs in float32, found precision=bfloat16; expected openvino")
        onnx = optional("onnx")
        try:
            content = path.read_bytes()
            model = onnx.load_model_from_string(content)
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read ({error.strerror}); expected an ONNX file") from error
        except Exception as error:  # protobuf's, of which each version has its own
            raise CheckpointError(f"{path}: damaged ({type(error).__name__}); expected an ONNX file") from error
        inputs = {value.name: value.type.tensor_type.shape.dim for value in model.graph.input}
        self.shape = tuple(int(side.dim_value) for side in inputs.get("frames", ()))
        if len(self.shape) != 5 or not all(self.shape):
            raise CheckpointError(
                f"{path}: its inputs are {', '.join(inputs) or 'none'}; expected frames [T, B, C, H, W] of one shape"
            )
        self.description = _description(path, {item.key: item.value for item in model.metadata_props})
        self._run = openvino_program(content, precision) if backend == "openvino" else onnxruntime_program(content)

    def __call__(self, frames: Tensor) -> Predictions:
        """All steps of a window.

        Raises:
            ConfigError: the frames have another shape.
        """
        if tuple(frames.shape) != self.shape:
            raise ConfigError(
                f"frames are {list(frames.shape)}; expected {list(self.shape)}, for which the network was exported"
            )
        return window_predictions(self._run(frames), frames)


def _description(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    try:
        found = json.loads(metadata.get(METADATA_KEY, "{}"))
    except ValueError as error:
        raise CheckpointError(f"{path}: its metadata {METADATA_KEY!r} are damaged ({error}); expected JSON") from error
    return dict(found)
