"""A composed configuration that was saved (a run's ``.hydra/config.yaml``, a sweep's ``best_config.yaml``), run again:
its groups can be exchanged as on the first command line, and it logs as the first run did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

SAVED = "_as_run"  # ends the name of an option that is what a saved configuration holds of a group
FLAGS = {"--config-dir": "dir", "-cd": "dir", "--config-name": "name", "-cn": "name"}


def offer(arguments: Sequence[str], tree: Path, config_name: str) -> list[str]:
    """Where a command line names a saved configuration, let Hydra compose it out of groups.

    Args:
        arguments: of the command line.
        tree: folder of the project's own configuration.
        config_name: the entry point's own.

    Returns:
        The arguments that Hydra is to be given.
    """
    from hydra.core.config_store import ConfigStore

    given = {kind: value for kind, value, _ in _flags(arguments)}
    if not {"dir", "name"} <= given.keys():
        return list(arguments)
    path = Path(given["dir"], given["name"].removesuffix(".yaml") + ".yaml")
    try:
        saved, own, written = (_read(one) for one in (path, tree / f"{config_name}.yaml", path.parent / "hydra.yaml"))
    except (OSError, ValueError, YAMLError, OmegaConfBaseException):
        return list(arguments)  # Hydra says what is wrong with it
    if not isinstance(saved, dict) or "defaults" in saved:
        return list(arguments)
    store = ConfigStore.instance()
    groups = _split(saved, tree, "", _choices(written))
    for group, (option, node) in groups.items():
        if group:
            store.store(group=group, name=option, node=node)
    name = f"{path.stem}{SAVED}"
    store.store(name=name, node={"hydra": own["hydra"], **groups[""][1]})  # a sweep's file has a part of its own
    rest = list(arguments)
    for kind, _, span in reversed(list(_flags(arguments))):
        if kind == "name":
            del rest[span]
    return ["--config-name", name, *rest]


def chosen_before(option: str) -> str:
    """The name of an option as the first run had it: ``femto`` of ``femto_as_run``."""
    return option.removesuffix(SAVED)


def _flags(arguments: Sequence[str]) -> Iterator[tuple[str, str, slice]]:
    """Which flag, its value, and where both stand."""
    for at, argument in enumerate(arguments):
        flag, equals, value = argument.partition("=")
        if flag in FLAGS and equals:
            yield FLAGS[flag], value, slice(at, at + 1)
        elif flag in FLAGS and at + 1 < len(arguments):
            yield FLAGS[flag], arguments[at + 1], slice(at, at + 2)


def _read(path: Path) -> Any:
    """None where there is no such file."""
    return OmegaConf.to_container(OmegaConf.load(path), resolve=False) if path.is_file() else None


def _choices(written: Any) -> Mapping[str, str]:
    """Which options the first run had chosen, as Hydra wrote them beside its configuration; none where it did not."""
    try:
        choices = written["hydra"]["runtime"]["choices"]
    except (KeyError, TypeError):
        return {}
    return {str(group): chosen_before(str(option)) for group, option in choices.items() if option}


def _split(
    node: Mapping[str, Any], tree: Path, group: str, chosen: Mapping[str, str]
) -> dict[str, tuple[str, dict[str, Any]]]:
    """Group → its option's name and what it holds, with the groups inside it among its defaults."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    below: list[Any] = []
    rest: dict[str, Any] = {}
    for key, value in node.items():
        inner = f"{group}/{key}" if group else str(key)
        if isinstance(value, dict) and (tree / inner).is_dir():
            found |= _split(value, tree, inner, chosen)
            below.append({str(key): found[inner][0]})
        else:
            rest[str(key)] = value
    option = f"{chosen.get(group, '')}{SAVED}".lstrip("_")
    found[group] = (option, {"defaults": [*below, "_self_"], **rest})
    return found
