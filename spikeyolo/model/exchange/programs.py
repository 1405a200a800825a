"""The network in exchange formats for whole windows: torch.export programs (pt2) and ONNX.

Both hold the folded network for windows of one shape ``[T, B, C, H, W]``, from a fresh state, and give ``box_logits``
``[T, B, A, 4, 16]`` and ``class_logits`` ``[T, B, A, K]`` (and ``embedding`` where the network has one).
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spikeyolo.errors import ConfigError
from spikeyolo.model.detector import Detector
from spikeyolo.model.inference.fold import fold
from spikeyolo.model.neuron import Ilif, IlifState
from spikeyolo.model.neuron.ilif import resumed

EXTRAS = {"onnx": "export", "onnxruntime": "export", "onnxscript": "export", "nir": "export"}


def optional(package: str) -> Any:
    """An optional package, or one clear line how to get it.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ConfigError(
            f"{package} is not installed; get it with: pip install 'spikeyolo[{EXTRAS[package]}]'"
        ) from error


class WindowOutputs(nn.Module):
    """A detector as a function from a window to a tuple of tensors, as exchange formats want it."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        predictions = self.detector(frames)
        outputs = (predictions.box_logits, predictions.class_logits)
        return outputs if predictions.embedding is None else (*outputs, predictions.embedding)


class PlainIlif(Ilif):
    """I-LIF in torch's own operators, one time step behind the other, for formats that know no custom operator."""

    def forward(self, currents: Tensor, state: IlifState | None = None, keep: bool = True) -> tuple[Tensor, IlifState]:
        residual = resumed(state, currents).residual
        left = residual if residual.numel() else None
        spikes = []
        for step in range(currents.shape[0]):
            membrane = currents[step] if left is None else currents[step] + self.p.decay * left
            fired = membrane.clamp(0, self.p.levels).round()
            left = membrane - fired
            spikes.append(fired)
        return torch.stack(spikes), IlifState(left if left is not None else currents.new_empty(0))


def plain(network: nn.Module) -> nn.Module:
    """The same network, in place, with every I-LIF in torch's own operators."""
    for parent in list(network.modules()):
        for name, neuron in list(parent.named_children()):
            if isinstance(neuron, Ilif):
                levels, decay, margin = neuron.p
                setattr(parent, name, PlainIlif(levels=levels, decay=decay, surrogate_margin=margin))
    return network


def _names(outputs: tuple[Tensor, ...]) -> list[str]:
    return ["box_logits", "class_logits", "embedding"][: len(outputs)]


def _difference(expected: tuple[Tensor, ...], found: tuple[Tensor, ...]) -> float:
    return max(float((a.cpu() - b.cpu()).abs().max()) for a, b in zip(expected, found, strict=True))


def _partial(path: Path) -> Path:
    return path.with_name(f"{path.stem}.partial-{os.getpid()}{path.suffix}")


def export_torch(detector: Detector, frames: Tensor, path: Path) -> float:
    """Write a torch.export program, read it back, and give the largest difference of a logit from the detector's.

    The I-LIF pass stays one operator (``spikeyolo::ilif``): whoever loads the file imports ``spikeyolo.model.neuron``.

    Args:
        detector: unfolded, in any mode.
        frames: ``[T, B, C, H, W]`` uint8, the window's shape and what is compared.
        path: ``.pt2``, written whole or not at all.
    """
    module = WindowOutputs(fold(detector, synapses="separable")).eval()
    partial = _partial(path)
    try:
        with torch.no_grad():
            torch.export.save(torch.export.export(module, (frames,)), partial)
            loaded = torch.export.load(partial).module()
            difference = _difference(WindowOutputs(detector.eval())(frames), loaded(frames))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return difference


def export_onnx(detector: Detector, frames: Tensor, path: Path) -> float:
    """Write an ONNX model, run it in onnxruntime, and give the largest difference of a logit from the detector's.

    The model takes ``frames`` as float32.

    Args:
        detector: unfolded, in any mode.
        frames: ``[T, B, C, H, W]`` uint8, the window's shape and what is compared.
        path: ``.onnx``, written whole or not at all.

    Raises:
        ConfigError: onnx, onnxscript or onnxruntime is not installed.
    """
    onnx, runtime = optional("onnx"), optional("onnxruntime")
    optional("onnxscript")
    module = WindowOutputs(plain(fold(detector, synapses="separable"))).eval()
    partial = _partial(path)
    window = frames.float()
    try:
        with torch.no_grad():
            expected = WindowOutputs(detector.eval())(frames)
            torch.onnx.export(
                module, (window,), str(partial), input_names=["frames"], output_names=_names(expected), dynamo=True,
                external_data=False, verbose=False,
            )  # fmt: skip
        onnx.checker.check_model(str(partial))
        session = runtime.InferenceSession(str(partial), providers=["CPUExecutionProvider"])
        found = tuple(torch.from_numpy(value) for value in session.run(None, {"frames": window.numpy()}))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return _difference(expected, found)
