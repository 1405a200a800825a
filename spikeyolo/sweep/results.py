"""What a sweep leaves in its folder: the best found as YAML, as a configuration that runs, as a line to paste, and
figures."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import shlex
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial

from spikeyolo.sweep.ledger import FOLDER, METRICS
from spikeyolo.sweep.space import SearchSpace
from spikeyolo.sweep.study import SweepStudy

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["best_line", "import_drawing", "write_best_config", "write_figures", "write_results"]

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


def import_drawing() -> None:
    """Import what draws the figures, in a thread while trials run: it takes seconds."""
    for name in ("matplotlib", "matplotlib.pyplot", "plotly.graph_objects", "sklearn.ensemble"):
        with contextlib.suppress(ImportError):
            module = importlib.import_module(name)
            if name == "matplotlib":
                module.use("Agg")


def write_figures(study: optuna.Study, folder: Path) -> list[Path]:
    """Write every figure the study has data for, as PNG (matplotlib) and HTML (plotly, where it is installed)."""
    warnings.filterwarnings("ignore", module="optuna")  # remarks on studies too small for a figure's statistics
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it remarks on choices that look like numbers
    with contextlib.suppress(ImportError):
        # Plotly looks at pandas wherever it is loaded, and fails on one that another thread has half imported.
        importlib.import_module("pandas")
    target = folder / "figures"
    target.mkdir(parents=True, exist_ok=True)
    written = []
    for name, function, arguments in _figures(study):
        try:
            written += [_png(study, function, arguments, target / f"{name}.png")]
        except (ValueError, RuntimeError, ImportError) as error:
            logger.debug("no figure %s.png: %s", name, error)
        try:
            written += [_html(study, function, arguments, target / f"{name}.html")]
        except (ValueError, RuntimeError, ImportError) as error:
            logger.debug("no figure %s.html: %s", name, error)
    return written


def _figures(study: optuna.Study) -> list[tuple[str, str, dict[str, Any]]]:
    """File name, Optuna's plotting function, its arguments."""
    shared: list[tuple[str, str, dict[str, Any]]] = [("timeline", "plot_timeline", {})]
    if len(study.directions) == 1:
        names = ("optimization_history", "param_importances", "parallel_coordinate", "slice", "intermediate_values")
        return [(name, f"plot_{name}", {}) for name in names] + shared
    figures: list[tuple[str, str, dict[str, Any]]] = [("pareto_front", "plot_pareto_front", {})]
    for index in range(len(study.directions)):
        arguments = {"target": _objective(index), "target_name": f"objective {index}"}
        for name in ("optimization_history", "param_importances", "parallel_coordinate", "slice"):
            figures.append((f"{name}_{index}", f"plot_{name}", arguments))
    return figures + shared


def _objective(index: int) -> Callable[[FrozenTrial], float]:
    return lambda trial: float(trial.values[index])


def _png(study: optuna.Study, function: str, arguments: Mapping[str, Any], path: Path) -> Path:
    import matplotlib
    from matplotlib import pyplot

    matplotlib.use("Agg")
    import optuna.visualization.matplotlib as drawing

    _need(study, function)
    axes = getattr(drawing, function)(study, **arguments)
    first = axes.flat[0] if hasattr(axes, "flat") else axes
    first.figure.savefig(path, dpi=120, bbox_inches="tight")
    pyplot.close("all")
    return path


def _html(study: optuna.Study, function: str, arguments: Mapping[str, Any], path: Path) -> Path:
    import optuna.visualization as drawing

    _need(study, function)
    figure = getattr(drawing, function)(study, **arguments)
    figure.write_html(path, include_plotlyjs="directory")  # opens without a network
    return path


def _need(study: optuna.Study, function: str) -> None:
    """Optuna draws empty axes where it has nothing to show."""
    trials: Sequence[FrozenTrial] = study.get_trials(deepcopy=False)
    finished = [t for t in trials if t.state.is_finished() and t.values is not None]
    if function == "plot_intermediate_values" and not any(t.intermediate_values for t in trials):
        raise ValueError("no trial has reported")
    if not finished or (function == "plot_param_importances" and len(finished) < 4):
        raise ValueError("too few finished trials")
