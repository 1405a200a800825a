"""Figures of a study are in the house's colours and bear the objective's name."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import optuna
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from omegaconf import OmegaConf

from spikeyolo.sweep.report import figures
from spikeyolo.sweep.report.figures import import_drawing, objective_names, write_figures


def finished(*directions: str) -> optuna.Study:
    study = optuna.create_study(directions=directions, sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda trial: [trial.suggest_float("gamma", 0, 3) + k for k in range(len(directions))], n_trials=5)
    return study


@pytest.mark.parametrize(
    ("directions", "names"), [(("maximize",), ["val/map50"]), (("maximize", "minimize"), ["val/map50", "energy/mj"])]
)
def test_every_figure_is_dark_and_the_objectives_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, directions: tuple[str, ...], names: list[str]
) -> None:
    words: list[str] = []

    def look(figure: Figure, path: Path, **options: object) -> None:
        assert to_hex(figure.get_facecolor()) == figures.BACKGROUND
        for axes in figure.findobj(Axes):
            assert to_hex(axes.get_facecolor()) == figures.PANEL
            words.extend((axes.get_xlabel(), axes.get_ylabel()))
            assert {to_hex(text.get_color()) for text in (axes.title, axes._left_title)} == {figures.TEXT}

    monkeypatch.setattr(Figure, "savefig", look)
    monkeypatch.setattr(figures, "_html", lambda study, function, arguments, path: path)
    written = write_figures(finished(*directions), tmp_path, names)
    assert len([path for path in written if path.suffix == ".png"]) >= 4
    assert set(names) <= set(words)
    assert not any(word.startswith("Objective") for word in words)


def test_what_is_counted_has_no_ticks_at_halves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda trial: trial.suggest_int("layers", 1, 3) * trial.suggest_float("gamma", 0, 3), n_trials=5)
    ticks: dict[str, list[float]] = {}

    def look(figure: Figure, path: Path, **options: object) -> None:
        for axes in figure.findobj(Axes):
            for axis in (axes.xaxis, axes.yaxis):
                ticks.setdefault(axis.get_label_text(), []).extend(axis.get_majorticklocs())

    monkeypatch.setattr(Figure, "savefig", look)
    write_figures(study, tmp_path, ["val/map50"])
    for name in ("Trial", "layers"):
        assert ticks[name], ticks
        assert all(tick == round(tick) for tick in ticks[name]), (name, ticks[name])
    assert any(tick != round(tick) for tick in ticks["gamma"])
    pages = {name: (tmp_path / "figures" / f"{name}.html").read_text() for name in ("optimization_history", "slice")}
    assert all('"dtick":1' in page for page in pages.values())


def test_other_pictures_of_the_process_keep_their_style(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "_html", lambda study, function, arguments, path: path)
    import_drawing()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        before = dict(matplotlib.rcParams)
        assert any(path.suffix == ".png" for path in write_figures(finished("maximize"), tmp_path, ["val/map50"]))
        assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("objective", "count", "names"),
    [
        ("val/map50", 1, ["val/map50"]),
        (["val/map50", "energy/mj"], 2, ["val/map50", "energy/mj"]),
        ("val/map50", 2, ["objective 0", "objective 1"]),
        (None, 1, ["objective"]),
        ("${nowhere.there}", 1, ["objective"]),
    ],
)
def test_objectives_are_called_as_the_application_calls_them(objective: object, count: int, names: list[str]) -> None:
    assert objective_names(OmegaConf.create({"objective": objective}), count) == names
    assert objective_names(OmegaConf.create({}), 1) == ["objective"]
