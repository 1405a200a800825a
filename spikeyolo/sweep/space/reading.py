"""Search spaces: Hydra's override syntax (or typed mappings in YAML) read into Optuna distributions.

``optimizer.lr=tag(log,interval(1e-5,1e-2))`` on the command line and ``optimizer.lr: tag(log,interval(1e-5,1e-2))``
under ``hydra.sweeper.params`` are the same parameter; what is fixed on the command line leaves the space.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from spikeyolo.errors import SweepError
from spikeyolo.sweep.space.conditions import in_order, parse_conditions
from spikeyolo.sweep.space.parameters import Choice, Parameter, SearchSpace
from spikeyolo.sweep.space.text import override_text, text_of

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from hydra.core.override_parser.types import Override, RangeSweep

__all__ = ["DESCRIPTION", "KINDS", "read_space"]

DESCRIPTION = {"type", "low", "high", "step", "log", "choices"}  # the keys of a parameter as a mapping
KINDS = ("float", "int", "categorical")


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
        if isinstance(value, list | tuple):
            found[name.lstrip("+")] = _from_values(name, value)
        else:
            found[name.lstrip("+")] = _read_line(f"{name}={_text_in_yaml(value)}", parser)
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


def _text_in_yaml(value: object) -> str:
    """A scalar of YAML is written as on the command line; an empty text has to be quoted there."""
    return "''" if value == "" else text_of(value)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _from_override(override: Override) -> Parameter:
    """A swept override as a parameter."""
    from hydra.core.override_parser.types import IntervalSweep, RangeSweep, Transformer

    name, value = override.get_key_element(), override.value()
    tags = set(getattr(value, "tags", ()))
    if tags - {"log", "int", "float"}:
        raise SweepError(f"{name}: unknown tag {', '.join(sorted(tags - {'log', 'int', 'float'}))}; log and int exist")
    if isinstance(value, IntervalSweep):
        if value.start is None or value.end is None:
            raise SweepError(f"{name}: an interval needs both ends")
        integer = "int" in tags or (isinstance(value.start, int) and isinstance(value.end, int))
        return _numeric(name, value.start, value.end, None, "log" in tags, integer)
    # Hydra 1.4 keeps casts (int(range(…))) apart from the range; what they make is listed below.
    if isinstance(value, RangeSweep) and not value.shuffle and not getattr(value, "transformers", None):
        return _from_range(name, value, tags)
    if "log" in tags:
        raise SweepError(f"{name}: tag(log, …) needs an interval or a range, found {override.get_value_string()}")
    items = [(_as_choice(item), str(Transformer.str(item))) for item in _items(override)]
    return _categorical(name, items, override.get_value_string())


def _from_range(name: str, value: RangeSweep, tags: set[str]) -> Parameter:
    """A range as Hydra counts it: without its end, downwards where the step is negative."""
    if value.start is None or value.stop is None:
        raise SweepError(f"{name}: a range needs both ends")
    if not value.step:
        raise SweepError(f"{name}: a range needs a step, found {value.step}")
    start, stop, step = (Fraction(str(number)) for number in (value.start, value.stop, value.step))
    last = start + (math.ceil((stop - start) / step) - 1) * step
    if (last - start) * step < 0:
        raise SweepError(f"{name}: the range from {value.start} to {value.stop} by {value.step} is empty")
    integer = "int" in tags or all(isinstance(v, int) for v in (value.start, value.stop, value.step))
    kind = int if integer else float
    low, high = sorted((kind(start), kind(last)))
    return _numeric(name, low, high, kind(abs(step)), "log" in tags, integer)


def _categorical(name: str, items: Sequence[tuple[Choice, str]], written: str) -> Parameter:
    """A choice between values, each with its text in an override.

    Optuna holds for one what Python does (1, 1.0 and true); such values are kept apart by their texts.
    """
    from optuna.distributions import CategoricalDistribution

    texts = list(dict.fromkeys(text for _, text in items))
    values = [next(value for value, text in items if text == wanted) for wanted in texts]
    if not values:
        raise SweepError(f"{name}: nothing to choose from in {written}")
    if len(set(values)) < len(values):
        return Parameter(name, CategoricalDistribution(texts), {repr(text): text for text in texts})
    return Parameter(name, CategoricalDistribution(values), dict(zip(map(repr, values), texts)))


def _from_values(name: str, values: Sequence[object]) -> Parameter:
    """A list in YAML: its values as they are, not as a text that could mean something else."""
    items: list[tuple[Choice, str]] = []
    for value in values:
        try:
            text = override_text(value)
        except SweepError as error:
            raise SweepError(f"hydra.sweeper.params: {name}: {error}") from error
        plain = value is None or isinstance(value, str | bool | int | float)
        items.append((value if plain else text, text))  # type: ignore[arg-type]
    return _categorical(name, items, "[]")


def _items(override: Override) -> list[Any]:
    """The choices in the order written: the sampler shuffles, and a resumed study must find the same choices."""
    from hydra.core.override_parser.types import ChoiceSweep, RangeSweep
    from hydra.errors import HydraException

    value = override.value()
    if isinstance(value, RangeSweep):
        in_order: Any = replace(value, shuffle=False)
        return list(in_order if getattr(value, "transformers", None) else in_order.range())
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
    if spec.keys() - DESCRIPTION:
        unknown = ", ".join(map(str, spec.keys() - DESCRIPTION))
        raise SweepError(f"{name}: unknown key {unknown}; {sorted(DESCRIPTION)} exist")
    kind = str(getattr(spec.get("type"), "name", spec.get("type")))
    if kind == "categorical":
        choices = spec.get("choices")
        if not isinstance(choices, Sequence) or isinstance(choices, str) or not choices:
            raise SweepError(f"{name}: a categorical needs choices, found {choices!r}")
        return _from_values(name, list(choices))
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
        return Parameter(name, IntDistribution(int(low), top, log=log, step=whole))
    if step is None or log:
        return Parameter(name, FloatDistribution(float(low), float(high), log=log))
    # In decimals, as they are written: 3 steps of 0.3 end at 0.9.
    begin, end, width = (Fraction(str(v)) for v in (low, high, step))
    last = float(begin + (end - begin) // width * width)
    return Parameter(name, FloatDistribution(float(low), last, step=float(step)))
