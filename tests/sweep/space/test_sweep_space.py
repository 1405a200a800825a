"""Search spaces read from Hydra's override syntax."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from spikeyolo.errors import SweepError
from spikeyolo.sweep.space import read_space
from spikeyolo.sweep.space.text import override_text
from spikeyolo.sweep.study.starts import starting_points


def one(text: str) -> object:
    return read_space({}, [text]).parameters[0].distribution


@given(st.one_of(st.text(max_size=12), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans()))
@settings(deadline=None, max_examples=150)
def test_a_value_written_as_an_override_reads_back_as_itself(value: object) -> None:
    override = OverridesParser.create().parse_override(f"key={override_text(value)}")
    read = override.value()
    assert not override.is_sweep_override()
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "distribution"),
    [
        # The official plugin's own cases, in Optuna 5's classes.
        ("key=choice(1,2)", CategoricalDistribution([1, 2])),
        ("key=choice(true,false)", CategoricalDistribution([True, False])),
        ("key=choice('hello','world')", CategoricalDistribution(["hello", "world"])),
        ("key=1,2", CategoricalDistribution([1, 2])),
        ("optimizer=sgd,adamw", CategoricalDistribution(["sgd", "adamw"])),
        ("key=shuffle(choice(3,1,2))", CategoricalDistribution([3, 1, 2])),
        ("key=shuffle(range(1,3))", CategoricalDistribution([1, 2])),
        ("key=range(1,3)", IntDistribution(1, 2)),  # Hydra leaves the end out
        ("key=range(0,10,step=4)", IntDistribution(0, 8, step=4)),
        ("key=range(0,8,step=4)", IntDistribution(0, 4, step=4)),
        ("key=range(3,0,-1)", IntDistribution(1, 3)),
        ("key=range(2,3,4)", IntDistribution(2, 2, step=4)),
        ("key=range(0.5,5.5,step=1)", FloatDistribution(0.5, 4.5, step=1)),
        ("key=range(0,1,0.1)", FloatDistribution(0, 0.9, step=0.1)),
        ("key=range(0,1,0.3)", FloatDistribution(0, 0.9, step=0.3)),
        ("key=range(1,0,-0.25)", FloatDistribution(0.25, 1.0, step=0.25)),
        ("key=interval(1,5)", FloatDistribution(1, 5)),
        ("key=int(interval(1,5))", IntDistribution(1, 5)),
        ("key=tag(log,interval(1,5))", FloatDistribution(1, 5, log=True)),
        ("key=tag(log,int(interval(1,5)))", IntDistribution(1, 5, log=True)),
        ("key=tag(int,interval(1,5))", IntDistribution(1, 5)),
        ("key=tag(log,int,interval(1,5))", IntDistribution(1, 5, log=True)),
        ("+key=null,a", CategoricalDistribution([None, "a"])),
        ("key=choice([1,2],[3])", CategoricalDistribution(["[1,2]", "[3]"])),
    ],
)
def test_an_override_becomes_the_distribution_it_describes(text: str, distribution: object) -> None:
    assert one(text) == distribution


@pytest.mark.parametrize(
    ("mapping", "distribution"),
    [
        ({"type": "float", "low": 0.1, "high": 1.0}, FloatDistribution(0.1, 1.0)),
        ({"type": "float", "low": 1, "high": 100, "log": True}, FloatDistribution(1, 100, log=True)),
        ({"type": "float", "low": 0, "high": 1, "step": 0.25}, FloatDistribution(0, 1, step=0.25)),
        ({"type": "int", "low": 0, "high": 10, "step": 2}, IntDistribution(0, 10, step=2)),
        ({"type": "categorical", "choices": ["a", 2, True]}, CategoricalDistribution(["a", 2, True])),
    ],
)
def test_a_typed_mapping_becomes_the_same_distribution(mapping: dict[str, object], distribution: object) -> None:
    assert read_space({"key": mapping}, []).parameters[0].distribution == distribution


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"lr": "interval(1,0.1)"}, "turned round"),
        ({"lr": "tag(log,interval(0,1))"}, "above zero"),
        ({"lr": "tag(log,choice(1,2))"}, "needs an interval"),
        ({"lr": "tag(wild,interval(0,1))"}, "unknown tag wild"),
        ({"lr": "interval(1"}, "lr=interval"),
        ({"lr": {"type": "float", "low": 0}}, "high is None"),
        ({"lr": {"type": "double", "low": 0, "high": 1}}, "expected float, int or categorical"),
        ({"lr": {"type": "float", "lo": 0}}, "unknown key lo"),
        ({"lr": "tag(log,range(1,9,step=2))"}, "no logarithmic range with a step"),
        ({"lr": "range(3,1)"}, "is empty"),
        ({"lr": "range(1,1)"}, "is empty"),
        ({"lr": "range(0,1,0)"}, "needs a step"),
    ],
)
def test_a_space_that_makes_no_sense_is_named_in_one_line(params: dict[str, object], message: str) -> None:
    with pytest.raises(SweepError, match=message) as raised:
        read_space(params, [])
    assert "lr" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "values",
    [
        [None, 1],
        ["", "a"],
        [{"a": 1}, {"a": 2}],
        [{"a": [1, "x,y"], "b": None}, {}],
        [[1, 2], []],
        ["a,b", "choice(1,2)", "true", "1"],
        [True, False],
        [1, 1.0, True],
        ["1", 1],
        ["it's", 'say "x"'],
        ["\n", " "],
    ],
)
def test_a_list_in_yaml_is_a_choice_between_its_very_values(values: list[object]) -> None:
    (parameter,) = read_space({"key": values}, []).parameters
    assert isinstance(parameter.distribution, CategoricalDistribution)
    choices = parameter.distribution.choices
    assert len(choices) == len(values)
    parser = OverridesParser.create()
    for choice, value in zip(choices, values):
        # Optuna gives back what it was given, also through a storage that keeps the index.
        assert parameter.distribution.to_external_repr(parameter.distribution.to_internal_repr(choice)) is choice
        read = parser.parse_override(parameter.override(choice)).value()
        assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize("text", ["key=1,1.0,true", "key=choice(0,false,0.0)", "key=choice(1,true)"])
def test_choices_that_optuna_holds_for_one_are_kept_apart(text: str) -> None:
    (parameter,) = read_space({}, [text]).parameters
    assert isinstance(parameter.distribution, CategoricalDistribution)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    parser = OverridesParser.create()
    drawn = {}
    for _ in range(30):
        trial = study.ask({"key": parameter.distribution})
        value = parser.parse_override(parameter.override(trial.params["key"])).value()
        drawn[repr(value)] = trial.params["key"]
    assert len(drawn) == len(set(drawn.values())) == text.count(",") + 1


def test_a_value_that_no_override_can_write_is_named() -> None:
    with pytest.raises(SweepError, match=r"hydra.sweeper.params: key: found .*expected a value that an override can"):
        read_space({"key": [{("a", "b"): 1}]}, [])


def test_an_empty_text_in_yaml_stays_empty() -> None:
    assert read_space({"key": ""}, []).fixed == ("key=''",)


def test_the_command_line_wins_over_params() -> None:
    space = read_space({"a": "interval(0,1)", "b": "interval(0,1)", "c": 7}, ["a=0.5", "b=choice(1,2)", "d=x"])
    assert space.distributions == {"b": CategoricalDistribution([1, 2])}
    assert set(space.fixed) == {"c=7", "a=0.5", "d=x"}


def test_momentum_is_searched_only_with_sgd() -> None:
    space = read_space(
        {"optimizer.momentum": "interval(0.5,0.99)", "optimizer": "choice(sgd,adamw)"},
        [],
        when={"optimizer.momentum": "optimizer=sgd"},
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(20):
        trial = study.ask()
        overrides = space.suggest(trial, lambda key: None)
        seen.add(trial.params["optimizer"])
        assert ("optimizer.momentum" in trial.params) == (trial.params["optimizer"] == "sgd")
        assert len(overrides) == len(trial.params)
    assert seen == {"sgd", "adamw"}


@pytest.mark.parametrize(
    ("when", "scheduler", "kept"),
    [
        ("scheduler=cyclic", "cyclic", True),
        ("scheduler=cyclic", "cosine", False),
        ("scheduler!=cyclic", "cosine", True),
        ({"scheduler": ["cyclic", "step"]}, "step", True),
        (["scheduler=cyclic", "other=1"], "cyclic", False),
    ],
)
def test_a_condition_reads_what_is_fixed_outside_the_space(when: object, scheduler: str, kept: bool) -> None:
    space = read_space({"scheduler.max_lr": "interval(0,1)"}, [], when={"scheduler.max_lr": when})
    trial = optuna.create_study().ask()
    assert bool(space.suggest(trial, {"scheduler": scheduler}.get)) == kept


def test_conditions_that_wait_for_one_another_are_refused() -> None:
    with pytest.raises(SweepError, match="wait for one another"):
        read_space({"a": "choice(1,2)", "b": "choice(1,2)"}, [], when={"a": "b=1", "b": "a=1"})


def test_a_condition_on_no_parameter_is_refused() -> None:
    with pytest.raises(SweepError, match=r"when\.lr: no such parameter"):
        read_space({"a": "choice(1,2)"}, [], when={"lr": "a=1"})


def test_a_grid_needs_values_that_can_be_counted() -> None:
    assert read_space({"a": "range(1,3)", "b": "choice(x,y)"}, []).grid() == {"a": [1, 2], "b": ["x", "y"]}
    assert read_space({"a": "range(0,1,0.3)"}, []).grid() == {"a": [0.0, 0.3, 0.6, 0.9]}
    with pytest.raises(SweepError, match="tries every value"):
        read_space({"a": "interval(1,3)"}, []).grid()


def test_a_range_too_long_to_list_is_drawn_from() -> None:
    assert one("key=range(0,1000000000000)") == IntDistribution(0, 999999999999)
    assert one("key=range(-1e15,1.0,1.0)") == FloatDistribution(-1e15, 0.0, step=1.0)


def test_starting_points_take_a_choice_by_its_value_and_type() -> None:
    space = read_space({"a": [None, 1], "b": [1, True], "c": [{"k": 1}, {"k": 2}], "d": ["", "x"]}, [])
    config = OmegaConf.create({"a": None, "b": True, "c": {"k": 2}, "d": "", "hydra": {"runtime": {"choices": {}}}})
    (point,) = starting_points(["defaults"], space=space, composed=config, folder=Path())
    assert space.overrides(point) == ["a=null", "b=true", "c={k:2}", "d="]


def test_a_value_of_the_configuration_outside_the_space_is_no_warning_and_one_that_was_asked_for_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    space = read_space({"a": "interval(0,1)", "b": "interval(0,9)"}, [])
    config = OmegaConf.create({"a": 3, "b": 5, "hydra": {"runtime": {"choices": {}}}})
    with caplog.at_level("INFO"):
        starting_points(["defaults", {"a": 3, "b": 1}], space=space, composed=config, folder=Path())
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    assert "a=3 is outside the search space, so that the sampler draws it" in caplog.messages[0]


def test_a_condition_sees_an_empty_choice_and_not_the_configuration_behind_it() -> None:
    space = read_space({"a": [""], "b": "interval(0,1)"}, [], when={"b": "a=sgd"})
    assert len(space.suggest(optuna.create_study().ask(), lambda key: "sgd")) == 1
