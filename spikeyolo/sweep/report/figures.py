"""Figures of a study: Optuna's own, in the house's colours, with the objective's name."""

from __future__ import annotations

import contextlib
import importlib
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from omegaconf import DictConfig

__all__ = ["import_drawing", "objective_names", "write_figures"]

logger = logging.getLogger(__name__)

# The colours of report/pictures/canvas.py, which a sweep does not import.
BACKGROUND, PANEL, FAINT, TEXT = "#0d1117", "#161b22", "#30363d", "#e6edf3"
FEW = 10  # trials; an axis of more has no ticks at halves
COUNTED = ("Trial", "Step")  # what Optuna calls axes of numbers that are counted


def import_drawing() -> None:
    """Import what draws the figures, in a thread while trials run: it takes seconds."""
    for name in ("matplotlib", "matplotlib.pyplot", "plotly.graph_objects", "sklearn.ensemble"):
        with contextlib.suppress(ImportError):
            module = importlib.import_module(name)
            if name == "matplotlib":
                module.use("Agg")


def objective_names(config: DictConfig, count: int) -> list[str]:
    """What an application's key ``objective`` calls its objectives; numbered where it has no such names."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        named = OmegaConf.select(config, "objective", default=None)
    except OmegaConfBaseException:  # refers to what only a job knows
        named = None
    names = [named] if isinstance(named, str) else list(named or ())
    if len(names) == count and all(isinstance(name, str) for name in names):
        return names
    return ["objective"] if count == 1 else [f"objective {index}" for index in range(count)]


def write_figures(study: optuna.Study, folder: Path, names: Sequence[str]) -> list[Path]:
    """Write every figure the study has data for, as PNG (matplotlib) and HTML (plotly, where it is installed).

    Args:
        study: finished or not.
        folder: of the sweep; the figures are in ``figures`` below it.
        names: of the objectives.
    """
    warnings.filterwarnings("ignore", module="optuna")  # remarks on studies too small for a figure's statistics
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it remarks on choices that look like numbers
    with contextlib.suppress(ImportError):
        # Plotly looks at pandas wherever it is loaded, and fails on one that another thread has half imported.
        importlib.import_module("pandas")
    target = folder / "figures"
    target.mkdir(parents=True, exist_ok=True)
    written = []
    for name, function, arguments in _figures(names):
        for draw, suffix in ((_png, ".png"), (_html, ".html")):
            try:
                written.append(draw(study, function, arguments, target / f"{name}{suffix}"))
            except (ValueError, RuntimeError, ImportError) as error:
                logger.debug("no figure %s%s: %s", name, suffix, error)
    return written


def _figures(objectives: Sequence[str]) -> list[tuple[str, str, dict[str, Any]]]:
    """File name, Optuna's plotting function, its arguments."""
    shared: list[tuple[str, str, dict[str, Any]]] = [("timeline", "plot_timeline", {})]
    kinds = ("optimization_history", "param_importances", "parallel_coordinate", "slice")
    if len(objectives) == 1:
        named = {"target_name": objectives[0]}
        figures: list[tuple[str, str, dict[str, Any]]] = [(name, f"plot_{name}", named) for name in kinds]
        return [*figures, ("intermediate_values", "plot_intermediate_values", {}), *shared]
    figures = [("pareto_front", "plot_pareto_front", {"target_names": list(objectives)})]
    for index, objective in enumerate(objectives):
        arguments = {"target": _objective(index), "target_name": objective}
        figures += [(f"{name}_{index}", f"plot_{name}", arguments) for name in kinds]
    return figures + shared


def _objective(index: int) -> Callable[[FrozenTrial], float]:
    return lambda trial: float(trial.values[index])


def _png(study: optuna.Study, function: str, arguments: Mapping[str, Any], path: Path) -> Path:
    import matplotlib
    from matplotlib import pyplot

    matplotlib.use("Agg")
    import optuna.visualization.matplotlib as drawing

    _need(study, function)
    with matplotlib.rc_context():  # Optuna changes the style of the whole process
        try:
            axes = getattr(drawing, function)(study, **arguments)
            figure = (axes.flat[0] if hasattr(axes, "flat") else axes).figure
            darken(figure)
            _count(figure, study)
            figure.savefig(path, dpi=120, bbox_inches="tight", facecolor=BACKGROUND)
        finally:
            pyplot.close("all")
    return path


def darken(figure: Figure) -> None:
    """Dress a figure that Optuna drew in its own style for the dark sheet."""
    figure.set_facecolor(BACKGROUND)
    if figure.get_suptitle():
        figure.suptitle(figure.get_suptitle(), color=TEXT)
    for axes in figure.axes:
        _darken(axes)


def _darken(axes: Axes) -> None:
    from matplotlib.text import Text

    axes.set_facecolor(PANEL)
    axes.grid(color=FAINT, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(axis="both", which="both", colors=TEXT)
    for side in axes.spines.values():
        side.set_color(FAINT)
    for text in axes.findobj(Text):
        text.set_color(TEXT)
    legend = axes.get_legend()
    if legend is not None:
        legend.get_frame().set(facecolor=PANEL, edgecolor=FAINT)


def _count(figure: Figure, study: optuna.Study) -> None:
    """Whole numbers on the axes of what is counted: no trial is number 2.5."""
    from matplotlib.ticker import MaxNLocator

    whole = {*COUNTED, *_whole_parameters(study)}
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_label_text() in whole and axis.get_scale() == "linear":
                axis.set_major_locator(MaxNLocator(integer=True))


def _whole_parameters(study: optuna.Study) -> set[str]:
    return {
        name
        for trial in study.get_trials(deepcopy=False)
        for name, distribution in trial.distributions.items()
        if isinstance(distribution, optuna.distributions.IntDistribution)
    }


def _html(study: optuna.Study, function: str, arguments: Mapping[str, Any], path: Path) -> Path:
    import optuna.visualization as drawing

    _need(study, function)
    figure = getattr(drawing, function)(study, **arguments)
    figure.update_layout(template="plotly_dark", paper_bgcolor=BACKGROUND, plot_bgcolor=PANEL, font_color=TEXT)
    counted = [axis for axis in figure.select_xaxes() if axis.title.text in COUNTED]
    counted += [axis for axis in figure.select_yaxes() if axis.title.text in COUNTED]
    if function == "plot_slice":  # whose colours are numbers of trials
        counted += [trace.marker.colorbar for trace in figure.data]
    for axis in counted if len(study.get_trials(deepcopy=False)) <= FEW else ():
        axis.update(dtick=1)
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
