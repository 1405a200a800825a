"""What is searched: each parameter with its distribution and conditions, and all of them as the space of a trial.

Distributions are Optuna's; a value goes to a job as the text of an override.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from spikeyolo.errors import SweepError
from spikeyolo.sweep.space.conditions import Condition
from spikeyolo.sweep.space.text import override_text, text_of

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

__all__ = ["Choice", "Parameter", "SearchSpace", "describe", "suggest"]

Choice = str | int | float | bool | None


@dataclass(frozen=True)
class Parameter:
    """One searched key: its distribution, and how a value is written as an override."""

    name: str  # as in the override, with a leading + where the key is added
    distribution: BaseDistribution
    texts: Mapping[str, str] = field(default_factory=dict)  # repr of a choice → its text in an override
    conditions: tuple[Condition, ...] = ()

    @property
    def key(self) -> str:
        return self.name.lstrip("+")

    def text(self, value: Any) -> str:
        """The value as it stands right of ``=`` in an override."""
        return self.texts.get(repr(value)) or override_text(value)

    def override(self, value: Any) -> str:
        return f"{self.name}={self.text(value)}"


@dataclass(frozen=True)
class SearchSpace:
    """All searched parameters, each after those its conditions read, and the overrides every trial shares."""

    parameters: tuple[Parameter, ...]
    fixed: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(parameter.name for parameter in self.parameters)

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        return {parameter.name: parameter.distribution for parameter in self.parameters}

    def suggest(self, trial: Trial, lookup: Callable[[str], str | None]) -> list[str]:
        """Ask a trial for the value of every parameter whose conditions hold; returns its overrides.

        ``lookup`` gives the text of a key outside the space, for the conditions.
        """
        chosen: dict[str, str] = {}
        overrides: list[str] = []

        def text(key: str) -> str | None:
            return chosen[key] if key in chosen else lookup(key)

        for parameter in self.parameters:
            if not all(condition.holds(text) for condition in parameter.conditions):
                continue
            value = suggest(trial, parameter.name, parameter.distribution)
            chosen[parameter.key] = parameter.text(value).strip("'\"")
            overrides.append(parameter.override(value))
        return overrides

    def overrides(self, values: Mapping[str, Any]) -> list[str]:
        """Overrides of given values, in the space's order; names outside the space keep their plain text."""
        known = {parameter.name: parameter for parameter in self.parameters}
        ordered = [p.override(values[p.name]) for p in self.parameters if p.name in values]
        return ordered + [f"{name}={override_text(v)}" for name, v in values.items() if name not in known]

    def grid(self) -> dict[str, list[Choice]]:
        """Values of every parameter, for samplers that count them.

        Raises:
            SweepError: a parameter is continuous.
        """
        return {parameter.name: _values(parameter) for parameter in self.parameters}


def _values(parameter: Parameter) -> list[Choice]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    distribution = parameter.distribution
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    if isinstance(distribution, IntDistribution):
        return list(range(distribution.low, distribution.high + 1, distribution.step))
    if isinstance(distribution, FloatDistribution) and distribution.step is not None:
        low, high, step = (Fraction(str(v)) for v in (distribution.low, distribution.high, distribution.step))
        return [float(low + i * step) for i in range((high - low) // step + 1)]
    raise SweepError(
        f"{parameter.name}: this sampler tries every value, so it needs choice(…) or range(…), "
        f"found {describe(distribution)}"
    )


def suggest(trial: Trial, name: str, distribution: BaseDistribution) -> Any:
    """Suggest by distribution, which Optuna's public interface offers by type only."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, FloatDistribution):
        low, high, step, log = distribution.low, distribution.high, distribution.step, distribution.log
        return trial.suggest_float(name, low, high, step=step, log=log)
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(
            name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    raise SweepError(f"{name}: a {type(distribution).__name__} cannot be searched")


def describe(distribution: BaseDistribution) -> str:
    """A distribution in the words of the override grammar."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        return f"choice({','.join(text_of(choice) for choice in distribution.choices)})"
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high, step = distribution.low, distribution.high, distribution.step
    stepped = step is not None and not (isinstance(distribution, IntDistribution) and step == 1)
    text = f"range({low},{high},step={step})" if stepped else f"interval({low},{high})"
    if isinstance(distribution, IntDistribution) and not stepped:
        text = f"int({text})"
    return f"tag(log,{text})" if distribution.log else text
