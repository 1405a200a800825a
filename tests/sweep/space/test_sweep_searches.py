"""The search files of the project fit its configuration."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from conftest import REPOSITORY
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf, open_dict

from spikeyolo.sweep.algorithms import build_pruner, build_sampler, prepare_pruner
from spikeyolo.sweep.settings import Settings
from spikeyolo.sweep.space import read_space
from spikeyolo.sweep.space.drawing import check_keys

SEARCHES = sorted(path.stem for path in (REPOSITORY / "conf" / "search").glob("*.yaml"))
OF_TRAINING = [name for name in SEARCHES if name != "tracker"]  # that one is of python -m spikeyolo.track


def test_there_are_searches() -> None:
    assert {"highfreq", "detector", "architecture", "accuracy_energy"} <= set(SEARCHES)


@pytest.mark.parametrize("search", OF_TRAINING)
@pytest.mark.parametrize("more", [(), ("scheduler=cyclic",), ("optimizer=sgd", "logger=none")])
def test_every_key_of_a_search_is_one_of_the_configuration(search: str, more: tuple[str, ...]) -> None:
    arguments = ["+experiment=highfreq", f"+search={search}", *more]
    with initialize_config_dir(version_base="1.3", config_dir=str(Path(REPOSITORY, "conf"))):
        config = compose("train", arguments, return_hydra_config=True)
        with open_dict(config):
            config.hydra.job.name = "train"
        values = {k: v for k, v in config.hydra.sweeper.items() if k not in ("_target_", "_recursive_")}
        settings = Settings.read(values, config)
        loader = GlobalHydra.instance().config_loader()
        space = read_space(settings.params, arguments, settings.when, loader)
        check_keys(space, loader, config)
        assert len(space.parameters) >= 4
        several = len(settings.directions)
        build_sampler(settings.sampler, space=space, objectives=several, seed=0, drawn=0)
        build_pruner(settings.pruner, objectives=several)
        assert settings.study_name == search
        assert bool(settings.tracking) == ("logger=none" not in more)


def test_every_key_of_the_search_for_a_tracker_is_one_of_its_command() -> None:
    arguments = ["+search=tracker", "detections=a.parquet", "truth=b.parquet"]
    with initialize_config_dir(version_base="1.3", config_dir=str(Path(REPOSITORY, "conf"))):
        config = compose("track", arguments, return_hydra_config=True)
        values = {k: v for k, v in config.hydra.sweeper.items() if k not in ("_target_", "_recursive_")}
        settings = Settings.read(values, config)
        loader = GlobalHydra.instance().config_loader()
        space = read_space(settings.params, arguments, settings.when, loader)
        check_keys(space, loader, config)
        assert all(name.startswith("tracker.") for name in space.names)
        assert len(space.parameters) >= 4


def test_the_highfreq_search_has_the_ranges_it_promises() -> None:
    with initialize_config_dir(version_base="1.3", config_dir=str(Path(REPOSITORY, "conf"))):
        config = compose("train", ["+experiment=highfreq", "+search=highfreq"], return_hydra_config=True)
    found = {p.name: p.distribution for p in read_space(config.hydra.sweeper.params, []).parameters}
    assert (found["loss.focal_gamma"].low, found["loss.focal_gamma"].high) == (0.0, 5.0)
    assert (found["loss.box_weight"].low, found["loss.box_weight"].high) == (1.0, 15.0)
    assert (found["data.temporal_buffer"].low, found["data.temporal_buffer"].high) == (0.0, 0.5)
    assert found["optimizer.lr"].log
    assert found["scheduler.max_lr"].log


def test_the_highfreq_search_gives_up_what_is_worse_at_the_rates_peak_and_nothing_before() -> None:
    with initialize_config_dir(version_base="1.3", config_dir=str(Path(REPOSITORY, "conf"))):
        config = compose("train", ["+experiment=highfreq", "+search=highfreq"], return_hydra_config=True)
    pruner = build_pruner(OmegaConf.to_container(config.hydra.sweeper.pruner, resolve=True), objectives=1)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    validated = range(config.trainer.validate_every, config.trainer.max_epochs + 1, config.trainer.validate_every)
    peak = min(epoch for epoch in validated if epoch >= config.scheduler.rise * config.trainer.max_epochs)
    last = validated[-1]
    ended = []
    for value in (0.5, 0.6, 0.1, 0.2):
        prepare_pruner(study)
        trial = study.ask()
        for epoch in validated:
            trial.report(value if epoch >= peak else 1.0 - value, epoch)  # before the peak the worse are ahead
            if trial.should_prune():
                break
        ended.append(epoch)
        study.tell(trial, value)
    assert last == config.trainer.max_epochs
    assert ended == [last, last, peak, peak]
