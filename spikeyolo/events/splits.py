"""Which split a recording belongs to: told by its folder, or drawn."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence
from pathlib import PurePosixPath

from spikeyolo.errors import ConfigError, RecordingError

_SPLIT = re.compile(r"(train|val|test)(?:ing|idation|id)?(?:[_-].*)?", re.IGNORECASE)


def split_of(name: str) -> str:
    """The split that the folders in a recording's name tell (``train``, ``val`` or ``test``); empty where none does.

    ``train_h5_1/a``, ``validation/b`` and ``set/test/c`` belong to train, val and test.
    """
    for folder in PurePosixPath(name).parts[:-1]:
        match = _SPLIT.fullmatch(folder)
        if match is not None:
            return match[1].lower()
    return ""


def drawn(names: Sequence[str], share: float, seed: int, *, where: str) -> frozenset[str]:
    """Names of the recordings that validate: ``share`` of them, at least one and not all.

    The order in which they are drawn is that of a digest of the seed and each name: it depends neither on the order
    in which files are found nor on how many there are.

    Raises:
        RecordingError: there are fewer than two.
    """
    if len(names) < 2:
        raise RecordingError(
            f"{where}: {len(names)} recordings to draw validation ones from (data.val_share); expected at least 2"
        )
    count = min(max(round(share * len(names)), 1), len(names) - 1)
    order = sorted(names, key=lambda name: hashlib.sha256(f"{seed}\0{name}".encode()).digest())
    return frozenset(order[:count])


def check_share(train: str, val: str, found: Collection[str]) -> None:
    """Raise ConfigError where recordings should be drawn for validation, but the set has a split for it."""
    if val in found and val != train:
        raise ConfigError(
            f"data.val_share: the set has recordings of its own for validation (split {val!r}); leave val_share out, "
            "or name another data.val_split"
        )
