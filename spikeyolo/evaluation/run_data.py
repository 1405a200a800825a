"""The data of the run that wrote a checkpoint, as an option ``data=of_run`` of the configuration."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from spikeyolo.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from spikeyolo.windows import EventData

NAME = "of_run"
PATHS = ("root", "events", "labels")  # keys of a data group that name files or folders

log = logging.getLogger("spikeyolo")


def offer(arguments: Sequence[str]) -> None:
    """Make ``data=of_run`` the data of the run whose checkpoint a command line names, before it is composed.

    Where there is none, or it cannot be read, nothing is offered; what is wrong is said once the checkpoint is opened.
    """
    from hydra.core.config_store import ConfigStore
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    folder: Path | None = None
    for argument in arguments:
        if argument.startswith(("checkpoint=", "+checkpoint=")):
            try:
                folder = Path(str(OverridesParser.create().parse_override(argument).value()).strip("'\""))
            except HydraException:
                return
    try:
        node = None if folder is None else stored_data(folder)
    except CheckpointError:
        node = None
    repository = ConfigStore.instance().repo
    repository.setdefault("data", {}).pop(f"{NAME}.yaml", None)  # of an earlier call in this process
    if node is not None:
        ConfigStore.instance().store(group="data", name=NAME, node=node)


def stored_data(folder: Path) -> dict[str, Any] | None:
    """The ``data`` group of the run that wrote a checkpoint, with its references; None where nothing tells.

    Raises:
        CheckpointError: the run's configuration is damaged.
    """
    from spikeyolo.moved import moved

    data = _written(folder)
    return moved({**data, **found_again(folder, data)}) if data else None


def _written(folder: Path) -> dict[str, Any] | None:
    """The same as it was written."""
    import yaml

    source = folder.parent.parent / ".hydra" / "config.yaml"
    try:
        if source.is_file():
            data = (yaml.safe_load(source.read_text(encoding="utf-8")) or {}).get("data")
        else:
            data = with_references(_settings(folder))
    except (OSError, ValueError, yaml.YAMLError, AttributeError) as error:
        raise CheckpointError(f"{source}: cannot be read ({' '.join(str(error).split())[:200]})") from error
    return dict(data) if data else None


def found_again(folder: Path, data: Mapping[str, Any]) -> dict[str, str]:
    """Keys of relative paths that are not here, but in the folder in which the run was started → where."""
    import yaml

    source = folder.parent.parent / ".hydra" / "hydra.yaml"
    try:
        started = Path(yaml.safe_load(source.read_text(encoding="utf-8"))["hydra"]["runtime"]["cwd"])
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError):
        return {}
    return {key: str(started / data[key]) for key in _missing(data) if (started / data[key]).exists()}


def say_where(folder: Path) -> None:
    """Tell which paths of the run's were found where it was started.

    Raises:
        CheckpointError: the run's configuration is damaged.
    """
    for key, path in found_again(folder, _written(folder) or {}).items():
        log.info("data.%s: %s, from the folder in which the run was started", key, path)


def _missing(data: Mapping[str, Any]) -> list[str]:
    """Keys whose file or folder is not here."""
    named = {key: data.get(key) for key in PATHS}
    return [
        key
        for key, path in named.items()
        if isinstance(path, str) and "://" not in path and "$" not in path and not Path(path).exists()
    ]


def _settings(folder: Path) -> dict[str, Any] | None:
    """The same from the checkpoint itself, where it was copied away from its run."""
    import json

    path = folder / "state.json"
    if not path.is_file():
        return None
    state = json.loads(path.read_text(encoding="utf-8"))
    data = (state.get("settings") or {}).get("data")
    return dict(data) if data else None


def with_references(data: dict[str, Any] | None) -> dict[str, Any] | None:
    """A resolved ``data`` group in which what the data set shares with the group refers to it again, so that
    ``data.root=PATH`` reaches the data set."""
    if data is None or not isinstance(data.get("dataset"), dict):
        return data
    dataset = {
        key: f"${{data.{key}}}" if key in data and data[key] == value else value
        for key, value in data["dataset"].items()
    }
    return {**data, "dataset": dataset}


def build(
    config: DictConfig, state: Mapping[str, Any], *, chosen: str | None, overridden: Sequence[str]
) -> tuple[EventData, dict[str, Any]]:
    """The data set a checkpoint is evaluated on, and its resolved configuration.

    Of another ``data`` option than the run's, windows and encoder are still those the network was trained on, unless
    the command line says otherwise.

    Args:
        config: composed, with a ``data`` group.
        state: readable part of the checkpoint.
        chosen: option of the group.
        overridden: the command line's overrides.

    Raises:
        ConfigError: there is no data set, a value is wrong, or its classes are not those that the state tells.
    """
    from spikeyolo import schema

    if not config.get("data"):
        raise ConfigError(
            "data: nothing tells what the checkpoint was trained on (its run's .hydra/config.yaml is not there); "
            "expected data=NAME data.root=PATH"
        )
    data = OmegaConf.to_container(config.data, resolve=False)
    assert isinstance(data, dict)
    given = keys_of(overridden)
    if chosen != NAME:
        windows = state.get("windows") or {}
        for key in ("slice_duration_us", "time_steps", "slicing", "events_per_window", "max_events_per_sample"):
            if key in windows and f"data.{key}" not in given:
                data[key] = windows[key]
        if state.get("encoder") and not any(key.startswith(("data/encoder", "data.encoder")) for key in given):
            data["encoder"] = dict(state["encoder"])
    node = OmegaConf.create({"data": data})
    schema.check(node, groups=("data",))
    resolved = OmegaConf.to_container(node, resolve=True)
    assert isinstance(resolved, dict)
    if state.get("encoder") not in (None, resolved["data"]["encoder"]):
        log.warning("data.encoder: found %s; trained with %s", resolved["data"]["encoder"], state["encoder"])
    if chosen == NAME:
        for key in (key for key in _missing(resolved["data"]) if f"data.{key}" not in given):
            raise ConfigError(
                f"data.{key}: found {resolved['data'][key]} in the configuration of the checkpoint's run, which is not "
                f"there (started in {Path.cwd()}); expected data.{key}=PATH"
            )
    built: EventData = schema.build(node.data)
    sensor = (state.get("frame") or {}).get("sensor")
    if sensor is not None and state.get("encoder") == resolved["data"]["encoder"]:
        built.encoder = built.encoder.for_sensor(*sensor)  # what auto was in training, as predict takes it
    if "classes" in state:
        check_classes(state["classes"], built.classes)
    return built, resolved["data"]


def keys_of(overridden: Sequence[str]) -> set[str]:
    """The keys that a command line's overrides have."""
    return {override.lstrip("+").partition("=")[0] for override in overridden}


def check_classes(trained: Sequence[str], found: Sequence[str]) -> None:
    """Refuse a class list that is not the checkpoint's.

    Raises:
        ConfigError: they differ in number, names or order.
    """
    if list(trained) == list(found):
        return
    what = "order" if sorted(trained) == sorted(found) else "number" if len(trained) != len(found) else "names"
    raise ConfigError(
        f"data.classes: found [{', '.join(found)}]; expected the checkpoint's [{', '.join(trained)}] "
        f"(they differ in {what}), as data.classes=[{','.join(trained)}]"
    )
