"""What a training run says of itself to its tracking server: name, parameters, data sets, description."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spikeyolo import entry
from spikeyolo.repeat import chosen_before
from spikeyolo.report.mlflow.dataset_use import DatasetUse
from spikeyolo.windows.dataset import WindowDataset

NOT_PARAMETERS = ("logger.", "hydra.")  # an address may hold a password
USUAL_NEURON = "ilif"  # of every conf/model
NAMED_ANYWAY = {
    "model",
    "model/neuron",
    "optimizer",
    "experiment",
    "logger",
    "inference",
}  # or no matter of the training


def own_choices(choices: Mapping[str, Any]) -> dict[str, str]:
    """The options that were chosen of the configuration's groups, Hydra's own left out."""
    own = {group: str(option) for group, option in choices.items() if not group.startswith("hydra/") and option}
    return {group: chosen_before(option) for group, option in own.items()}


def parameters(composed: Mapping[str, Any], choices: Mapping[str, Any]) -> dict[str, Any]:
    """Flat: each group's option (``model=femto``) and each value, without the classes that they build."""
    values = {
        name: value
        for name, value in entry.flatten(dict(composed)).items()
        if not name.startswith(NOT_PARAMETERS) and not name.rpartition(".")[2].startswith("_")
    }
    return {**values, **{group: option for group, option in own_choices(choices).items() if group != "logger"}}


def run_name(composed: Mapping[str, Any], choices: Mapping[str, Any], overrides: Sequence[str] = ()) -> str:
    """What tells runs apart at a glance, such as ``highfreq femto relu adamw s0``: the network, a neuron that is not
    the usual one, what the command line chose of other groups, optimizer and seed."""
    chosen = own_choices(choices)
    neuron = chosen.get("model/neuron")
    given = [override.lstrip("+").partition("=")[0] for override in overrides]
    parts = [
        str(composed["name"]),
        chosen.get("model"),
        None if neuron == USUAL_NEURON else neuron,
        *(chosen[group] for group in dict.fromkeys(given) if group in chosen and group not in NAMED_ANYWAY),
        chosen.get("optimizer"),
        f"s{composed['seed']}",
    ]
    return " ".join(part for part in parts if part)


def dataset_use(windows: WindowDataset, *, name: str, split: str) -> DatasetUse:
    """The recordings and labels that a split's windows are cut from; the digest is of both."""
    digest = hashlib.sha256()
    for part in windows.parts:
        boxes = part.inside
        digest.update(f"{part.name} {part.recording.attributes['digest']} {part.start_us} {part.end_us}".encode())
        for column in (boxes.t, boxes.xyxy, boxes.class_id, boxes.track_id):
            digest.update(column.tobytes())
    profile = {
        "recordings": len(windows.parts),
        "events": sum(part.recording.count(part.start_us, part.end_us) for part in windows.parts),
        "boxes": sum(len(part.inside) for part in windows.parts),
        "windows": len(windows),
    }
    source = str(windows.parts[0].recording.path).rpartition("/")[0]
    return DatasetUse(name, digest.hexdigest()[:16], split, source, profile)


def description(
    *, overrides: Sequence[str], folder: Path, classes: Sequence[str], datasets: Sequence[DatasetUse]
) -> str:
    """For a person, in Markdown: MLflow's Description."""
    lines = [f"`{' '.join(['python -m spikeyolo.train', *overrides])}`", f"folder `{folder}`", ", ".join(classes)]
    for used in datasets:
        counts = ", ".join(f"{count:,} {name}" for name, count in used.profile.items())
        lines.append(f"{used.split}: {counts}")
    return "\n\n".join(lines)
