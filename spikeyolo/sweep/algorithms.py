"""Samplers, pruners and terminators of Optuna 5 built from configuration, and what they can and cannot do.

A configuration written for the official plugin is understood: MOTPE is what TPE became, and what Optuna says of
arguments that it is dropping is said in the sweep's log.
"""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner
from optuna.samplers import BaseSampler
from optuna.terminator import BaseTerminator, Terminator

from spikeyolo.errors import SweepError
from spikeyolo.sweep.space import SearchSpace
from spikeyolo.sweep.targets import RESERVED, build, is_target, locate

__all__ = ["build_pruner", "build_sampler", "build_terminator", "prepare_pruner", "rehearse"]

logger = logging.getLogger(__name__)

# The official plugin's names for what Optuna calls otherwise.
RENAMED = {
    "optuna.samplers.MOTPESampler": "optuna.samplers.TPESampler",
    "hydra_plugins.hydra_optuna_sweeper._impl.create_nsgaii_sampler": "optuna.samplers.NSGAIISampler",
    "hydra_plugins.hydra_optuna_sweeper._impl.create_nsgaiii_sampler": "optuna.samplers.NSGAIIISampler",
    "hydra_plugins.hydra_optuna_sweeper.config.raise_motpe_removed": "optuna.samplers.TPESampler",
}
RENAMED_ARGUMENTS = {"n_ehvi_candidates": "n_ei_candidates"}
# They walk through one sequence, which a study must go through to its end: another seed is another sequence.
SEQUENCES = ("GridSampler", "QMCSampler")


def build_sampler(
    config: object,
    *,
    space: SearchSpace,
    objectives: int,
    seed: int | None,
    drawn: int,
    keep_seed: Callable[[int], int] = lambda seed: seed,
) -> BaseSampler:
    """Build the sampler and check that it can search this space.

    Args:
        config: a mapping with ``_target_`` (a class or a function that returns a sampler), or None for Optuna's default
            (TPE).
        seed: used where the sampler's own ``seed`` is not set.
        drawn: trials already in the study; a resumed sampler must not draw the same numbers again.
        keep_seed: given the seed of a sampler that walks through one sequence, returns the one the study began with.

    Raises:
        SweepError: the sampler is unknown, takes no such argument, or cannot do the space or the objectives.
    """
    if isinstance(config, BaseSampler):
        return config
    function, arguments = _target(config or {"_target_": "optuna.samplers.TPESampler"}, BaseSampler, "sampler")
    name = function.__name__
    if name in SEQUENCES:
        arguments["seed"] = keep_seed(_seed(arguments, seed) or 0)
    elif "seed" in inspect.signature(function).parameters:
        own = _seed(arguments, seed)
        arguments["seed"] = None if own is None else own + drawn
    if name == "GridSampler" and not arguments.get("search_space"):
        arguments["search_space"] = space.grid()
    if name == "BruteForceSampler":
        space.grid()
    _check(name, space, objectives)
    if name == "PartialFixedSampler":
        arguments["fixed_params"] = arguments.get("fixed_params") or {}
        arguments.setdefault("base_sampler", None)
    for inner in ("base_sampler", "independent_sampler"):
        if (inner == "base_sampler" and inner in arguments) or is_target(arguments.get(inner)):
            arguments[inner] = build_sampler(
                arguments[inner], space=space, objectives=objectives, seed=seed, drawn=drawn, keep_seed=keep_seed
            )
    sampler: BaseSampler = _construct(function, arguments, BaseSampler, "sampler")
    return sampler


def _seed(arguments: Mapping[str, Any], seed: int | None) -> int | None:
    own = arguments.get("seed")
    return seed if own is None else int(own)


def _check(name: str, space: SearchSpace, objectives: int) -> None:
    if objectives > 1 and name == "CmaEsSampler":
        raise SweepError(f"sampler {name} has one objective, found {objectives}; use tpe, nsgaii or nsgaiii")
    categorical = [p.name for p in space.parameters if isinstance(p.distribution, CategoricalDistribution)]
    if name == "CmaEsSampler" and space.parameters and len(categorical) == len(space.parameters):
        raise SweepError(f"sampler CmaEsSampler searches numbers, found only choices: {', '.join(categorical)}")
    if name in ("CmaEsSampler", "QMCSampler") and categorical:
        logger.warning("sampler %s draws the choices %s at random", name, ", ".join(categorical))


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
        function, arguments = _target(config, BasePruner, "pruner")
        if function.__name__ == "PatientPruner":
            wrapped = arguments.get("wrapped_pruner")
            arguments["wrapped_pruner"] = build_pruner(wrapped, objectives=objectives) if wrapped else None
        pruner = _construct(function, arguments, BasePruner, "pruner")
    if objectives > 1 and not isinstance(pruner, NopPruner):
        raise SweepError(f"pruner {type(pruner).__name__} needs one objective, found {objectives}; use pruner=none")
    return pruner


def prepare_pruner(study: optuna.Study) -> None:
    """Hyperband learns its brackets only where it prunes; a sampler that asks before would see one bracket."""
    pruner = study.pruner
    if isinstance(pruner, HyperbandPruner) and not pruner._pruners:
        pruner._try_initialization(study)


def build_terminator(config: object, *, objectives: int) -> BaseTerminator | None:
    """Build the terminator: null or false for none, true for one that stops when the regret that is left is small
    (EMMR, judged against the median of the first trials: it needs no cross-validation), or a mapping.

    Raises:
        SweepError: the terminator is unknown or takes no such argument, or there are several objectives.
    """
    if config is None or config is False:
        return None
    if objectives > 1:
        raise SweepError(f"terminator: it judges one objective, found {objectives}; use terminator=null")
    if config is True:
        config = {}
    if isinstance(config, BaseTerminator):
        return config
    if not isinstance(config, Mapping):
        raise SweepError(f"terminator: found {config!r}, expected true, false or a mapping with _target_")
    function, arguments = _target({"_target_": "optuna.terminator.Terminator", **config}, BaseTerminator, "terminator")
    if function is Terminator and not arguments.get("improvement_evaluator"):
        arguments["improvement_evaluator"] = {"_target_": "optuna.terminator.EMMREvaluator"}
    improvement = arguments["improvement_evaluator"] = build(
        arguments.get("improvement_evaluator"), "terminator.improvement_evaluator"
    )
    default = function is Terminator and not arguments.get("error_evaluator")
    if default and isinstance(improvement, optuna.terminator.EMMREvaluator):
        arguments["error_evaluator"] = optuna.terminator.MedianErrorEvaluator(improvement)
    terminator: BaseTerminator = _construct(function, arguments, BaseTerminator, "terminator")
    return terminator


def rehearse(terminator: BaseTerminator, space: SearchSpace, direction: Literal["minimize", "maximize"]) -> None:
    """Ask the terminator once about a study of random trials, so that what it lacks is said before the sweep.

    Raises:
        SweepError: it cannot judge such trials (scores of cross-validation that no trial reports, a missing package).
    """
    study = optuna.create_study(direction=direction, sampler=optuna.samplers.RandomSampler(seed=0))
    for number in range(getattr(terminator, "_min_n_trials", 0) + 1):
        trial = study.ask(space.distributions)
        study.tell(trial, float(number))
    try:
        terminator.should_terminate(study)
    except (ValueError, ImportError, RuntimeError) as error:
        raise SweepError(f"terminator: it cannot judge these trials: {str(error).splitlines()[0]}") from error


def _target(config: object, base: type, role: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    if not isinstance(config, Mapping) or not is_target(config):
        raise SweepError(f"{role}: found {config!r}, expected a name of the group or a mapping with _target_")
    path = str(config["_target_"])
    function = locate(RENAMED.get(path, path), role)
    if not callable(function) or (isinstance(function, type) and not issubclass(function, base)):
        raise SweepError(f"{role}: {path} is no {base.__name__}")
    arguments = {str(k): v for k, v in config.items() if k not in RESERVED}
    positional = [p for p in inspect.signature(function).parameters if p not in arguments]
    return function, {**dict(zip(positional, config.get("_args_") or [])), **arguments}


def _arguments_of_others(base: type) -> set[str]:
    """Arguments of all samplers, or of all pruners, of Optuna."""
    modules = [
        module for module, kind in ((optuna.samplers, BaseSampler), (optuna.pruners, BasePruner)) if kind is base
    ]
    others = [getattr(module, name) for module in modules for name in module.__all__]
    return {p for other in others if inspect.isclass(other) for p in inspect.signature(other).parameters}


def _construct(function: Callable[..., Any], arguments: dict[str, Any], base: type, role: str) -> Any:
    parameters = inspect.signature(function).parameters
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    accepted: dict[str, Any] = {}
    for key, value in arguments.items():
        name = key if key in parameters else RENAMED_ARGUMENTS.get(key, key)
        if value is None and not (name in parameters and parameters[name].default is inspect.Parameter.empty):
            continue  # Optuna's own default
        if name in parameters or takes_any:
            accepted[name] = build(value, f"{role}.{key}")
        elif name in _arguments_of_others(base):
            # A search file sets arguments of one pruner, the command line chooses another.
            logger.warning("%s: %s belongs to another %s and is left out", role, key, role)
        else:
            takes = ", ".join(p for p in parameters if p != "args")
            raise SweepError(f"{role}: {function.__name__} takes no {key!r}; it takes {takes or 'no arguments'}")
    with warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always")
        try:
            made = function(**accepted)
        except (TypeError, ValueError, ImportError) as error:
            raise SweepError(f"{role}: {function.__name__}: {str(error).splitlines()[0]}") from error
    for remark in remarks:
        if issubclass(remark.category, FutureWarning | UserWarning) and not issubclass(
            remark.category, optuna.exceptions.ExperimentalWarning
        ):
            logger.warning("%s: %s", role, str(remark.message).splitlines()[0])
    if not isinstance(made, base):
        raise SweepError(f"{role}: {function.__name__} returned a {type(made).__name__}, expected a {base.__name__}")
    return made
