"""What a sweep leaves in its folder: the best found as YAML, as a configuration that runs, and as a line to paste."""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial

from spikeyolo.sweep.space import SearchSpace
from spikeyolo.sweep.study.ledger import FOLDER, METRICS
from spikeyolo.sweep.study.study import SweepStudy

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["best_line", "config_of", "write_best_config", "write_results"]

logger = logging.getLogger(__name__)


def best_line(space: SearchSpace, params: Mapping[str, Any]) -> str:
    """Parameters as overrides, quoted for a shell."""
    return " ".join(shlex.quote(override) for override in space.overrides(params))


def write_results(study: SweepStudy, space: SearchSpace, folder: Path) -> Path:
    """Write ``optimization_results.yaml``: the official plugin's keys (``name``, ``best_params``, ``best_value``, or
    ``solutions``), then the override line, the best trial's folder and metrics, and the counts."""
    from omegaconf import OmegaConf

    front = study.front()
    results: dict[str, Any] = {"name": "optuna"}
    if len(study.study.directions) == 1:
        if front:
            best = front[0]
            results |= {"best_params": dict(best.params), "best_value": best.value} | _more(best, space)
    else:
        results["solutions"] = [{"params": dict(t.params), "values": list(t.values), **_more(t, space)} for t in front]
    counts = study.counts()
    results |= {
        "study_name": study.study.study_name,
        "directions": [direction.name.lower() for direction in study.study.directions],
        "trials": {
            "complete": counts.complete,
            "pruned": counts.pruned,
            "failed": counts.failed,
            "retried": counts.retried,
            "waiting": counts.waiting,
        },
    }
    return _write(folder / "optimization_results.yaml", OmegaConf.to_yaml(OmegaConf.create(results)))


def _more(trial: FrozenTrial, space: SearchSpace) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "overrides": best_line(space, trial.params),
        "folder": trial.user_attrs.get(FOLDER, ""),
        "metrics": dict(trial.user_attrs.get(METRICS, {})),
    }


def config_of(trial: FrozenTrial) -> DictConfig | None:
    """The configuration a trial ran with, as Hydra kept it in its folder; None where that is not here."""
    from omegaconf import DictConfig, OmegaConf

    path = Path(trial.user_attrs.get(FOLDER, ""), ".hydra", "config.yaml")
    if FOLDER not in trial.user_attrs or not path.is_file():
        return None
    job = OmegaConf.load(path)
    return job if isinstance(job, DictConfig) else None


def write_best_config(job: DictConfig, application: DictConfig, folder: Path) -> Path:
    """Write the composed configuration of the best trial as ``best_config.yaml``.

    Args:
        job: the trial's configuration; Hydra's part of it is left out.
        application: as the sweep was composed; of Hydra's part only what an application says of itself is kept, so
            that a run of this file has its name, its folder and its logging, and no sweeper.
        folder: of the sweep.
    """
    from omegaconf import OmegaConf

    task = OmegaConf.masked_copy(job, [str(key) for key in job if key != "hydra"])
    own = OmegaConf.masked_copy(application.hydra, ["run", "job_logging"])
    text = OmegaConf.to_yaml({"hydra": {"job": {"name": application.hydra.job.name}, **own}}, resolve=False)
    return _write(folder / "best_config.yaml", OmegaConf.to_yaml(task, resolve=False) + text)


def _write(path: Path, text: str) -> Path:
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    partial.write_text(text)
    partial.replace(path)
    return path
