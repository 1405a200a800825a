"""What a run that goes on may change of its configuration: most values take effect, some cannot, and all are said."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from spikeyolo.errors import ConfigError

Changes = Mapping[str, tuple[Any, Any]]

# Without influence on what is trained or measured, or where things lie on this machine.
_FREE = (
    "trainer.resume",
    "data.workers",
    "data.cache",
    "data.cache_memory",
    "data.cache_folder",
    "data.store",
    "data.root",
    "data.dataset.root",
)
# The network that the weights belong to; how it is executed, or first filled, may change.
_NETWORK = ("model.", "data.encoder.")
_EXECUTION = ("model.pretrained", "model.strict", "model.branch_scale", "model.class_prior", "model.form")
# Of the data, what leaves recordings and labels as they are.
_WINDOWS = {
    f"data.{name}"
    for name in (
        "slice_duration_us",
        "time_steps",
        "slicing",
        "events_per_window",
        "overlap",
        "temporal_buffer",
        "max_label_gap_us",
        "targets",
        "max_samples_per_file",
        "max_events_per_sample",
        "negative_share",
        "batch_size",
        "samples_per_epoch",
        "sampling",
        "reset_share",
    )
}


def changes(
    before: Mapping[str, Any], now: Mapping[str, Any], *, defaults: Mapping[str, Any] | None = None
) -> dict[str, tuple[Any, Any]]:
    """Flat keys that both configurations have with different values; a path that only moved is no change.

    Args:
        before, now: nested configurations, of the checkpoint and of this run.
        defaults: flat keys and what they are where an older version's checkpoint does not have them yet.
    """
    old, new = _flat(before), _flat(now)
    nodes = {_parent(key) for key in old}
    old = {key: value for key, value in (defaults or {}).items() if _parent(key) in nodes} | old
    common = sorted(key for key in old.keys() & new.keys() if key not in _FREE)
    return {key: (old[key], new[key]) for key in common if _value(old[key]) != _value(new[key])}


def check(changed: Changes, *, mid_epoch: bool, finished: bool) -> None:
    """Refuse what cannot take effect.

    Args:
        changed: of :func:`changes`.
        mid_epoch: whether the checkpoint lies between two batches of an epoch.
        finished: whether nothing is left to train, so that nothing is measured either.

    Raises:
        ConfigError: names the key and both values.
    """
    network = [key for key in changed if key.startswith(_NETWORK) and not key.startswith(_EXECUTION)]
    if network:
        raise ConfigError(
            f"{_said(changed, network)} cannot change where a training goes on; expected the checkpoint's value, or "
            "model.pretrained=FOLDER/weights.safetensors to start another training from its weights"
        )
    pretrained = changed.get("model.pretrained", (None, None))
    if pretrained[1] is not None:
        raise ConfigError(
            f"{_said(changed, ['model.pretrained'])} a training that goes on has the checkpoint's weights; expected "
            "the checkpoint's value or null, or no trainer.resume to start another training from these weights"
        )
    order = [key for key in changed if key == "seed" or key.startswith("data.")]
    if mid_epoch and order:
        raise ConfigError(
            f"{_said(changed, order)} cannot change in the middle of an epoch, whose windows would be repeated or left "
            "out; expected the checkpoint's value until the epoch ends"
        )
    measured = measuring(changed)
    if finished and measured:
        raise ConfigError(
            f"{_said(changed, measured)} would not take effect, since this training is finished and nothing is "
            "measured again; expected a larger trainer.max_epochs, or the checkpoint's value"
        )


def measuring(changed: Changes) -> list[str]:
    """Changed keys that make figures of before and after another measurement."""
    return [key for key in changed if key.startswith(("evaluator.", "data.")) or key == "trainer.select_by"]


def choosing(changed: Changes) -> list[str]:
    """Changed keys that may make recordings and labels other ones, on purpose; not those that cut and serve windows."""
    return [key for key in changed if key.startswith("data.") and key not in _WINDOWS]


def sentence(changed: Changes) -> str:
    """All changes, such as ``optimizer.lr 0.01 → 0.02``."""
    return ", ".join(f"{key} {before} → {now}" for key, (before, now) in changed.items())


def _said(changed: Changes, keys: list[str]) -> str:
    before, now = changed[keys[0]]
    more = f" (and {', '.join(keys[1:])})" if len(keys) > 1 else ""
    return f"{keys[0]}: found {now}, where the checkpoint has {before}{more};"


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, Mapping) or not tree:
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _parent(key: str) -> str:
    return key.rpartition(".")[0]


def _value(value: Any) -> Any:
    return PurePath(value).name if isinstance(value, str) and "/" in value else value
