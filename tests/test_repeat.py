"""A saved configuration repeats its run: the same values, the same log, and groups that can be exchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command_line import Ended, train
from omegaconf import OmegaConf

from spikeyolo.training.tracked import own_choices

# What is wrong is found before anything is made, once the run's folder holds its configuration.
FIRST = ("+experiment=smoke", "model/neuron=relu", "optimizer.lr=1e-5", "hydra.run.dir=first", "trainer.max_epochs=0")


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run in ``first`` whose ``trainer.max_epochs`` is wrong."""
    cwd = tmp_path_factory.mktemp("started")
    ended = train(*FIRST, cwd=cwd)
    assert ended.code == 2
    return cwd


def again(cwd: Path, *overrides: str) -> Ended:
    return train("--config-dir", "first/.hydra", "--config-name=config", *overrides, cwd=cwd)


def composed(cwd: Path, *overrides: str) -> Any:
    ended = again(cwd, "--cfg", "job", *overrides)
    assert ended.code == 0, ended.errors
    return OmegaConf.to_container(OmegaConf.create(ended.output), resolve=False)


def test_a_saved_configuration_is_composed_as_it_was(started: Path) -> None:
    saved = OmegaConf.load(started / "first" / ".hydra" / "config.yaml")
    assert composed(started) == OmegaConf.to_container(saved, resolve=False)


def test_a_group_is_exchanged_as_a_whole(started: Path) -> None:
    before, after = composed(started), composed(started, "logger=none", "model/neuron=plif", "optimizer=sgd")
    assert after["logger"] == {"_target_": "spikeyolo.report.silent.SilentLogger"}
    assert after["model"]["neuron"]["_target_"].endswith("ParametricLif")
    assert {**after["model"], "neuron": before["model"]["neuron"]} == before["model"]
    assert after["optimizer"]["_target_"].endswith("Sgd")
    changed = ("logger", "model", "optimizer")
    assert {**after, **{key: before[key] for key in changed}} == before


def test_a_recipe_can_be_added(started: Path) -> None:
    after = composed(started, "+experiment=highfreq", "name=other")
    assert (after["name"], after["data"]["time_steps"]) == ("other", 8)


def test_a_repeated_run_logs_as_the_first_did(started: Path) -> None:
    ended = again(started, "hydra.run.dir=second")
    assert ended.errors.startswith("error: trainer.max_epochs: found 0;")
    assert len(ended.errors.splitlines()) == 1
    assert [path.name[:9] for path in (started / "second").glob("*.log")] == ["training_"]


def test_a_repeated_run_has_the_choices_of_the_first_and_can_be_repeated(started: Path) -> None:
    again(started, "hydra.run.dir=second")
    choices = OmegaConf.load(started / "second" / ".hydra" / "hydra.yaml").hydra.runtime.choices
    own = own_choices(choices)
    assert (own["model"], own["model/neuron"], own["optimizer"]) == ("femto", "relu", "adamw")
    third = train("-cd=second/.hydra", "-cn", "config", "--cfg", "job", "logger=none", cwd=started)
    assert third.code == 0, third.errors
    assert OmegaConf.create(third.output).model.neuron == OmegaConf.create(composed(started)).model.neuron


def test_a_sweeps_best_configuration_takes_groups_too(started: Path) -> None:
    first = OmegaConf.load(started / "first" / ".hydra" / "config.yaml")
    best = OmegaConf.merge(first, {"hydra": {"run": {"dir": "of the sweep"}}})
    OmegaConf.save(best, started / "best_config.yaml")
    ended = train("--config-dir", ".", "--config-name", "best_config", "--cfg", "all", "logger=none", cwd=started)
    assert ended.code == 0, ended.errors
    assert "SilentLogger" in ended.output
    assert "dir: of the sweep" in ended.output


def test_a_configuration_of_ones_own_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("defaults: [train, _self_]\nname: mine\n")
    ended = train("--config-dir", ".", "--config-name", "mine", "--cfg", "job", "logger=none", cwd=tmp_path)
    assert ended.code == 0, ended.errors
    assert "name: mine" in ended.output


def test_a_configuration_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    ended = train("--config-dir", ".", "--config-name", "nix", cwd=tmp_path)
    assert ended.code == 2
    assert "nix" in ended.errors
