"""The configuration's types: every node with a ``_target_`` is checked against that class's own signature before
anything is built, so that the signature is the one place where a parameter's type and range are written."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import pkgutil
import re
import typing
from collections.abc import Mapping, Sequence, Set
from typing import Annotated, Any

from annotated_types import Interval
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import SchemaError

from spikeyolo.errors import ConfigError, SpikeyoloError
from spikeyolo.moved import moved
from spikeyolo.suggest import as_group, elsewhere

_RESERVED = {"_target_", "_partial_", "_recursive_", "_convert_", "_args_"}
_TOP_LEVEL: Mapping[str, Any] = {
    "seed": Annotated[int, Interval(ge=0, lt=2**63)],
    "debug": bool,
    "name": str | None,
    "objective": str | list[str] | None,
}


def check(config: DictConfig, *, groups: Sequence[str] = ()) -> None:
    """Check keys, types and ranges of a composed configuration.

    Args:
        config: as composed.
        groups: that must be there, each with something to build.

    Raises:
        ConfigError: one sentence that names the key, what was found, and what was expected.
    """
    try:
        tree = moved(OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    except OmegaConfBaseException as error:
        missing = re.search(r"Missing mandatory value: (\S+)", str(error))  # maybe behind a reference
        if missing:
            key = error.full_key if isinstance(error, MissingMandatoryValue) else missing[1]
            raise ConfigError(f"{key} must be given: add {key}=VALUE to the command line") from error
        raise ConfigError(" ".join(str(error).split())) from error
    assert isinstance(tree, dict)
    names = {str(name): node for name, node in tree.items()}
    for key, hint in _TOP_LEVEL.items():
        if key in names:
            _check_value(key, names[key], hint)
    variables = _variables(OmegaConf.to_container(config, resolve=False))
    for group in groups:
        if not _is_target(names.get(group)):
            raise ConfigError(f"{group}: nothing is chosen; expected {group}=OPTION (--help prints them)")
    if groups:
        _check_top_level(names, {*groups, *_TOP_LEVEL, *(name.partition(".")[0] for name in variables)})
    _check_nodes(names, "", variables)
    _check_across(names)


def _check_top_level(tree: Mapping[str, Any], known: Set[str]) -> None:
    """A key that ``+key=value`` added and nothing reads would be ignored in silence."""
    for key in tree:
        if key not in known:
            meant = elsewhere(key, {name: node for name, node in tree.items() if name != key})
            hint = f"did you mean {meant}?" if meant else "--cfg job prints those that exist"
            raise ConfigError(f"{key}: there is no such key in the configuration; {hint}")


def checked_options(config: DictConfig, hints: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of an entry point that belong to no class, checked.

    Args:
        config: as composed.
        hints: key → type and range.

    Raises:
        ConfigError: one has a wrong type or is out of range.
    """
    options = {}
    for key, hint in hints.items():
        value = config[key]
        value = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        try:
            options[key] = TypeAdapter(hint).validate_python(value, strict=True)
        except ValidationError as error:
            expected = dict.fromkeys(_expectation(item).removeprefix("expected ") for item in error.errors())
            raise ConfigError(f"{key}: found {value!r}; expected {', or '.join(expected)}") from error
    return options


def checked_node(config: DictConfig, key: str, *, advice: str = "") -> DictConfig:
    """The keys below one of an entry point's, as composed.

    Args:
        config: as composed.
        key: what they are below.
        advice: what may have been meant where a value stands in their place.

    Raises:
        ConfigError: a value stands in their place.
    """
    node = config[key]
    if not isinstance(node, DictConfig):
        raise ConfigError(f"{key}: found {node}; expected {key}.NAME=VALUE (--help prints the names){advice}")
    return node


def build(node: DictConfig, **arguments: Any) -> Any:
    """Build what a checked node's ``_target_`` names; what its keys refer to (``${data.root}``) is already in them.

    Raises:
        SpikeyoloError: what its class has to say, without Hydra's words around it.
        ConfigError: it cannot be built.
    """
    tree = moved(OmegaConf.to_container(node, resolve=True))
    assert isinstance(tree, dict)
    parameters = _parameters(pkgutil.resolve_name(tree["_target_"]))
    if parameters is not None:
        tree = {key: value for key, value in tree.items() if key in parameters or key in _RESERVED}
    try:
        return instantiate(tree, _convert_="all", **arguments)
    except InstantiationException as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, SpikeyoloError):
                raise cause from error
            cause = cause.__cause__
        raise ConfigError(" ".join(str(error).split())) from error


def defaults(node: Any, path: str) -> dict[str, Any]:
    """Flat key → default of each parameter that a plain node's classes have one for.

    Args:
        node: with a ``_target_``, and nodes below it.
        path: of the node.
    """
    if not isinstance(node, Mapping):
        return {}
    found: dict[str, Any] = {}
    for key, child in node.items():
        found |= defaults(child, f"{path}.{key}")
    if "_target_" in node:
        parameters = _parameters(pkgutil.resolve_name(node["_target_"])) or {}
        known = {name: one.default for name, one in parameters.items() if one.default is not inspect.Parameter.empty}
        found |= {f"{path}.{name}": value for name, value in known.items()}
    return found


def _variables(tree: Any) -> set[str]:
    """Keys that others refer to: they need not be a parameter of the node they stand in."""
    if isinstance(tree, str):
        return set(re.findall(r"\$\{([\w.]+)\}", tree))
    children = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return set().union(*(_variables(child) for child in children))


def _check_nodes(node: Any, path: str, variables: Set[str]) -> None:
    if isinstance(node, dict):
        if "_target_" in node:
            _check_target(node, path, variables)
        for key, child in node.items():
            _check_nodes(child, f"{path}.{key}" if path else str(key), variables)
    elif isinstance(node, list):
        for index, child in enumerate(node):
            _check_nodes(child, f"{path}[{index}]", variables)


def _parameters(factory: Any) -> dict[str, inspect.Parameter] | None:
    """By name; None where any name will do."""
    parameters = dict(inspect.signature(factory).parameters)
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return None
    return parameters


def _check_target(node: Mapping[str, Any], path: str, variables: Set[str]) -> None:
    target = node["_target_"]
    try:
        factory = pkgutil.resolve_name(str(target))
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{path}._target_: {target!r} cannot be imported ({_first_line(error)})") from error
    function = factory.__init__ if inspect.isclass(factory) else factory
    if dataclasses.is_dataclass(factory):  # the hints of inherited fields are told by the class that wrote them
        function = factory
    parameters = _parameters(factory)
    if parameters is None:
        return
    hints = typing.get_type_hints(function, include_extras=True)
    for key, value in node.items():
        if key in _RESERVED or (key not in parameters and f"{path}.{key}" in variables):
            continue
        if key not in parameters:
            known = [*parameters, *(name.removeprefix(f"{path}.") for name in variables)]
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {path}.{close[0]}?" if close else f"it takes {', '.join(parameters)}"
            raise ConfigError(f"{path}.{key}: {target.rpartition('.')[2]} has no such parameter; {hint}")
        if key in hints and not (_is_target(value) or _names_targets(value)):
            chosen = as_group(f"{path}.{key}", value) if isinstance(value, str) else None
            if chosen is not None:
                raise ConfigError(f"{path}.{key}: found {value!r}; expected {chosen}")
            _check_value(f"{path}.{key}", value, hints[key])


def _is_target(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "_target_" in value
    return isinstance(value, list) and any(_is_target(item) for item in value)


def _names_targets(value: Any) -> bool:
    """Whether these are names of what is to be built, as the trainer's callbacks."""
    return isinstance(value, Mapping) and bool(value) and all(_is_target(item) for item in value.values())


def _check_value(key: str, value: Any, hint: Any) -> None:
    try:
        adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False))
    except PydanticUserError:  # the type brings a configuration of its own
        adapter = TypeAdapter(hint)
    except SchemaError as error:  # a Protocol: what fulfils it is built, not written down
        raise ConfigError(f"{key}: found {value!r}; expected a node with a _target_") from error
    try:
        checked = adapter.validate_python(value)
    except ValidationError as error:
        raise ConfigError(f"{key}: found {value!r}; {_expectations(error)}") from error
    # Lax validation would read numbers out of strings and truth values: a typing error here, not a convenience.
    changed_text = isinstance(value, str) and checked != value
    if changed_text or isinstance(value, bool) is not isinstance(checked, bool):
        raise ConfigError(f"{key}: found {value!r}; expected {_kind(checked)}")


def _expectations(error: ValidationError) -> str:
    """Of several kinds of value, those that the one found came nearest to: what is wrong inside it, else all."""
    deepest = max(len(item["loc"]) for item in error.errors())
    nearest = [_expectation(item) for item in error.errors() if len(item["loc"]) == deepest]
    first, *others = dict.fromkeys(nearest)
    return ", or ".join([first, *(other.removeprefix("expected ") for other in others)])


def _expectation(error: Mapping[str, Any]) -> str:
    if error["type"] == "sequence_str":
        return "expected a list, such as [a,b]"
    said = str(error["msg"]).removeprefix("Input should be ").partition(", unable to ")[0]
    return f"expected {said.replace('a valid number', 'a number')}"


def _kind(value: Any) -> str:
    return {int: "an integer", float: "a number", bool: "true or false", str: "a text"}.get(type(value), "another type")


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def _check_across(tree: Mapping[str, Any]) -> None:
    """What no class can know alone."""
    scheduler, data = (tree.get(name) or {} for name in ("scheduler", "data"))
    peak, base = scheduler.get("max_lr"), (tree.get("optimizer") or {}).get("lr")
    if peak is not None and base is not None and peak < base:
        raise ConfigError(f"scheduler.max_lr: found {peak}; expected at least optimizer.lr, which is {base}")
    _check_classes(data.get("classes"))
    trainer = tree.get("trainer") or {}
    epochs = trainer.get("max_epochs")
    for name, callback in (trainer.get("callbacks") or {}).items():
        last = callback.get("last_epoch") if isinstance(callback, Mapping) else None
        if isinstance(last, int) and isinstance(epochs, int) and last > epochs:
            raise ConfigError(
                f"trainer.callbacks.{name}.last_epoch: found {last}; expected at most trainer.max_epochs, "
                f"which is {epochs}"
            )


def _check_classes(classes: Sequence[str] | None) -> None:
    if classes is None:
        return
    if not classes:
        raise ConfigError("data.classes: found an empty list; expected the class names in the order of their ids")
    repeated = sorted({name for name in classes if list(classes).count(name) > 1})
    if repeated:
        raise ConfigError(f"data.classes: {', '.join(map(str, repeated))} stands twice; expected every name once")
