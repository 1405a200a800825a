"""From a checkpoint back to what it holds: a detector to use, or the state of a training to go on with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from torch import nn

from spikeyolo import schema
from spikeyolo.engine import checkpoint
from spikeyolo.errors import CheckpointError
from spikeyolo.model.detector import Detector


def restore_detector(folder: Path) -> tuple[Detector, dict[str, Any]]:
    """The detector of a checkpoint in eval mode, and the checkpoint's readable part.

    Raises:
        CheckpointError: it cannot be read or its parts contradict one another.
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
    return detector.eval(), state


def read_training(
    folder: Path, module: nn.Module, description: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The position of a checkpoint and the state of its other parts, for a run of this model.

    Args:
        folder: of the checkpoint.
        module: whose weights it must fit.
        description: of the run; its ``classes`` must be those of the checkpoint.

    Raises:
        CheckpointError: it is damaged, not one to go on from, or of another model or other classes.
    """
    state = checkpoint.read_state(folder)
    training = checkpoint.load_training(folder, module)
    position = state.get("position")
    if not isinstance(position, dict) or not {"epoch", "batch", "step"} <= position.keys():
        raise CheckpointError(f"{folder}/state.json: no position to go on from; expected a 'last' checkpoint")
    found, expected = state.get("classes"), description.get("classes")
    if found != expected:
        raise CheckpointError(f"{folder}: a checkpoint of the classes {found}; this run's are {expected}")
    if "average_updates" in training:  # as version 0.1 wrote it
        training["average"] = {"updates": training.pop("average_updates")}
        training["generator"] = {"cpu": training["generator"]}
    return position, training
