"""The folded network as an ONNX model, its neurons unrolled over time in standard operators."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from spikeyolo.model.exchange.checked import largest_difference, partial_path
from spikeyolo.model.inference.backend import onnxruntime_program, openvino_program
from spikeyolo.model.inference.fold import fold
from spikeyolo.model.inference.window import WindowOutputs, onnx_model


def export_onnx(
    detector: nn.Module,
    frames: Tensor,
    path: Path,
    description: Mapping[str, Any] | None = None,
    *,
    backend: Literal["onnxruntime", "openvino"] = "onnxruntime",
) -> float:
    """Write an ONNX model, run it, and give the largest difference of a logit from the detector's.

    The model takes ``frames`` as float32.

    Args:
        detector: unfolded, in any mode.
        frames: ``[T, B, C, H, W]`` uint8, the window's shape and what is compared.
        path: ``.onnx``, written whole or not at all.
        description: of classes, encoder and windows, JSON values; kept in the file for :class:`OnnxDetector`.
        backend: what runs the model.

    Raises:
        ConfigError: onnx, onnxscript or the backend is not installed.
    """
    model = onnx_model(fold(detector), frames, description=description)
    run = openvino_program(model) if backend == "openvino" else onnxruntime_program(model)
    with torch.no_grad():
        difference = largest_difference(WindowOutputs(detector.eval())(frames), run(frames))
    partial = partial_path(path)
    try:
        partial.write_bytes(model)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return difference
