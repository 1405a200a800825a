"""Where a training run stands: what ``state.json`` of a checkpoint says of it, and how a run goes on from there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from spikeyolo.engine import checkpoint
from spikeyolo.errors import CheckpointError


@dataclass
class Position:
    """Part of every checkpoint.

    Attributes:
        epoch, batch: the next batch to train on; ``batch`` is that of the epoch.
        step: updates made so far.
        elapsed_s: time trained so far, over all the runs that went on from one another.
        lr: the last update's learning rate.
        best_epoch, best: the epoch with the best figure (-1: none yet), and the figure.
        history: one row of figures an epoch.
        meter: sums of the epoch's loss terms so far; None between epochs.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    elapsed_s: float = 0.0
    lr: float = 0.0
    best_epoch: int = -1
    best: float = float("-inf")
    history: list[dict[str, float]] = field(default_factory=list)
    meter: dict[str, float] | None = None


def read_position(folder: Path, module: nn.Module, description: Mapping[str, Any]) -> tuple[Position, dict[str, Any]]:
    """The position of a checkpoint and its training state, for a run of this model.

    Args:
        folder: of the checkpoint.
        module: whose weights it must fit.
        description: of the run; its ``classes`` must be those of the checkpoint.

    Raises:
        CheckpointError: it is damaged, not one to go on from, or of another model or other classes.
    """
    state = checkpoint.read_state(folder)
    training = checkpoint.load_training(folder, module)
    if set(state.get("position", {})) != set(vars(Position())):
        raise CheckpointError(f"{folder}/state.json: no position to go on from; expected a 'last' checkpoint")
    found, expected = state.get("classes"), description.get("classes")
    if found != expected:
        raise CheckpointError(f"{folder}: a checkpoint of the classes {found}; this run's are {expected}")
    return Position(**state["position"]), training
