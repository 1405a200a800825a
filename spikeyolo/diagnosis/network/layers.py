"""What every neuron and every block of a network does with one batch: how often it fires, where its membrane lies, how
much gradient reaches it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from spikeyolo.model.blocks import SpikingConv
from spikeyolo.model.predictions import Predictions
from spikeyolo.windows.batch import Batch

_MOST = 200_000  # values of a layer from which percentiles are taken


@dataclass(frozen=True)
class LayerActivity:
    """One neuron on one batch.

    Attributes:
        name: of its unit.
        firing: share of outputs above 0.
        full: share of outputs at the most that the neuron can give; 0 where there is no most.
        low, high: between which nine tenths of the membranes lie before they spike (of neurons without a membrane that
            can be told: of their currents).
    """

    name: str
    firing: float
    full: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Examined:
    """A network on one batch.

    Attributes:
        layers: in the order in which they compute.
        gradients: block → norm of the gradient of its weights, in the order of the network.
        terms: of the loss, by name, and ``total``.
        positives: anchor points that answer for a box.
        predictions: as in training, detached.
    """

    layers: tuple[LayerActivity, ...]
    gradients: dict[str, float]
    terms: dict[str, float]
    positives: int
    predictions: Predictions


def activity(detector: nn.Module, frames: Tensor, *, trained: bool) -> tuple[LayerActivity, ...]:
    """What every layer of a copy of a network does with frames ``[T, B, C, H, W]``; needs no labels.

    Args:
        trained: whether its norms have their statistics, so that it is looked at as it infers; a new one is looked at
            as it trains.
    """
    network = copy.deepcopy(detector)
    rows: list[LayerActivity] = []
    for name, unit in network.named_modules():
        if isinstance(unit, SpikingConv) and unit.neuron is not None:
            if hasattr(unit.neuron, "overwrites"):
                unit.neuron.overwrites = "never"
            unit.neuron.register_forward_hook(_watch(rows, name))
    network.train(not trained)
    with torch.no_grad():
        network(frames)
    return tuple(rows)


def examine(detector: nn.Module, loss: Callable[..., Any], batch: Batch, *, trained: bool) -> Examined:
    """Run a copy of a network forward and back.

    Args:
        trained: see :func:`activity`.
    """
    seen = activity(detector, batch.frames, trained=trained)
    network = copy.deepcopy(detector)
    network.train()
    predictions = network(batch.frames)
    terms = loss(predictions, batch.targets)
    terms.total.backward()
    return Examined(
        layers=seen,
        gradients=_gradients(network),
        terms={
            **{name: float(value.detach()) for name, value in terms.named().items()},
            "total": float(terms.total.detach()),
        },
        positives=int(terms.num_positives),
        predictions=replace(
            predictions, box_logits=predictions.box_logits.detach(), class_logits=predictions.class_logits.detach()
        ),
    )


def _watch(rows: list[LayerActivity], name: str) -> Callable[[nn.Module, Any, Any], None]:
    def hook(neuron: nn.Module, inputs: Any, outputs: Any) -> None:
        currents, spikes = inputs[0].detach(), outputs[0].detach()
        levels = getattr(neuron, "levels", None)
        membrane = _membrane(neuron, currents, spikes).flatten()
        membrane = membrane[:: max(1, len(membrane) // _MOST)].float()
        low, high = torch.quantile(membrane, torch.tensor([0.05, 0.95], device=membrane.device)).tolist()
        full = 0.0 if levels is None else float((spikes >= levels).float().mean())
        rows.append(LayerActivity(name, float((spikes > 0).float().mean()), full, low, high))

    return hook


def _membrane(neuron: nn.Module, currents: Tensor, spikes: Tensor) -> Tensor:
    """``[T, ...]`` before each step's spikes, of a neuron with a soft reset; of others the currents."""
    parameters = getattr(neuron, "p", None)
    decay, gain = getattr(parameters, "decay", None), getattr(parameters, "gain", None)
    if not isinstance(decay, float) or not isinstance(gain, float):
        return currents
    steps, rest = [], torch.zeros_like(currents[0])
    for current, spike in zip(currents, spikes):
        membrane = decay * rest + gain * current
        steps.append(membrane)
        rest = membrane - spike
    return torch.stack(steps)


def _gradients(network: nn.Module) -> dict[str, float]:
    squares: dict[str, float] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            block = ".".join(name.split(".")[:2])
            square = 0.0 if parameter.grad is None else float(parameter.grad.float().square().sum())
            squares[block] = squares.get(block, 0.0) + square
    return {block: square**0.5 for block, square in squares.items()}
