"""Every option of every group composes into a configuration that passes its checks, and people can read it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command_line import Ended, environment, train
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from spikeyolo import schema
from spikeyolo.engine.trainer import Trainer
from spikeyolo.entry import config_directory
from spikeyolo.errors import ConfigError
from spikeyolo.events.cleaning import EventRules
from spikeyolo.train import GROUPS

CONF = config_directory()
# Groups that training does not read; tests/metrics/protocols and tests/contracts check these.
ELSEWHERE = ("protocol", "tracker")
# What a user has to name.
GIVEN = {"root": "some/folder", "events": "some.h5", "classes": ["car"], "train_until_us": 1_000_000}
ISSUE = (
    "optimizer=adamw optimizer.lr=3e-4 loss.focal_gamma=1.5 scheduler=cyclic data.slice_duration_us=100 "
    "data.time_steps=8 data.batch_size=8 trainer.max_epochs=100 trainer.device=cuda"
)


def options() -> list[str]:
    """``group=option`` for every file of a group; experiments and search spaces are added, not replaced."""
    found = []
    for path in sorted(CONF.rglob("*.yaml")):
        group = path.parent.relative_to(CONF).as_posix()
        if group == "." or group.startswith("hydra") or group in ELSEWHERE:
            continue
        sign = "+" if group in ("experiment", "search") or not known(group) else ""
        found.append(f"{sign}{group}={path.stem}")
    return found


def known(group: str) -> bool:
    return group.split("/")[0] in GROUPS


def composed(*overrides: str) -> DictConfig:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", list(overrides))
    for key, value in GIVEN.items():
        if OmegaConf.is_missing(config.data, key):
            config.data[key] = value
    return config


@pytest.mark.parametrize("option", options())
def test_every_option_composes_and_passes_the_checks(option: str) -> None:
    config = composed(option)
    schema.check(config, groups=GROUPS)
    chosen = OmegaConf.to_container(config, resolve=True)
    assert isinstance(chosen, dict)
    assert set(GROUPS) <= set(chosen)


def test_every_group_of_the_issue_has_its_options() -> None:
    every = {option.lstrip("+") for option in options()}
    assert every >= {
        *(f"optimizer={name}" for name in ("sgd", "adam", "adamw", "rmsprop", "muon", "schedule_free")),
        *(f"scheduler={name}" for name in ("constant", "step", "cosine", "cyclic", "triangular", "plateau")),
        *(f"data={name}" for name in ("synthetic", "etram", "recording")),
        *(f"model={name}" for name in ("t", "s", "n", "m", "l")),
        *(f"experiment={name}" for name in ("etram", "highfreq", "real_cars", "smoke")),
        "model/neuron=ilif",
        "trainer=default",
    }


def test_the_override_string_hydra_users_write_means_what_it_says() -> None:
    config = composed(*ISSUE.split())
    schema.check(config, groups=GROUPS)
    assert config.optimizer._target_.endswith("AdamW")
    assert config.scheduler._target_.endswith("CyclicSchedule")
    assert (config.optimizer.lr, config.loss.focal_gamma) == (3e-4, 1.5)
    assert (config.data.slice_duration_us, config.data.time_steps, config.data.batch_size) == (100, 8, 8)
    assert config.trainer.max_epochs == 100
    if torch.cuda.is_available():
        trainer = schema.build(config.trainer)
        assert isinstance(trainer, Trainer)
        assert trainer.device.type == "cuda"
    else:
        with pytest.raises(ConfigError, match=r"trainer.device: found 'cuda', but torch"):
            schema.build(config.trainer)


def test_highfreq_is_the_recipe_it_promises() -> None:
    config = composed("+experiment=highfreq")
    assert (config.data.slice_duration_us, config.data.time_steps, config.data.batch_size) == (100, 8, 4)
    assert (config.optimizer.lr, config.scheduler.max_lr, config.trainer.max_epochs) == (1e-3, 1e-2, 90)


@pytest.mark.parametrize("experiment", [option for option in options() if option.startswith("+experiment=")])
def test_every_experiment_takes_every_option_of_every_group(experiment: str) -> None:
    groups: dict[str, list[str]] = {}
    for option in options():
        if not option.startswith("+"):
            groups.setdefault(option.partition("=")[0], []).append(option)
    for number in range(max(map(len, groups.values()))):  # one of each group at a time
        config = composed(experiment, *(choices[number % len(choices)] for choices in groups.values()))
        schema.check(config, groups=GROUPS)


def test_an_experiment_takes_another_data_set() -> None:
    config = composed("+experiment=highfreq", "data=etram", "data.root=some/folder", "data.classes=[car,bus]")
    schema.check(config, groups=GROUPS)
    assert config.data.dataset.root == "some/folder"
    assert list(config.data.dataset.classes) == ["car", "bus"]
    assert config.data.slice_duration_us == 100


def test_building_passes_on_what_a_class_takes_and_nothing_else() -> None:
    data = schema.build(composed("data=etram", "data.root=some/folder", "data.val_split=test").data)
    assert data.dataset.root == Path("some/folder")
    assert data.dataset.splits == {"train": "train", "val": "test", "test": "test"}
    assert type(data.classes) is tuple


@pytest.mark.parametrize(
    "flags", [("--cfg", "job"), ("--cfg", "job", "--resolve"), ("--info", "defaults"), ("--help",)]
)
def test_looking_at_the_configuration_runs_nothing(flags: tuple[str, ...], tmp_path: Path) -> None:
    ended = printed(*flags, "+experiment=smoke", cwd=tmp_path)
    assert ended.code == 0, ended.errors
    assert ("focal_gamma: 1.0" if flags[0] != "--info" else "smoke") in ended.errors
    assert list(tmp_path.iterdir()) == []


def printed(*arguments: str, cwd: Path) -> Ended:
    """What a command prints on its output stream, in place of the error stream."""
    done = subprocess.run(
        [sys.executable, "-m", "spikeyolo.train", *arguments],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    return Ended(done.returncode, done.stdout + done.stderr)


HELP = """
import runpy, sys
sys.argv = ["spikeyolo.train", "--help"]
try:
    runpy.run_module("spikeyolo.train", run_name="__main__")
finally:
    heavy = {"torch", "mlflow", "numba", "norse", "matplotlib", "optuna"}
    print("loaded:", sorted(heavy & set(sys.modules)))
"""


def test_help_shows_every_choice_and_loads_nothing_heavy(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELP], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("loaded: []\n")
    for line in (
        "data: converted, davis346_cars, dsec, etram",
        "optimizer: adam, adamw, muon, rmsprop, schedule_free, sgd",
        "scheduler: constant, cosine, cyclic, cyclic_high, plateau, step, triangular",
        "experiment: etram, highfreq",
        "max_epochs: 25",
    ):
        assert line in done.stdout
    assert "python -m spikeyolo.train +experiment=highfreq" in done.stdout


@pytest.mark.parametrize("name", ["train", "convert"])
def test_two_runs_of_one_second_have_a_folder_each(name: str) -> None:
    written = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"), resolve=False)
    assert isinstance(written, dict)
    for kind in ("run", "sweep"):
        assert "${now:%H-%M-%S-%f}" in written["hydra"][kind]["dir"]  # microseconds


def test_a_wrong_flag_is_no_run(tmp_path: Path) -> None:
    assert train("--no-such-flag", cwd=tmp_path).code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["train", "convert"])
@pytest.mark.parametrize("name", ["etram", "etram3", "gen1", "mpx1", "dsec", "recording"])
def test_how_recordings_are_read_is_set_without_a_plus(name: str, command: str) -> None:
    keys = ["data.label_clock=unix", "data.size=[304,240]", "data.event_rules.max_step_back_us=7"]
    places = [] if name == "recording" else ["data.root=some/folder"]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(command, [f"data={name}", *places, *keys])
    for key, value in GIVEN.items():
        if OmegaConf.is_missing(config.data, key):
            config.data[key] = value
    dataset = schema.build(config.data.dataset)
    assert dataset.size == (304, 240)
    assert dataset.event_rules == EventRules(max_step_back_us=7)
    assert [rules.label_clock for rules in dataset.rules.values()] == ["unix"] * 3


@pytest.mark.parametrize(
    ("name", "clock"),
    [("etram", "camera"), ("gen1", "camera"), ("mpx1", "camera"), ("dsec", "camera"), ("recording", "start")],
)
def test_every_data_set_names_the_clock_of_its_labels(name: str, clock: str) -> None:
    config = composed(f"data={name}")
    assert config.data.label_clock == clock
    dataset = schema.build(config.data.dataset)
    assert [rules.label_clock for rules in dataset.rules.values()] == [clock] * 3
    assert dataset.event_rules == EventRules()


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("data.label_clock=recording", "label_clock: found 'recording'; expected 'start', 'camera' or 'unix'"),
        ("data.size=[304]", "size: found "),
        ("data.size=[0,240]", "size: found "),
        ("data.event_rules.max_dirty_share=2", "max_dirty_share: found 2; expected less than or equal to 1"),
        ("data.event_rules.beyond=drop", "beyond: found 'drop'; expected 'refuse' or 'cut'"),
    ],
)
def test_a_wrong_way_to_read_recordings_is_named(override: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        schema.check(composed("data=etram", override), groups=GROUPS)
