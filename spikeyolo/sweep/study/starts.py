"""Starting points of a sweep: the configuration's own values, given ones, or the best of another study."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.distributions import CategoricalDistribution

from spikeyolo.errors import SweepError
from spikeyolo.sweep.space import Constraint, Parameter, SearchSpace
from spikeyolo.sweep.space.text import config_text, override_text, text_of
from spikeyolo.sweep.study.ledger import METRICS
from spikeyolo.sweep.study.storage import open_storage, storage_address

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from optuna.trial import FrozenTrial

__all__ = ["starting_points"]

logger = logging.getLogger(__name__)

DEFAULTS = "enqueue: defaults"


def starting_points(
    config: object, *, space: SearchSpace, composed: DictConfig, folder: Path, constraints: Sequence[Constraint] = ()
) -> list[dict[str, Any]]:
    """Read ``enqueue``: a list of ``defaults``, of mappings key → value, or of ``{best_of: storage, top: n}``.

    Values outside the space are left to the sampler, with a warning. The best are those of the other study's direction
    that break no constraint, see :func:`_feasible`.

    Raises:
        SweepError: an entry is none of these, or the other study cannot be read.
    """
    entries = [config] if isinstance(config, str | Mapping) else config
    if entries is None:
        return []
    if not isinstance(entries, Sequence):
        raise SweepError(f"enqueue: found {config!r}, expected a list")
    points: list[dict[str, Any]] = []
    for entry in entries:
        if entry == "defaults":
            points.append(_within(space, _defaults(space, composed), DEFAULTS))
        elif isinstance(entry, Mapping) and "best_of" in entry:
            points += [_within(space, best, "enqueue: best_of") for best in _best_of(entry, folder, constraints)]
        elif isinstance(entry, Mapping):
            named = {p.key: p.name for p in space.parameters}
            for key in entry:
                if str(key).lstrip("+") not in named:
                    raise SweepError(f"enqueue: {key} is no parameter; the space has {', '.join(named)}")
            points.append(_within(space, {named[str(k).lstrip("+")]: v for k, v in entry.items()}, "enqueue"))
        else:
            raise SweepError(f"enqueue: found {entry!r}, expected defaults, a mapping, or {{best_of: STORAGE}}")
    return [point for point in points if point]


def _defaults(space: SearchSpace, composed: DictConfig) -> dict[str, Any]:
    """The configuration's own values; null only where it is one of the choices."""
    values = {p.name: config_text(composed, p.key) for p in space.parameters}
    nullable = {p.name for p in space.parameters if isinstance(p.distribution, CategoricalDistribution)}
    return {k: v for k, v in values.items() if v is not None or k in nullable}


def _best_of(entry: Mapping[str, Any], folder: Path, constraints: Sequence[Constraint]) -> list[dict[str, Any]]:
    import optuna

    address = storage_address(entry["best_of"], folder)
    # Opening a journal makes it.
    if isinstance(address, str) and "://" not in address and not Path(address).is_file():
        raise SweepError(f"enqueue: best_of: there is no study at {address}")
    storage = open_storage(address)
    names = [summary.study_name for summary in optuna.get_all_study_summaries(storage)]
    name = entry.get("study_name") or (names[0] if len(names) == 1 else None)
    if name is None or name not in names:
        raise SweepError(f"enqueue: {entry['best_of']} holds the studies {', '.join(names) or 'none'}; name one")
    study = optuna.load_study(study_name=name, storage=storage)
    finished = [t for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]
    feasible = [trial for trial in finished if _feasible(trial, constraints)]
    if finished and not feasible:
        logger.warning(
            "enqueue: best_of: each of the %d finished trials of study %s breaks a constraint: none is taken along",
            len(finished),
            name,
        )
    sign = -1.0 if study.directions[0].name == "MAXIMIZE" else 1.0
    feasible.sort(key=lambda t: sign * t.values[0])
    return [dict(t.params) for t in feasible[: int(entry.get("top", 1))]]


def _feasible(trial: FrozenTrial, constraints: Sequence[Constraint]) -> bool:
    """Whether a trial of another study breaks no constraint: of metrics that it recorded the present ones, else as it
    was judged there."""
    metrics = trial.user_attrs.get(METRICS, {})
    present = {c.metric: c.violation(metrics[c.metric]) for c in constraints if c.metric in metrics}
    return all(violation <= 0 for violation in {**trial.constraints, **present}.values())


def _within(space: SearchSpace, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    point: dict[str, Any] = {}
    for parameter in space.parameters:
        if parameter.name not in values:
            continue
        fitted = _fit(parameter, values[parameter.name])
        if fitted is None:
            name, value = parameter.name, values[parameter.name]
            if where == DEFAULTS:  # nobody wrote that value for the search
                logger.info(
                    "the first trial takes the configuration's values; %s=%s is outside the search space, so that the "
                    "sampler draws it",
                    name,
                    value,
                )
            else:
                logger.warning("%s: %s=%s is outside the space and left to the sampler", where, name, value)
        else:
            point[parameter.name] = fitted[0]
    return point


def _fit(parameter: Parameter, value: Any) -> tuple[Any] | None:
    """The value as the distribution holds it, or None where it does not."""
    distribution = parameter.distribution
    if isinstance(distribution, CategoricalDistribution):
        text = override_text(value)
        for choice in distribution.choices:
            if parameter.text(choice) == text or parameter.text(choice).strip("'\"") == text_of(value):
                return (choice,)
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return (value,) if distribution._contains(distribution.to_internal_repr(value)) else None
