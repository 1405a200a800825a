"""When a parameter is part of a trial: ``optimizer.momentum: optimizer=sgd`` keeps momentum out of trials without SGD.

A condition compares the override text of another key with one of several texts. It reads what the trial has chosen
first, then what is fixed on the command line or in the configuration, so it needs no code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from spikeyolo.errors import SweepError
from spikeyolo.sweep.space.text import text_of

__all__ = ["Condition", "in_order", "parse_conditions"]


@dataclass(frozen=True)
class Condition:
    """``key=a,b`` holds while key has one of the values; ``key!=a,b`` while it has none of them."""

    key: str
    values: tuple[str, ...]
    negated: bool = False

    def holds(self, lookup: Callable[[str], str | None]) -> bool:
        """Whether the condition holds; ``lookup`` gives the text of a key's value, or None where it has none."""
        found = lookup(self.key)
        return (found is not None and found in self.values) != self.negated

    def __str__(self) -> str:
        return f"{self.key}{'!=' if self.negated else '='}{','.join(self.values)}"


def parse_conditions(when: Mapping[str, object]) -> dict[str, tuple[Condition, ...]]:
    """Read the ``when`` mapping: parameter key to one condition, a list of them, or a mapping (all must hold).

    Raises:
        SweepError: a condition is not ``key=value`` or ``key!=value``.
    """
    return {key.lstrip("+"): tuple(_parse(key, spec)) for key, spec in when.items()}


def _parse(parameter: str, spec: object) -> Iterable[Condition]:
    if isinstance(spec, Mapping):
        for key, values in spec.items():
            listed = values if isinstance(values, Sequence) and not isinstance(values, str) else [values]
            yield Condition(str(key), tuple(text_of(value) for value in listed))
    elif isinstance(spec, str):
        key, separator, values = spec.partition("=")
        if not separator or not key.strip(" !") or not values.strip():
            raise SweepError(f"when.{parameter}: found {spec!r}, expected key=value, key=value,value or key!=value")
        negated = key.rstrip().endswith("!")
        yield Condition(key.rstrip(" !").strip(), tuple(v.strip().strip("'\"") for v in values.split(",")), negated)
    elif isinstance(spec, Sequence):
        for item in spec:
            yield from _parse(parameter, item)
    else:
        raise SweepError(f"when.{parameter}: found {spec!r}, expected key=value")


def in_order(keys: Sequence[str], conditions: Mapping[str, tuple[Condition, ...]]) -> list[str]:
    """Sort keys so that each comes after those its conditions read, else in the order given.

    Raises:
        SweepError: conditions wait for one another in a circle.
    """
    ordered: list[str] = []
    waiting = list(keys)
    while waiting:
        ready = [k for k in waiting if not any(c.key in waiting for c in conditions.get(k, ()))]
        if not ready:
            raise SweepError(f"when: the conditions of {', '.join(waiting)} wait for one another")
        ordered += ready
        waiting = [k for k in waiting if k not in ready]
    return ordered
