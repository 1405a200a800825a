"""The keys of ``hydra.sweeper``, read and checked once."""

from __future__ import annotations

import logging
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from omegaconf.errors import OmegaConfBaseException

from spikeyolo.errors import SweepError
from spikeyolo.sweep.space.reading import DESCRIPTION, KINDS
from spikeyolo.sweep.study.ledger import retried_trials
from spikeyolo.sweep.study.storage import is_journal

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

    from spikeyolo.sweep.space import SearchSpace

__all__ = ["Settings"]

logger = logging.getLogger(__name__)
Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True)
class Settings:
    """What ``hydra.sweeper`` says; each key is described in the plugin's configuration."""

    sampler: object
    pruner: object
    directions: tuple[Direction, ...]
    storage: object
    study_name: str
    n_trials: int
    n_jobs: int
    max_failure_rate: float
    params: Mapping[str, Any]
    custom_search_space: str | None
    when: Mapping[str, Any]
    timeout: float | None
    enqueue: object
    retries: int
    retry_failed: bool
    resume_changed: bool
    trial_timeout: float | None
    workers: int | None
    devices: Any
    threads: int | None
    seed: int | None
    constraints: Mapping[str, Any]
    terminator: object
    pruned_checkpoints: str
    tracking: Mapping[str, Any]
    preload: tuple[str, ...]
    figures: bool
    grace: float
    storage_patience: float

    @classmethod
    def read(cls, values: Mapping[str, Any], config: DictConfig) -> Settings:
        """Read the sweeper's arguments; ``search.when`` of the application's configuration adds to ``when``.

        Raises:
            SweepError: a key is unknown or its value makes no sense.
        """
        try:
            given = {key: _plain(value) for key, value in values.items()}
        except OmegaConfBaseException as error:
            raise SweepError(f"hydra.sweeper: {str(error).splitlines()[0]}") from error
        unknown = given.keys() - KEYS
        if unknown:
            raise SweepError(
                f"hydra.sweeper: unknown key {', '.join(sorted(unknown))}; {', '.join(sorted(KEYS))} exist"
            )
        typed = _mapping(given.get("search_space"), "search_space")  # the official plugin's old key
        params = _mapping(given.get("params"), "params")
        if typed and params:
            logger.warning("both hydra.sweeper.params and the older search_space are set; params is used")
        search = config.get("search")
        when = _mapping(search.get("when"), "when") if search is not None and hasattr(search, "get") else {}
        keep = given.get("pruned_checkpoints", "remove")
        if keep not in ("remove", "keep"):
            raise SweepError(f"hydra.sweeper.pruned_checkpoints: found {keep!r}, expected remove or keep")
        return cls(
            sampler=given.get("sampler"),
            pruner=given.get("pruner"),
            directions=_directions(given.get("direction", "minimize")),
            storage=given.get("storage"),
            study_name=str(given.get("study_name") or _study_name(given.get("storage"), config)),
            n_trials=_number(given, "n_trials", 20, low=1, whole=True),
            n_jobs=_number(given, "n_jobs", 2, low=1, whole=True),
            max_failure_rate=_number(given, "max_failure_rate", 0.0, low=0, high=1),
            params=_flat(params or typed),
            custom_search_space=given.get("custom_search_space"),
            when={**_conditions(when), **_conditions(_mapping(given.get("when"), "when"))},
            timeout=_number(given, "timeout", None, low=0),
            enqueue=given.get("enqueue"),
            retries=_number(given, "retries", 1, low=0, whole=True),
            retry_failed=bool(given.get("retry_failed", False)),
            resume_changed=bool(given.get("resume_changed", False)),
            trial_timeout=_number(given, "trial_timeout", None, low=0),
            workers=None if given.get("workers") == "auto" else _number(given, "workers", None, low=1, whole=True),
            devices=given.get("devices", "auto"),
            threads=_number(given, "threads", None, low=1, whole=True),
            seed=_number(given, "seed", None, low=0, whole=True),
            constraints=_flat(_mapping(given.get("constraints"), "constraints")),
            terminator=given.get("terminator"),
            pruned_checkpoints=keep,
            tracking=_tracking(_mapping(given.get("mlflow"), "mlflow")),
            preload=tuple(given.get("preload") or ()),
            figures=bool(given.get("figures", True)),
            grace=_number(given, "grace", 10.0, low=0),
            storage_patience=_number(given, "storage_patience", 300.0, low=0),
        )

    def budget(self, space: SearchSpace, sampler: BaseSampler, trials: Sequence[FrozenTrial]) -> int:
        """``n_trials``, or the size of the grid where that is smaller; trials of another space count besides."""
        if type(sampler).__name__ != "GridSampler" or self.custom_search_space:
            return self.n_trials
        grid = {name: list(values) for name, values in space.grid().items()}
        size = math.prod(len(values) for values in grid.values())
        retried = retried_trials(trials)
        others = sum(t.number not in retried and t.system_attrs.get("search_space") != grid for t in trials)
        if size + others < self.n_trials:
            logger.info("the grid has %d points; n_trials is %d", size, size + others)
        return int(min(self.n_trials, size + others))


KEYS = (set(Settings.__dataclass_fields__) - {"directions", "tracking"}) | {"direction", "mlflow", "search_space"}


def _study_name(storage: object, config: DictConfig) -> str:
    """A journal is one sweep's own; a database may hold the studies of many, of which none is meant."""
    job = str(config.hydra.job.name)
    return job if storage is None or is_journal(storage) else f"{job}-{uuid.uuid4().hex[:8]}"


def _tracking(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of the tracking server; an experiment that is null asks for no runs."""
    return {} if "experiment_name" in values and values["experiment_name"] is None else values


def _directions(value: object) -> tuple[Direction, ...]:
    listed = [value] if isinstance(value, str) or not isinstance(value, Sequence) else list(value)
    names = [str(getattr(item, "name", item)).lower() for item in listed]
    if not names or any(name not in get_args(Direction) for name in names):
        raise SweepError(f"hydra.sweeper.direction: found {value!r}, expected minimize, maximize, or a list of them")
    return tuple("maximize" if name == "maximize" else "minimize" for name in names)


def _number(
    given: Mapping[str, Any], key: str, default: Any, *, low: float, high: float | None = None, whole: bool = False
) -> Any:
    value = given.get(key, default)
    if value is None and default is None:
        return None
    fits = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not fits or value < low or (high is not None and value > high):
        kind = "a whole number" if whole else "a number"
        upto = "" if high is None else f" and at most {high:g}"
        raise SweepError(f"hydra.sweeper.{key}: found {value!r}, expected {kind} of at least {low:g}{upto}")
    return value


def _describes(value: Mapping[str, Any]) -> bool:
    """Whether a mapping describes a parameter: other groups may have a ``type`` of their own."""
    kind = str(getattr(value.get("type"), "name", value.get("type")))
    return kind in KINDS or ("type" in value and value.keys() <= DESCRIPTION)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys: ``optimizer: {lr: …}`` and ``optimizer.lr: …`` are the same parameter.

    A mapping of ``type``, ``low`` and so on describes a parameter, and one in a list stands for itself.
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and not _describes(value) and prefix.count(".") < 8:
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _conditions(values: Mapping[str, Any]) -> dict[str, Any]:
    """``when`` with dotted keys; a mapping whose values are no conditions themselves is one (``{optimizer: sgd}``)."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and all(_is_condition(inner) for inner in value.values()):
            found.update({f"{key}.{inner}": spec for inner, spec in _conditions(value).items()})
        else:
            found[key] = value
    return found


def _is_condition(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(_is_condition(inner) for inner in value.values())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return all(_is_condition(inner) for inner in value)
    return isinstance(value, str) and "=" in value


def _plain(value: Any) -> Any:
    """Configuration as plain Python values."""
    from omegaconf import OmegaConf

    return OmegaConf.to_container(value, resolve=True, enum_to_str=True) if OmegaConf.is_config(value) else value


def _mapping(value: Any, key: str) -> Mapping[str, Any]:
    """A mapping of the configuration, empty where it is not set.

    Raises:
        SweepError: it is something else.
    """
    value = _plain(value)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise SweepError(f"hydra.sweeper.{key}: found {value!r}, expected a mapping")
    return value
