"""Samplers, pruners and terminators of Optuna 5 built from configuration, and what they can and cannot do.

A configuration written for the official plugin (Optuna below 3) is understood: arguments that Optuna dropped are left
out with a warning, and MOTPE is what TPE became.
"""

from __future__ import annotations

import inspect
import logging
import pkgutil
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner
from optuna.samplers import BaseSampler
from optuna.terminator import BaseTerminator, Terminator

from spikeyolo.errors import SweepError
from spikeyolo.sweep.space import SearchSpace

__all__ = ["build_pruner", "build_sampler", "build_terminator", "prepare_pruner"]

logger = logging.getLogger(__name__)

RENAMED = {"MOTPESampler": "TPESampler"}
RENAMED_ARGUMENTS = {"n_ehvi_candidates": "n_ei_candidates"}
# Arguments of the official plugin's configuration that Optuna has since retired or is retiring.
RETIRED = {
    "consider_prior",
    "consider_magic_clip",
    "consider_endpoints",
    "prior_weight",
    "restart_strategy",
    "inc_popsize",
    "constraints_func",
    "warn_independent_sampling",
}


def build_sampler(config: object, *, space: SearchSpace, objectives: int, seed: int | None, drawn: int) -> BaseSampler:
    """Build the sampler and check that it can search this space.

    Args:
        config: a mapping with ``_target_``, or None for Optuna's default (TPE).
        seed: used where the sampler's own ``seed`` is not set.
        drawn: trials already in the study; a resumed sampler must not draw the same numbers again.

    Raises:
        SweepError: the sampler is unknown, takes no such argument, or cannot do the space or the objectives.
    """
    if isinstance(config, BaseSampler):
        return config
    cls, arguments = _target(config or {"_target_": "optuna.samplers.TPESampler"}, BaseSampler, "sampler")
    parameters = inspect.signature(cls).parameters
    if "seed" in parameters:
        seed = arguments.get("seed") if arguments.get("seed") is not None else seed
        arguments["seed"] = None if seed is None else int(seed) + drawn
    if cls.__name__ == "GridSampler" and not arguments.get("search_space"):
        arguments["search_space"] = space.grid()
    if cls.__name__ == "BruteForceSampler":
        space.grid()
    _check(cls.__name__, space, objectives)
    if "base_sampler" in arguments or cls.__name__ == "PartialFixedSampler":
        arguments["fixed_params"] = arguments.get("fixed_params") or {}
        base = arguments.get("base_sampler")
        arguments["base_sampler"] = build_sampler(base, space=space, objectives=objectives, seed=seed, drawn=drawn)
    if isinstance(arguments.get("independent_sampler"), Mapping):
        arguments["independent_sampler"] = build_sampler(
            arguments["independent_sampler"], space=space, objectives=objectives, seed=seed, drawn=drawn
        )
    sampler: BaseSampler = _construct(cls, arguments, "sampler")
    return sampler


def _check(name: str, space: SearchSpace, objectives: int) -> None:
    if objectives > 1 and name in ("CmaEsSampler", "GPSampler") and not _does_several(name):
        raise SweepError(f"sampler {name} has one objective, found {objectives}; use tpe, nsgaii or nsgaiii")
    categorical = [p.name for p in space.parameters if isinstance(p.distribution, CategoricalDistribution)]
    if name == "CmaEsSampler" and space.parameters and len(categorical) == len(space.parameters):
        raise SweepError(f"sampler CmaEsSampler searches numbers, found only choices: {', '.join(categorical)}")
    if name in ("CmaEsSampler", "QMCSampler") and categorical:
        logger.warning("sampler %s draws the choices %s at random", name, ", ".join(categorical))


def _does_several(name: str) -> bool:
    return name == "GPSampler"  # since Optuna 4.4


def build_pruner(config: object, *, objectives: int) -> BasePruner:
    """Build the pruner; none (null) prunes nothing.

    Raises:
        SweepError: the pruner is unknown, takes no such argument, or there are several objectives.
    """
    if config is None or (isinstance(config, Mapping) and not config.get("_target_")):
        return NopPruner()
    if isinstance(config, BasePruner):
        pruner = config
    else:
        cls, arguments = _target(config, BasePruner, "pruner")
        if cls.__name__ == "PatientPruner":
            wrapped = arguments.get("wrapped_pruner")
            arguments["wrapped_pruner"] = build_pruner(wrapped, objectives=objectives) if wrapped else None
        pruner = _construct(cls, arguments, "pruner")
    if objectives > 1 and not isinstance(pruner, NopPruner):
        raise SweepError(f"pruner {type(pruner).__name__} needs one objective, found {objectives}; use pruner=none")
    return pruner


def prepare_pruner(study: optuna.Study) -> None:
    """Hyperband learns its brackets only where it prunes; a sampler that asks before would see one bracket."""
    pruner = study.pruner
    if isinstance(pruner, HyperbandPruner) and not pruner._pruners:
        pruner._try_initialization(study)


def build_terminator(config: object) -> BaseTerminator | None:
    """Build the terminator: null or false for none, true for Optuna's default, or a mapping.

    Raises:
        SweepError: the terminator is unknown or takes no such argument.
    """
    if config is None or config is False:
        return None
    if config is True:
        return Terminator()
    if isinstance(config, BaseTerminator):
        return config
    if not isinstance(config, Mapping):
        raise SweepError(f"terminator: found {config!r}, expected true, false or a mapping with _target_")
    cls, arguments = _target({"_target_": "optuna.terminator.Terminator", **config}, BaseTerminator, "terminator")
    for name in ("improvement_evaluator", "error_evaluator"):
        if isinstance(arguments.get(name), Mapping):
            evaluator, inner = _target(arguments[name], object, f"terminator.{name}")
            arguments[name] = _construct(evaluator, inner, f"terminator.{name}")
    terminator: BaseTerminator = _construct(cls, arguments, "terminator")
    return terminator


def _target(config: object, base: type, role: str) -> tuple[type, dict[str, Any]]:
    if not isinstance(config, Mapping) or not isinstance(config.get("_target_"), str):
        raise SweepError(f"{role}: found {config!r}, expected a name of the group or a mapping with _target_")
    path = str(config["_target_"])
    module, _, name = path.rpartition(".")
    path = f"{module}.{RENAMED.get(name, name)}" if module.startswith("optuna") else path
    try:
        cls = pkgutil.resolve_name(path)
    except (ImportError, ValueError, AttributeError) as error:
        raise SweepError(f"{role}: {path} is not there: {error}") from error
    if not isinstance(cls, type) or not issubclass(cls, base):
        raise SweepError(f"{role}: {path} is no {base.__name__}")
    arguments = {str(k): v for k, v in config.items() if k not in ("_target_", "_partial_", "_convert_", "_recursive_")}
    return cls, arguments


def _arguments_of_others(cls: type) -> set[str]:
    """Arguments of all samplers, or of all pruners, of Optuna."""
    for module, base in ((optuna.samplers, BaseSampler), (optuna.pruners, BasePruner)):
        if issubclass(cls, base):
            others = [getattr(module, name) for name in module.__all__]
            return {p for other in others if inspect.isclass(other) for p in inspect.signature(other).parameters}
    return set()


def _construct(cls: type, arguments: dict[str, Any], role: str) -> Any:
    parameters = inspect.signature(cls).parameters
    accepted: dict[str, Any] = {}
    for key, value in arguments.items():
        name = key if key in parameters else RENAMED_ARGUMENTS.get(key, key)
        if name in RETIRED:
            logger.debug("%s: argument %s is retired in Optuna %s and left out", role, key, optuna.__version__)
        elif name not in parameters and name in _arguments_of_others(cls):
            # A search file sets arguments of one pruner, the command line chooses another.
            logger.info("%s: %s belongs to another %s and is left out", role, key, role)
        elif name not in parameters:
            known = ", ".join(p for p in parameters if p not in ("args", "kwargs") and p not in RETIRED)
            raise SweepError(f"{role}: {cls.__name__} takes no {key!r}; it takes {known or 'no arguments'}")
        elif value is not None or parameters[name].default is not inspect.Parameter.empty:
            if value is not None:
                accepted[name] = value
        else:
            accepted[name] = None
    try:
        return cls(**accepted)
    except (TypeError, ValueError, ImportError) as error:
        raise SweepError(f"{role}: {cls.__name__}: {str(error).splitlines()[0]}") from error
