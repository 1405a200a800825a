"""What changed between the space and the configuration a study was begun with and those it is resumed with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from optuna.distributions import BaseDistribution, check_distribution_compatibility, json_to_distribution

from spikeyolo.errors import SweepError
from spikeyolo.sweep.space import describe

__all__ = ["list_changes", "list_differences"]

LISTED = 8  # differences, before the rest is only counted


def list_changes(stored: Mapping[str, str], now: Mapping[str, BaseDistribution], study_name: str) -> list[str]:
    """The changes in words, where Optuna can follow them.

    Args:
        stored: parameter → distribution as Optuna's JSON; empty for a study that has no space yet.

    Raises:
        SweepError: a change that Optuna cannot follow (other choices, another type, log against linear).
    """
    if not stored:
        return []
    changes = [f"{name} is new" for name in now.keys() - stored.keys()]
    changes += [f"{name} is gone" for name in stored.keys() - now.keys()]
    impossible = []
    for name in sorted(stored.keys() & now.keys()):
        old, new = json_to_distribution(stored[name]), now[name]
        if old == new:
            continue
        change = f"{name} was {describe(old)}, is now {describe(new)}"
        try:
            check_distribution_compatibility(old, new)
            changes.append(change)
        except ValueError:
            impossible.append(change)
    if impossible:
        raise SweepError(
            f"study {study_name}: {'; '.join(impossible)}; Optuna cannot go on with that, "
            "so choose another study_name or folder"
        )
    return sorted(changes)


def list_differences(before: Mapping[str, str], now: Mapping[str, str], searched: Iterable[str]) -> list[str]:
    """What all trials share and does not have the value it had, in words.

    Args:
        searched: keys (and options' keys) that each trial sets itself; they may differ.
    """
    own = tuple(searched)

    def is_own(key: str) -> bool:
        return any(key == name or key.startswith(f"{name}.") for name in own)

    differences = []
    for key in sorted(before.keys() | now.keys()):
        if is_own(key) or before.get(key) == now.get(key):
            continue
        if key not in now:
            differences.append(f"{key} was {before[key]}, is gone")
        elif key not in before:
            differences.append(f"{key} is new, {now[key]}")
        else:
            differences.append(f"{key} was {before[key]}, is now {now[key]}")
    rest = len(differences) - LISTED
    return differences if rest <= 0 else [*differences[:LISTED], f"and {rest} more"]
