"""From a trial to the overrides of its job: the space, its conditions, and the user's own function where there is one;
and the check, before the first trial, that the configuration knows every key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from spikeyolo.errors import SweepError
from spikeyolo.sweep.space.parameters import Parameter, SearchSpace
from spikeyolo.sweep.space.text import config_text, flatten, text_of
from spikeyolo.sweep.targets import locate

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from omegaconf import DictConfig

    from spikeyolo.sweep.settings import Settings

__all__ = ["Drawing", "check_keys", "compose", "describe_shared"]


class Drawing:
    """Suggests a trial's parameters and returns all overrides of its job.

    Args:
        config: the composed configuration, for conditions on what is not searched.
        custom: dotted path of ``function(config, trial)``, as the official plugin's ``custom_search_space``: what it
            suggests becomes overrides too; what is fixed it finds in ``trial.user_attrs``.
    """

    def __init__(self, space: SearchSpace, config: DictConfig, custom: str | None = None) -> None:
        self.space = space
        self.config = config
        self._function = _find(custom) if custom else None

    def __call__(self, trial: Trial) -> list[str]:
        try:
            overrides = self.space.suggest(trial, self._lookup)
            return [*self.space.fixed, *overrides, *self._custom(trial)]
        except (ValueError, ImportError, NotImplementedError) as error:
            name = type(trial.study.sampler).__name__
            raise SweepError(f"the sampler {name} cannot do this space: {str(error).splitlines()[0]}") from error

    def _custom(self, trial: Trial) -> list[str]:
        if self._function is None:
            return []
        for override in self.space.fixed:
            key, _, value = override.partition("=")
            trial.set_user_attr(key, value)
        self._function(self.config, trial)
        more = {k: v for k, v in trial.params.items() if k not in self.space.names}
        fixed = {override.partition("=")[0] for override in self.space.fixed}
        if more.keys() & fixed:
            raise SweepError(f"custom_search_space suggests what is fixed: {', '.join(sorted(more.keys() & fixed))}")
        return self.space.overrides(more)

    def _lookup(self, key: str) -> str | None:
        value = config_text(self.config, key)
        return None if value is None else text_of(value)


def _find(path: str) -> Any:
    found = locate(path, "custom_search_space")
    if not callable(found):
        raise SweepError(f"custom_search_space: {path} is a {type(found).__name__}, expected a function")
    return found


def compose(loader: ConfigLoader, config: DictConfig, overrides: list[str]) -> DictConfig:
    """Compose the configuration of one job.

    Raises:
        SweepError: an override does not fit the configuration.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        return loader.load_sweep_config(config, overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise SweepError(" ".join(str(error).strip().split("\n")[:2])) from error


def check_keys(space: SearchSpace, loader: ConfigLoader, config: DictConfig) -> None:
    """Compose the configuration once with a first value of every parameter.

    Raises:
        SweepError: a parameter's key is unknown, its value does not fit, or its condition reads a key that is not
            there; names the parameter.
    """
    _check_conditions(space, config)
    plain = [p for p in space.parameters if not p.conditions]
    base = [*space.fixed, *(p.override(_first(p.distribution)) for p in plain)]
    try:
        compose(loader, config, base)
    except SweepError as error:
        for parameter in plain:
            _check_one(parameter, list(space.fixed), loader, config)
        raise error
    known = {p.key: p for p in space.parameters}
    for parameter in space.parameters:
        context = _context(parameter, known)
        if parameter.conditions and context is not None:
            _check_one(parameter, [*base, *context], loader, config)


def describe_shared(space: SearchSpace, loader: ConfigLoader, config: DictConfig, settings: Settings) -> dict[str, str]:
    """What all trials share, key → text: the configuration with what is fixed, and how trials are judged."""
    from omegaconf import OmegaConf

    overrides = list(space.fixed)
    try:
        job = compose(loader, config, overrides)
    except SweepError:  # what is searched makes it whole
        plain = [p.override(_first(p.distribution)) for p in space.parameters if not p.conditions]
        job = compose(loader, config, [*overrides, *plain])
    task = OmegaConf.to_container(OmegaConf.masked_copy(job, [str(key) for key in job if key != "hydra"]))
    shared = flatten(task) if task else {}
    shared |= {f"constraints.{metric}": str(bound) for metric, bound in settings.constraints.items()}
    if settings.custom_search_space:
        shared["custom_search_space"] = settings.custom_search_space
    return shared


def _check_conditions(space: SearchSpace, config: DictConfig) -> None:
    """A condition on a misspelt key would never hold, and its parameter silently not be searched."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    given = {p.key for p in space.parameters} | {line.partition("=")[0].lstrip("+") for line in space.fixed}
    absent = object()
    for parameter in space.parameters:
        for condition in parameter.conditions:
            if condition.key in given or condition.key in config.hydra.runtime.choices:
                continue
            try:
                found = OmegaConf.select(config, condition.key, default=absent)
            except OmegaConfBaseException:  # there, and resolved in a job only
                continue
            if found is absent:
                raise SweepError(
                    f"when.{parameter.key}: {condition.key} is neither searched nor a key of the configuration"
                )


def _check_one(parameter: Parameter, base: list[str], loader: ConfigLoader, config: DictConfig) -> None:
    try:
        compose(loader, config, [*base, parameter.override(_first(parameter.distribution))])
    except SweepError as error:
        raise SweepError(f"hydra.sweeper.params.{parameter.name}: {error}") from error


def _context(parameter: Parameter, known: dict[str, Parameter]) -> list[str] | None:
    """Overrides under which a conditional parameter exists; None where only what is fixed decides."""
    overrides: list[str] = []
    for condition in parameter.conditions:
        if condition.negated or condition.key not in known:
            return None
        outer = known[condition.key]
        inner = _context(outer, known)
        if inner is None:
            return None
        overrides += [*inner, f"{outer.name}={condition.values[0]}"]
    return overrides


def _first(distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[0]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return distribution.low
