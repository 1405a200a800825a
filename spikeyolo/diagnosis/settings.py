"""The composed configuration, asked by key: which override changes anything, and what it is relative to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml


class Settings:
    """Values by dotted keys.

    Args:
        tree: the configuration, resolved; None knows nothing.
    """

    def __init__(self, tree: Mapping[str, Any] | None = None) -> None:
        self._tree: Mapping[str, Any] = tree or {}

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key such as ``model.neuron.levels``; the default where there is no such key."""
        node: Any = self._tree
        for name in key.split("."):
            if not isinstance(node, Mapping) or name not in node:
                return default
            node = node[name]
        return node

    def changed(self, *overrides: str) -> tuple[str, ...]:
        """Those overrides ``KEY=VALUE`` whose value is not what the key has already."""
        kept = []
        for override in overrides:
            key, _, text = override.partition("=")
            if self.get(key, _MISSING) != yaml.safe_load(text):
                kept.append(override)
        return tuple(kept)


def smaller_batch(settings: Settings, fits: int) -> tuple[str, ...]:
    """Overrides that make batches of ``fits`` windows and leave updates as large as they are."""
    batch_size = settings.get("data.batch_size", 8)
    batch_size = batch_size if isinstance(batch_size, int) else 8  # auto
    added_up = settings.get("trainer.accumulate_batches", 1)
    nominal = settings.get("trainer.nominal_batch") or batch_size * added_up
    overrides = (f"data.batch_size={fits}", f"trainer.nominal_batch={nominal}")
    return overrides if added_up == 1 else (*overrides, "trainer.accumulate_batches=1")


_MISSING = object()
