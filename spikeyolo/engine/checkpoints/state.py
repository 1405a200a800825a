"""Where a training run stands: named components, each with ``state_dict`` and ``load_state_dict``, and the position."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

import torch

log = logging.getLogger(__name__)


class Component(Protocol):
    """What a checkpoint keeps."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Any) -> Any: ...


class TrainingState:
    """The components that a run is made of, saved and loaded by name.

    A component that an older checkpoint lacks keeps its start values; one that the run does not have is left out.
    """

    def __init__(self, **components: Component) -> None:
        self.components = components

    def state_dict(self) -> dict[str, Any]:
        return {name: component.state_dict() for name, component in self.components.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, component in self.components.items():
            if name in state:
                component.load_state_dict(state[name])
        surplus = sorted(state.keys() - self.components.keys())
        if surplus:
            log.info("not used of the checkpoint: %s", ", ".join(surplus))


@dataclass
class Position:
    """What ``state.json`` of a checkpoint says of the run.

    Attributes:
        epoch, batch: the next batch to train on; ``batch`` is that of the epoch.
        step: updates made so far.
        elapsed_s: time trained so far, over all the runs that went on from one another.
        warm_up_s: what first batches took beyond usual ones.
        validation_s: the longest validation so far.
        lr: the last update's learning rate.
        lr_share: of the schedule's learning rates; less than 1 after the run was taken back for losses not finite.
        skipped: steps left out because a loss term was not finite.
        overflowed: updates left out because gradients overflowed in float16, which only lowers the loss's scale.
        best_epoch, best: the epoch with the best figure (-1: none yet), and the figure.
        best_from: the epoch from which on figures compete: those before it are of a larger network, or were measured
            otherwise.
        history: one row of figures an epoch.
        meter: sums of the epoch's loss terms so far; None between epochs.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    elapsed_s: float = 0.0
    warm_up_s: float = 0.0
    validation_s: float = 0.0
    lr: float = 0.0
    lr_share: float = 1.0
    skipped: int = 0
    overflowed: int = 0
    best_epoch: int = -1
    best: float = float("-inf")
    best_from: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    meter: dict[str, float] | None = None

    def choose_anew(self) -> None:
        """From the present epoch on, choose the best one anew."""
        self.best_epoch, self.best, self.best_from = -1, float("-inf"), self.epoch

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for item in fields(self):
            if item.name in state:
                setattr(self, item.name, state[item.name])
        # What is not a number is null in JSON.
        self.best = float("-inf") if self.best is None else self.best
        self.history = [{k: math.nan if v is None else v for k, v in row.items()} for row in self.history]


class Generator:
    """Torch's random numbers of the CPU, as a component."""

    def state_dict(self) -> dict[str, Any]:
        return {"cpu": torch.get_rng_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        torch.set_rng_state(state["cpu"])
