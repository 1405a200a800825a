"""Constraints on what a trial recorded: ``energy_mj: "<= 5"``. Who breaks one is never the best."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from spikeyolo.errors import SweepError

__all__ = ["Constraint", "parse_constraints"]


@dataclass(frozen=True)
class Constraint:
    """A bound on one metric of a trial."""

    metric: str
    bound: float
    upper: bool = True

    def violation(self, value: float) -> float:
        """How far a value is beyond the bound; zero or less where it is within, as Optuna counts it."""
        return value - self.bound if self.upper else self.bound - value

    def __str__(self) -> str:
        return f"{self.metric} {'<=' if self.upper else '>='} {self.bound:g}"


def parse_constraints(config: Mapping[str, object] | None) -> tuple[Constraint, ...]:
    """Read the ``constraints`` mapping: metric to ``"<= x"``, ``">= x"``, or a number (an upper bound).

    Raises:
        SweepError: a bound is none of these.
    """
    constraints = []
    for metric, spec in (config or {}).items():
        if isinstance(spec, int | float) and not isinstance(spec, bool):
            constraints.append(Constraint(metric, float(spec)))
            continue
        match = re.fullmatch(r"\s*(<=|>=|<|>)?\s*([-+0-9.eE]+)\s*", str(spec))
        try:
            if match is None:
                raise ValueError
            bound = float(match[2])
        except ValueError as error:
            raise SweepError(f'constraints.{metric}: found {spec!r}, expected "<= x" or ">= x"') from error
        constraints.append(Constraint(metric, bound, upper=match[1] not in (">=", ">")))
    return tuple(constraints)
