"""The folded network as a torch.export program (pt2)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from spikeyolo.model.exchange.checked import largest_difference, partial_path
from spikeyolo.model.inference.fold import fold
from spikeyolo.model.inference.window import WindowOutputs


def export_torch(detector: nn.Module, frames: Tensor, path: Path) -> float:
    """Write a torch.export program, read it back, and give the largest difference of a logit from the detector's.

    The I-LIF pass stays one operator (``spikeyolo::ilif``): whoever loads the file imports ``spikeyolo.model.neuron``.

    Args:
        detector: unfolded, in any mode.
        frames: ``[T, B, C, H, W]`` uint8, the window's shape and what is compared.
        path: ``.pt2``, written whole or not at all.
    """
    module = WindowOutputs(fold(detector, synapses="separable")).eval()
    partial = partial_path(path)
    try:
        with torch.no_grad():
            torch.export.save(torch.export.export(module, (frames,)), partial)
            loaded = torch.export.load(partial).module()
            difference = largest_difference(WindowOutputs(detector.eval())(frames), loaded(frames))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return difference
