"""The folded network as an ONNX model, its neurons unrolled over time in standard operators."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from spikeyolo.model.exchange.checked import largest_difference, partial_path
from spikeyolo.model.inference.backend import onnxruntime_program
from spikeyolo.model.inference.fold import fold
from spikeyolo.model.inference.window import WindowOutputs, onnx_model


def export_onnx(detector: nn.Module, frames: Tensor, path: Path) -> float:
    """Write an ONNX model, run it in onnxruntime, and give the largest difference of a logit from the detector's.

    The model takes ``frames`` as float32.

    Args:
        detector: unfolded, in any mode.
        frames: ``[T, B, C, H, W]`` uint8, the window's shape and what is compared.
        path: ``.onnx``, written whole or not at all.

    Raises:
        ConfigError: onnx, onnxscript or onnxruntime is not installed.
    """
    model = onnx_model(fold(detector), frames)
    with torch.no_grad():
        difference = largest_difference(WindowOutputs(detector.eval())(frames), onnxruntime_program(model)(frames))
    partial = partial_path(path)
    try:
        partial.write_bytes(model)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return difference
