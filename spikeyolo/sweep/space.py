"""Search spaces: Hydra's override syntax (or typed mappings in YAML) read into Optuna distributions and back.

``optimizer.lr=tag(log,interval(1e-5,1e-2))`` on the command line and ``optimizer.lr: tag(log,interval(1e-5,1e-2))``
under ``hydra.sweeper.params`` are the same parameter; what is fixed on the command line leaves the space.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from spikeyolo.errors import SweepError
from spikeyolo.sweep.conditions import Condition, in_order, parse_conditions, text_of

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from hydra.core.override_parser.types import Override
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

__all__ = ["Parameter", "SearchSpace", "read_space"]

Choice = str | int | float | bool | None


@dataclass(frozen=True)
class Parameter:
    """One searched key: its distribution, and how a value is written as an override."""

    name: str  # as in the override, with a leading + where the key is added
    distribution: BaseDistribution
    texts: Mapping[str, str] = field(default_factory=dict)  # repr of a choice → its text in an override
    grid: Sequence[Choice] | None = None  # the values of a grid; None where they cannot be counted
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
            return chosen.get(key) or lookup(key)

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
        for parameter in self.parameters:
            if parameter.grid is None:
                raise SweepError(
                    f"{parameter.name}: this sampler tries every value, so it needs choice(…) or range(…), "
                    f"found {describe(parameter.distribution)}"
                )
        return {parameter.name: list(parameter.grid or ()) for parameter in self.parameters}


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


def override_text(value: Any) -> str:
    """Write a plain value so that Hydra's grammar reads the same value back."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Quote, QuotedString
    from hydra.errors import HydraException

    if not isinstance(value, str):
        return text_of(value) if value is None or isinstance(value, bool | int | float) else str(value)
    try:
        parsed = OverridesParser.create().parse_override(f"k={value}")
        if not parsed.is_sweep_override() and parsed.value() == value and value == value.strip():
            return value
    except HydraException:
        pass
    return QuotedString(text=value, quote=Quote.single).with_quotes()


def read_space(
    params: Mapping[str, object],
    arguments: Sequence[str],
    when: Mapping[str, object] | None = None,
    config_loader: ConfigLoader | None = None,
) -> SearchSpace:
    """Read ``hydra.sweeper.params`` and the command line; the command line wins.

    Raises:
        SweepError: a sweep cannot be read, is turned round, is logarithmic at zero, or a condition names no parameter.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create(config_loader=config_loader)
    found: dict[str, Parameter | str] = {}
    fixed: list[str] = []
    for name, value in params.items():
        if isinstance(value, Mapping):
            found[name.lstrip("+")] = _from_mapping(name, value)
            continue
        text = f"choice({','.join(map(override_text, value))})" if isinstance(value, list | tuple) else text_of(value)
        found[name.lstrip("+")] = _read_line(f"{name}={text}", parser)
    for line in arguments:
        try:
            override = parser.parse_override(line)
            override.config_loader = config_loader  # which glob(…) of a group's options asks
        except HydraException as error:
            raise SweepError(f"{line}: {_first_line(error)}") from error
        key = override.get_key_element().lstrip("+")
        if override.is_delete():
            found.pop(key.lstrip("~"), None)
            fixed.append(line)
        elif override.is_sweep_override():
            found[key] = _from_override(override)
        else:
            # Later entries of the same key win in Hydra, as here.
            found.pop(key, None)
            fixed.append(line)
    conditions = parse_conditions(when or {})
    parameters = {key: item for key, item in found.items() if isinstance(item, Parameter)}
    constants = [item for item in found.values() if isinstance(item, str)]
    for key in conditions.keys() - found.keys() - {line.partition("=")[0].lstrip("+") for line in fixed}:
        raise SweepError(f"when.{key}: no such parameter; the space has {', '.join(parameters) or 'none'}")
    ordered = in_order(list(parameters), conditions)
    return SearchSpace(
        tuple(replace(parameters[key], conditions=conditions.get(key, ())) for key in ordered),
        tuple(constants + fixed),
    )


def _read_line(line: str, parser: Any) -> Parameter | str:
    from hydra.errors import HydraException

    try:
        override = parser.parse_override(line)
        override.config_loader = parser.config_loader
    except HydraException as error:
        raise SweepError(f"hydra.sweeper.params: {line}: {_first_line(error)}") from error
    return _from_override(override) if override.is_sweep_override() else line


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _from_override(override: Override) -> Parameter:
    """A swept override as a parameter. As in the official plugin, a range includes its end where values are drawn
    from it, and leaves it out (as Hydra does) where it is counted by a grid."""
    from hydra.core.override_parser.types import IntervalSweep, RangeSweep, Transformer
    from optuna.distributions import CategoricalDistribution

    name, value = override.get_key_element(), override.value()
    tags = set(getattr(value, "tags", ()))
    if tags - {"log", "int", "float"}:
        raise SweepError(f"{name}: unknown tag {', '.join(sorted(tags - {'log', 'int', 'float'}))}; log and int exist")
    if isinstance(value, IntervalSweep):
        if value.start is None or value.end is None:
            raise SweepError(f"{name}: an interval needs both ends")
        integer = "int" in tags or (isinstance(value.start, int) and isinstance(value.end, int))
        return _numeric(name, value.start, value.end, None, "log" in tags, integer)
    if isinstance(value, RangeSweep) and not value.shuffle:
        if value.start is None or value.stop is None:
            raise SweepError(f"{name}: a range needs both ends")
        integer = "int" in tags or all(isinstance(v, int) for v in (value.start, value.stop, value.step))
        parameter = _numeric(name, value.start, value.stop, value.step, "log" in tags, integer)
        return replace(parameter, grid=tuple(value.range()))
    if "log" in tags:
        raise SweepError(f"{name}: tag(log, …) needs an interval or a range, found {override.get_value_string()}")
    texts: dict[str, str] = {}
    choices: list[Choice] = []
    for item in _items(override):
        choice = _as_choice(item)
        if not any(type(other) is type(choice) and other == choice for other in choices):
            choices.append(choice)
        texts[repr(choice)] = str(Transformer.str(item))
    if not choices:
        raise SweepError(f"{name}: nothing to choose from in {override.get_value_string()}")
    return Parameter(name, CategoricalDistribution(choices), texts, tuple(choices))


def _items(override: Override) -> list[Any]:
    """The choices in the order written: the sampler shuffles, and a resumed study must find the same choices."""
    from hydra.core.override_parser.types import ChoiceSweep, RangeSweep
    from hydra.errors import HydraException

    value = override.value()
    if isinstance(value, RangeSweep):
        return list(value.range())
    if isinstance(value, ChoiceSweep) and value.shuffle:
        return list(value.list)
    try:
        return list(override.sweep_iterator())
    except HydraException as error:
        raise SweepError(f"{override.get_key_element()}: {_first_line(error)}") from error


def _as_choice(item: Any) -> Choice:
    """Optuna stores plain values only; a list or a mapping is kept by its text."""
    from hydra.core.override_parser.types import QuotedString, Transformer

    if isinstance(item, QuotedString):
        return item.text
    if item is None or isinstance(item, str | bool | int | float):
        return item
    return str(Transformer.str(item))


def _from_mapping(name: str, spec: Mapping[str, object]) -> Parameter:
    """``{type: float|int|categorical, low, high, step, log, choices}``, as the official plugin writes a space."""
    from optuna.distributions import CategoricalDistribution

    known = {"type", "low", "high", "step", "log", "choices"}
    if spec.keys() - known:
        raise SweepError(f"{name}: unknown key {', '.join(map(str, spec.keys() - known))}; {sorted(known)} exist")
    kind = str(getattr(spec.get("type"), "name", spec.get("type")))
    if kind == "categorical":
        choices = spec.get("choices")
        if not isinstance(choices, Sequence) or isinstance(choices, str) or not choices:
            raise SweepError(f"{name}: a categorical needs choices, found {choices!r}")
        return Parameter(name, CategoricalDistribution(list(choices)), {}, tuple(choices))
    if kind not in ("int", "float"):
        raise SweepError(f"{name}: type is {kind!r}, expected float, int or categorical")
    bounds: dict[str, int | float] = {}
    for end in ("low", "high"):
        value = spec.get(end)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise SweepError(f"{name}: {end} is {value!r}, expected a number")
        bounds[end] = value
    step = spec.get("step")
    if step is not None and (isinstance(step, bool) or not isinstance(step, int | float)):
        raise SweepError(f"{name}: step is {step!r}, expected a number")
    return _numeric(name, bounds["low"], bounds["high"], step, bool(spec.get("log", False)), kind == "int")


def _numeric(
    name: str, low: int | float, high: int | float, step: int | float | None, log: bool, integer: bool
) -> Parameter:
    from optuna.distributions import FloatDistribution, IntDistribution

    if low > high:
        raise SweepError(f"{name}: the interval is turned round, from {low} to {high}")
    if log and low <= 0:
        raise SweepError(f"{name}: a logarithmic interval must start above zero, found {low}")
    if step is not None and step <= 0:
        raise SweepError(f"{name}: the step must be above zero, found {step}")
    if log and step not in (None, 1):
        raise SweepError(f"{name}: Optuna has no logarithmic range with a step, found step={step}")
    if integer:
        if any(float(v) != int(v) for v in (low, high, step or 1)):
            raise SweepError(f"{name}: whole numbers expected, found {low} to {high} step {step or 1}")
        whole = int(step or 1)
        top = int(low) + (int(high) - int(low)) // whole * whole
        return Parameter(
            name, IntDistribution(int(low), top, log=log, step=whole), {}, range(int(low), int(high) + 1, whole)
        )
    if step is None or log:
        return Parameter(name, FloatDistribution(float(low), float(high), log=log))
    count = int((float(high) - float(low)) / float(step) + 1e-9)
    values = tuple(float(low) + i * float(step) for i in range(count + 1))
    return Parameter(name, FloatDistribution(float(low), values[-1], step=float(step)), {}, values)
