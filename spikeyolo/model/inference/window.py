"""The network as other runtimes take it: a function from one window to tensors, for frames of one shape.

Outputs are ``box_logits`` ``[T, B, A, 4, 16]``, ``class_logits`` ``[T, B, A, K]`` and, where the network has one,
``embedding`` ``[T, B, A, E]``, from a fresh state.
"""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from spikeyolo.model.neuron import Ilif, IlifState
from spikeyolo.model.neuron.ilif import resumed
from spikeyolo.optional import optional

METADATA_KEY = "spikeyolo"
EXPORTERS = ("onnxscript", "onnx_ir", "torch.onnx")  # at level INFO they tell each constant that they fold


class WindowOutputs(nn.Module):
    """A detector as a function from a window to a tuple of tensors, as exchange formats need it."""

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
            membrane = currents[step] if self.p.gain == 1 else self.p.gain * currents[step]
            if left is not None:
                membrane = membrane + self.p.decay * left
            fired = membrane.clamp(0, self.p.levels).round()
            left = membrane - fired
            spikes.append(fired)
        return torch.stack(spikes), IlifState(left if left is not None else currents.new_empty(0))


def plain(network: nn.Module) -> nn.Module:
    """The same network, in place, with every I-LIF in torch's own operators."""
    for parent in list(network.modules()):
        for name, neuron in list(parent.named_children()):
            if isinstance(neuron, Ilif):
                setattr(parent, name, PlainIlif(**neuron.p._asdict()))
    return network


def output_names(outputs: tuple[Tensor, ...]) -> list[str]:
    """Names of a window's outputs, in their order."""
    return ["box_logits", "class_logits", "embedding"][: len(outputs)]


@contextmanager
def warnings_only(names: Sequence[str]) -> Iterator[None]:
    """Let loggers say warnings and errors alone, unless somebody has set their own level; as before afterwards."""
    quiet = [logger for logger in map(logging.getLogger, names) if logger.level == logging.NOTSET]
    for logger in quiet:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger in quiet:
            logger.setLevel(logging.NOTSET)


def onnx_model(
    network: nn.Module, frames: Tensor, *, optimize: bool = True, description: Mapping[str, Any] | None = None
) -> bytes:
    """A folded network in eval mode as an ONNX model for float32 ``frames`` of this shape.

    Args:
        description: JSON values, kept in the model's metadata as ``spikeyolo``.
        optimize: write a smaller graph, which takes half as long again; runtimes optimise by themselves.

    Raises:
        ConfigError: onnx or onnxscript is not installed.
    """
    onnx = optional("onnx")
    optional("onnxscript")
    module = WindowOutputs(plain(copy.deepcopy(network))).eval()
    window = torch.zeros(frames.shape)
    with torch.no_grad(), warnings_only(EXPORTERS):
        names = output_names(module(window))
        program = torch.onnx.export(
            module, (window,), input_names=["frames"], output_names=names, dynamo=True, optimize=optimize, verbose=False
        )
    assert program is not None
    model = program.model_proto
    if description is not None:
        entry = model.metadata_props.add()
        entry.key, entry.value = METADATA_KEY, json.dumps(description, allow_nan=False)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
