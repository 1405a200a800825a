"""Every sampler and pruner of Optuna 5 by its name in Hydra, and the official plugin's configuration."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from hydra import compose, initialize
from hydra.core.plugins import Plugins
from optuna.pruners import HyperbandPruner
from optuna.trial import TrialState

from spikeyolo.errors import SweepError
from spikeyolo.sweep.algorithms import build_pruner, build_sampler, build_terminator, prepare_pruner, rehearse
from spikeyolo.sweep.settings import Settings
from spikeyolo.sweep.signatures import arguments
from spikeyolo.sweep.space import read_space
from spikeyolo.sweep.space.constraints import parse_constraints
from spikeyolo.sweep.space.drawing import Drawing

SAMPLERS = ("tpe", "motpe", "random", "cmaes", "nsgaii", "nsgaiii", "gp", "qmc", "grid", "bruteforce", "partialfixed")
PRUNERS = ("none", "median", "percentile", "successive_halving", "hyperband", "wilcoxon", "patient", "threshold")


def configured(*overrides: str) -> Settings:
    Plugins.instance()
    with initialize(version_base="1.3", config_path="apps/conf"):
        config = compose("parabola", list(overrides), return_hydra_config=True)
    values = {k: v for k, v in config.hydra.sweeper.items() if k not in ("_target_", "_recursive_")}
    with_job = config.copy()
    with_job.hydra.job.name = "test"
    return Settings.read(values, with_job)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_draws_by_its_name(name: str) -> None:
    if name == "cmaes":
        pytest.importorskip("cmaes")
    settings = configured(f"hydra/sweeper/sampler={name}")
    space = read_space({"x": "range(-2,3)", "y": "choice(1,2)"}, [])
    sampler = build_sampler(settings.sampler, space=space, objectives=1, seed=3, drawn=0)
    study = optuna.create_study(sampler=sampler)
    for _ in range(3):
        trial = study.ask()
        assert len(space.suggest(trial, lambda key: None)) == 2
        assert trial.params["x"] in range(-2, 4)
        study.tell(trial, float(trial.params["x"]))
    assert len(study.trials) == 3


def test_a_seed_repeats_a_sweep_and_a_resumed_one_goes_on() -> None:
    space = read_space({"x": "interval(0,1)"}, [])

    def draw(count: int, drawn: int) -> list[float]:
        config = {"_target_": "optuna.samplers.RandomSampler"}
        sampler = build_sampler(config, space=space, objectives=1, seed=5, drawn=drawn)
        study = optuna.create_study(sampler=sampler)
        return [study.ask(space.distributions).params["x"] for _ in range(count)]

    assert draw(4, 0) == draw(4, 0)
    assert not set(draw(4, 0)) & set(draw(4, 4))


@pytest.mark.parametrize("name", PRUNERS)
def test_every_pruner_is_built_by_its_name(name: str) -> None:
    more = {
        "threshold": ["hydra.sweeper.pruner.upper=3.0"],
        "patient": ["hydra.sweeper.pruner.wrapped_pruner={_target_: optuna.pruners.MedianPruner}"],
    }
    settings = configured(f"hydra/sweeper/pruner={name}", *more.get(name, []))
    pruner = build_pruner(settings.pruner, objectives=1)
    assert type(pruner).__name__.lower().startswith(name.replace("_", "").replace("none", "nop"))
    if name != "none":
        with pytest.raises(SweepError, match="one objective"):
            build_pruner(settings.pruner, objectives=2)


def test_hyperband_spreads_trials_over_its_brackets_before_it_has_pruned() -> None:
    pruner = HyperbandPruner(min_resource=1, max_resource=27, reduction_factor=3)
    study = optuna.create_study(pruner=pruner, sampler=optuna.samplers.RandomSampler(seed=0))
    prepare_pruner(study)
    trials = [study.ask() for _ in range(30)]
    frozen = study.get_trials(states=(TrialState.RUNNING,))
    assert len({pruner._get_bracket_id(study, t) for t in frozen}) > 1
    assert len(trials) == 30


def test_the_official_plugins_configuration_is_understood() -> None:
    # Its sampler groups as they stand in hydra-optuna-sweeper 1.3, retired arguments included.
    space = read_space({"x": "interval(0,1)"}, [])
    old: list[dict[str, Any]] = [
        {
            "_target_": "optuna.samplers.TPESampler",
            "seed": 123,
            "consider_prior": True,
            "prior_weight": 1.0,
            "consider_magic_clip": True,
            "consider_endpoints": False,
            "n_startup_trials": 10,
            "n_ei_candidates": 24,
            "multivariate": False,
            "warn_independent_sampling": True,
        },
        {"_target_": "optuna.samplers.MOTPESampler", "seed": 1, "n_startup_trials": 5, "n_ehvi_candidates": 12},
        {
            "_target_": "optuna.samplers.NSGAIISampler",
            "seed": None,
            "population_size": 50,
            "mutation_prob": None,
            "crossover_prob": 0.9,
            "swapping_prob": 0.5,
            "constraints_func": None,
        },
    ]
    names = [type(build_sampler(c, space=space, objectives=1, seed=None, drawn=0)).__name__ for c in old]
    assert names == ["TPESampler", "TPESampler", "NSGAIISampler"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"_target_": "optuna.samplers.NoSampler"}, "has no attribute 'NoSampler'"),
        ({"_target_": "optuna.pruners.MedianPruner"}, "is no BaseSampler"),
        ({"_target_": "optuna.samplers.RandomSampler", "speed": 3}, "takes no 'speed'; it takes seed"),
        ("tpe", "expected a name of the group"),
    ],
)
def test_a_sampler_that_makes_no_sense_is_named(config: object, message: str) -> None:
    with pytest.raises(SweepError, match=message):
        build_sampler(config, space=read_space({"x": "choice(1,2)"}, []), objectives=1, seed=None, drawn=0)


def build(config: object) -> optuna.samplers.BaseSampler:
    return build_sampler(config, space=read_space({"x": "interval(0,1)"}, []), objectives=1, seed=3, drawn=0)


def test_the_arguments_offered_to_hydra_are_those_of_the_installed_optuna() -> None:
    from hydra_plugins.spikeyolo_sweeper._arguments import ARGUMENTS

    assert arguments() == ARGUMENTS  # else: python -m spikeyolo.sweep.signatures


def test_an_argument_of_a_sampler_or_pruner_needs_no_plus_and_is_used() -> None:
    settings = configured("hydra.sweeper.sampler.n_startup_trials=5", "hydra/sweeper/pruner=median")
    assert build(settings.sampler)._n_startup_trials == 5  # type: ignore[attr-defined]
    assert settings.pruner == {  # what --cfg hydra shows
        "_target_": "optuna.pruners.MedianPruner",
        "n_startup_trials": 5,
        "n_warmup_steps": 0,
        "interval_steps": 1,
        "n_min_trials": 1,
    }


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_arguments_offered_are_optunas_own_defaults(name: str) -> None:
    space = read_space({"x": "range(0,2)"}, [])

    def made(config: object) -> optuna.samplers.BaseSampler:
        return build_sampler(config, space=space, objectives=1, seed=0, drawn=0)

    def plain(sampler: object) -> dict[str, object]:
        return {k: v for k, v in vars(sampler).items() if isinstance(v, bool | int | float | str | None)}

    offered = configured(f"hydra/sweeper/sampler={name}").sampler
    assert isinstance(offered, dict)
    assert plain(made(offered)) == plain(made({"_target_": offered["_target_"]}))


def test_what_is_nested_in_an_argument_is_built() -> None:
    nested = {"_target_": "optuna.samplers.nsgaii.SBXCrossover", "eta": 3.0}
    sampler = build({"_target_": "optuna.samplers.NSGAIISampler", "crossover": nested})
    crossover = sampler._child_generation_strategy._crossover  # type: ignore[attr-defined]
    assert isinstance(crossover, optuna.samplers.nsgaii.SBXCrossover)
    assert crossover._eta == 3.0


class Chatty(optuna.samplers.RandomSampler):
    """A sampler that takes whatever it is given."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(seed=kwargs.get("seed"))
        self.given = kwargs


def make_sampler(seed: int | None = None, kind: str = "random") -> optuna.samplers.BaseSampler:
    return optuna.samplers.RandomSampler(seed) if kind == "random" else optuna.samplers.TPESampler(seed=seed)


def make_nothing() -> None: ...


def test_a_function_and_a_sampler_that_takes_anything_are_taken() -> None:
    assert build({"_target_": f"{__name__}.Chatty", "speed": 3}).given == {"speed": 3}  # type: ignore[attr-defined]
    made = build({"_target_": f"{__name__}.make_sampler", "kind": "tpe"})
    assert isinstance(made, optuna.samplers.TPESampler)
    assert isinstance(build({"_target_": f"{__name__}.make_sampler", "_args_": [1, "tpe"]}), optuna.samplers.TPESampler)
    with pytest.raises(SweepError, match="make_nothing returned a NoneType, expected a BaseSampler"):
        build({"_target_": f"{__name__}.make_nothing"})


def test_what_optuna_is_dropping_is_said_and_what_it_takes_is_passed_on(caplog: pytest.LogCaptureFixture) -> None:
    sampler = build({"_target_": "optuna.samplers.TPESampler", "consider_endpoints": True})
    assert sampler._parzen_estimator_parameters.consider_endpoints  # type: ignore[attr-defined]
    assert "consider_endpoints` has been deprecated" in caplog.text
    caplog.clear()
    build({"_target_": "optuna.samplers.CmaEsSampler", "restart_strategy": "ipop"})
    assert "restart_strategy` automatically falls back to `None`" in caplog.text
    caplog.clear()
    build(configured("hydra/sweeper/sampler=tpe").sampler)
    assert caplog.text == ""


def test_a_grid_goes_through_the_same_sequence_whenever_it_is_resumed() -> None:
    space = read_space({"x": "range(0,10)"}, [])

    def order(seed: int, drawn: int, begun: int) -> list[float]:
        sampler = build_sampler(
            {"_target_": "optuna.samplers.GridSampler"},
            space=space,
            objectives=1,
            seed=seed,
            drawn=drawn,
            keep_seed=lambda asked: begun,
        )
        study = optuna.create_study(sampler=sampler)
        return [study.ask(space.distributions).params["x"] for _ in range(10)]

    assert order(seed=1, drawn=0, begun=1) == order(seed=7, drawn=4, begun=1)
    assert order(seed=1, drawn=0, begun=1) != order(seed=1, drawn=0, begun=2)


@pytest.mark.parametrize(
    ("config", "objectives", "message"),
    [
        (True, 2, "judges one objective, found 2"),
        ({"improvement_evaluator": {"_target_": "optuna.terminator.RegretBoundEvaluator"}}, 1, "[Cc]ross-validation"),
    ],
)
def test_a_terminator_that_cannot_judge_is_refused_before_the_sweep(
    config: object, objectives: int, message: str
) -> None:
    def prepare() -> None:
        terminator = build_terminator(config, objectives=objectives)
        assert terminator is not None
        rehearse(terminator, read_space({"x": "interval(0,1)"}, []), "minimize")

    with pytest.raises(SweepError, match=f"terminator: .*{message}"):
        prepare()


def test_the_terminator_true_judges_a_study() -> None:
    terminator = build_terminator(True, objectives=1)
    assert terminator is not None
    rehearse(terminator, read_space({"x": "interval(0,1)", "y": "choice(a,b)"}, []), "maximize")


def test_arguments_left_over_from_another_pruner_are_left_out() -> None:
    pruner = build_pruner(
        {"_target_": "optuna.pruners.MedianPruner", "min_resource": 2, "n_warmup_steps": 3}, objectives=1
    )
    assert pruner._n_warmup_steps == 3  # type: ignore[attr-defined]


def test_a_sampler_of_numbers_refuses_choices_only() -> None:
    config = {"_target_": "optuna.samplers.CmaEsSampler"}
    with pytest.raises(SweepError, match="searches numbers"):
        build_sampler(config, space=read_space({"x": "choice(a,b)"}, []), objectives=1, seed=None, drawn=0)


def test_a_terminator_is_built_from_its_evaluators() -> None:
    assert build_terminator(None, objectives=2) is None
    assert build_terminator(False, objectives=1) is None
    stagnation = {
        "improvement_evaluator": {
            "_target_": "optuna.terminator.BestValueStagnationEvaluator",
            "max_stagnation_trials": 3,
        },
        "error_evaluator": {"_target_": "optuna.terminator.StaticErrorEvaluator", "constant": 0.0},
        "min_n_trials": 2,
    }
    terminator = build_terminator(stagnation, objectives=1)
    assert terminator is not None
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for value in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0):
        study.tell(study.ask({"x": optuna.distributions.FloatDistribution(0, 1)}), value)
    assert terminator.should_terminate(study)


@pytest.mark.parametrize(
    ("spec", "value", "within"), [("<= 5", 5.0, True), ("<= 5", 5.1, False), (">= 2", 1.0, False), (3, 2.0, True)]
)
def test_a_constraint_counts_what_is_beyond_its_bound(spec: object, value: float, within: bool) -> None:
    (constraint,) = parse_constraints({"energy_mj": spec})
    assert (constraint.violation(value) <= 0) == within


def test_conditions_stand_under_search_or_under_the_sweeper() -> None:
    settings = configured(
        "+search={when: {optimizer: {momentum: 'optimizer=sgd'}}}",
        "+hydra.sweeper.when={n: 'optimizer!=sgd'}".replace("+hydra", "hydra"),
    )
    assert settings.when == {"optimizer.momentum": "optimizer=sgd", "n": "optimizer!=sgd"}


def test_a_group_with_a_type_of_its_own_is_no_description_of_a_parameter() -> None:
    group = '+hydra.sweeper.params.n={type: "choice(a,b)", size: "range(1,3)"}'
    settings = configured(group, "hydra.sweeper.params.x={type: int, low: 1, high: 2}")
    assert settings.params["n.type"] == "choice(a,b)"
    assert settings.params["n.size"] == "range(1,3)"
    assert settings.params["x"] == {"type": "int", "low": 1, "high": 2}


def test_without_a_name_a_journal_is_one_study_and_a_database_gets_a_new_one() -> None:
    assert configured().study_name == configured("hydra.sweeper.storage=a.journal").study_name == "test"
    names = {configured("hydra.sweeper.storage='sqlite:///a.db'").study_name for _ in range(2)}
    assert len(names) == 2
    assert all(name.startswith("test-") for name in names)
    assert configured("hydra.sweeper.storage='sqlite:///a.db'", "hydra.sweeper.study_name=s").study_name == "s"


def test_auto_workers_are_one_a_device() -> None:
    assert configured().workers is None
    assert configured("hydra.sweeper.workers=auto").workers is None
    assert configured("hydra.sweeper.workers=null").workers is None
    assert configured("hydra.sweeper.workers=3").workers == 3


def test_a_fixed_parameter_is_not_searched() -> None:
    settings = configured("hydra/sweeper/sampler=partialfixed", "hydra.sweeper.sampler.fixed_params={x: 0.5}")
    space = read_space({"x": "interval(0,1)", "y": "interval(0,1)"}, [])
    sampler = build_sampler(settings.sampler, space=space, objectives=1, seed=0, drawn=0)
    trial = optuna.create_study(sampler=sampler).ask()
    space.suggest(trial, lambda key: None)
    assert trial.params["x"] == 0.5
    assert trial.params["y"] != 0.5


def test_a_drawing_that_the_sampler_cannot_do_says_so() -> None:
    space = read_space({"x": "choice(1,2)"}, [])
    sampler = optuna.samplers.GridSampler({"y": [1, 2]})
    study = optuna.create_study(sampler=sampler)
    with pytest.raises(SweepError, match="GridSampler cannot do this space"):
        Drawing(space, None)(study.ask())  # type: ignore[arg-type]
