"""The full key that a user probably meant, where the one that was written does not exist or is no value's."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# What other detectors' command lines, and the scripts this platform grew out of, call a key of ours.
KNOWN_ELSEWHERE = {
    "learning_rate": "optimizer.lr",
    "lr0": "optimizer.lr",
    "epochs": "trainer.max_epochs",
    "batch": "data.batch_size",
    "box_loss_weight": "loss.box_weight",
    "max_learning_rate": "scheduler.max_lr",
    "num_workers": "data.workers",
    "num_steps": "data.time_steps",
}


def elsewhere(key: str, tree: Any) -> str | None:
    """The full key in a configuration whose last name is that of ``key``, or nearly so, or that other projects call so.

    Args:
        key: as the user wrote it, such as ``lr``, ``batch`` or ``optimizer.learning_rate``.
        tree: the configuration as nested dictionaries.
    """
    known: dict[str, list[str]] = {}
    for path in _paths(tree):
        known.setdefault(path.rpartition(".")[2], []).append(path)
    name = key.lstrip("+").rpartition(".")[2]
    meant = KNOWN_ELSEWHERE.get(name)
    if meant is not None and meant in known.get(meant.rpartition(".")[2], ()):
        return meant
    close = [name] if name in known else difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    return min(known[close[0]], key=lambda path: (path.count("."), path)) if close else None


def config_directory() -> Path:
    """The configuration tree: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


def as_group(key: str, value: str) -> str | None:
    """How an option of a group is chosen, where a key is a group's: ``model/neuron=relu`` for ``model.neuron``."""
    group = key.replace(".", "/")
    options = sorted(path.stem for path in (config_directory() / group).glob("*.yaml"))
    if not options:
        return None
    if value in options:
        return f"{group}={value}, with a slash"
    return f"{group}=OPTION, with a slash and one of {', '.join(options)}"


def _paths(tree: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            if not (prefix == "" and key == "hydra") and not str(key).startswith("_"):
                path = f"{prefix}.{key}" if prefix else str(key)
                yield path
                yield from _paths(value, path)
