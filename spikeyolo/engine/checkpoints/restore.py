"""From a checkpoint back to what it holds: a detector to use, or the state of a training to go on with."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from omegaconf import OmegaConf
from torch import nn

from spikeyolo import schema
from spikeyolo.engine.checkpoints import checkpoint, settings
from spikeyolo.engine.update.optimizer import OptimizerState
from spikeyolo.errors import CheckpointError
from spikeyolo.model.detector import Detector
from spikeyolo.model.pruning import remove_silent
from spikeyolo.moved import moved

log = logging.getLogger(__name__)


def restore_detector(folder: Path, *, weight_bits: Literal[4, 8] | None = None) -> tuple[Detector, dict[str, Any]]:
    """The detector of a checkpoint in eval mode, and what its ``state.json`` says.

    Channels that pruning has silenced are left out.

    Args:
        folder: of the checkpoint.
        weight_bits: rounds weights to so few bits, see :class:`Detector`; None leaves them as they were trained.

    Raises:
        CheckpointError: it cannot be read or its files contradict one another.
        ConfigError: its weights do not meet spikes, so that they cannot be rounded.
    """
    state = checkpoint.read_state(folder)
    try:
        model = {**state["model"], "pretrained": None}
        classes, channels = state["classes"], state["in_channels"]
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / 'state.json'}: does not describe its model ({error} is missing)") from error
    node = OmegaConf.create({"model": model})
    schema.check(node, groups=("model",))
    detector: Detector = schema.build(node.model, num_classes=len(classes), in_channels=channels)
    checkpoint.load_weights(folder, detector)
    silent = remove_silent(detector)
    if silent:
        log.info("%s: %d channels were pruned and are left out", folder, silent)
    if weight_bits is not None:
        detector.quantise(weight_bits)
    return detector.eval(), state


@dataclass(frozen=True)
class Saved:
    """What a run goes on from.

    Attributes:
        position: of the run, see :class:`spikeyolo.engine.checkpoints.state.Position`.
        components: the state of the others, by name.
        changed: flat keys of the configuration that are another now, with both values.
    """

    position: Mapping[str, Any]
    components: Mapping[str, Any]
    changed: settings.Changes


def read_training(
    folder: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    description: Mapping[str, Any],
    *,
    max_epochs: int,
) -> Saved:
    """A checkpoint for a run of this model to go on from.

    Args:
        folder: of the checkpoint.
        module: whose weights it must fit.
        optimizer: whose state it must fit.
        description: of the run; its ``classes`` must be those of the checkpoint, and its ``settings`` may differ from
            the checkpoint's where that takes effect.
        max_epochs: of the run.

    Raises:
        CheckpointError: it is damaged, not one to go on from, or of another model, optimizer or other classes.
        ConfigError: a value was changed that cannot take effect.
    """
    state = checkpoint.read_state(folder)
    position = state.get("position")
    if not isinstance(position, dict) or not {"epoch", "batch", "step"} <= position.keys():
        raise CheckpointError(f"{folder}/state.json: no position to go on from; expected a 'last' checkpoint")
    found, expected = state.get("classes"), description.get("classes")
    if found != expected:
        raise CheckpointError(f"{folder}: a checkpoint of the classes {found}; this run's are {expected}")
    changed = _changed(state, description)
    settings.check(changed, mid_epoch=position["batch"] > 0, finished=position["epoch"] >= max_epochs)
    components = checkpoint.load_training(folder, module)
    if "average_updates" in components:  # as version 0.1 wrote it
        components["average"] = {"updates": components.pop("average_updates")}
        components["generator"] = {"cpu": components["generator"]}
    OptimizerState(optimizer, module).check(components["optimizer"])
    return Saved(position, components, changed)


def check_data(folder: Path, digests: Mapping[str, str], description: Mapping[str, Any]) -> None:
    """Refuse recordings or labels that are not the checkpoint's, unless settings of the data were changed on purpose.

    Args:
        folder: of the checkpoint.
        digests: split → digest of its recordings and labels, as in ``state.json``.
        description: of the run, with its ``settings``.

    Raises:
        CheckpointError: names the split and both digests.
    """
    state = checkpoint.read_state(folder)
    kept: Mapping[str, str] = state.get("digests") or {}  # earlier versions kept none
    meant = settings.choosing(_changed(state, description))
    for split in () if meant else kept.keys() & digests.keys():
        if kept[split] != digests[split]:
            raise CheckpointError(
                f"{split}: recordings or labels with digest {digests[split]}, where {folder} was trained with "
                f"{kept[split]}; expected the same data (data.root, data.store), or "
                f"model.pretrained={folder / checkpoint.WEIGHTS} without trainer.resume to start another training from "
                "its weights"
            )


def _changed(state: Mapping[str, Any], description: Mapping[str, Any]) -> settings.Changes:
    before, now = moved(_settings(state)), moved(_settings(description))
    return settings.changes(before, now, defaults=schema.defaults(now.get("model"), "model"))


def _settings(description: Mapping[str, Any]) -> dict[str, Any]:
    """Of a run; version 0.1 kept the model's alone."""
    kept = description.get("settings")
    return (
        dict(kept) if kept is not None else {key: description[key] for key in ("model", "seed") if key in description}
    )
