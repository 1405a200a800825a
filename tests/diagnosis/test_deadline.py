"""The doctor is done in time, by whatever clock: what it has no time for it says, and it leaves no section out."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from small_run import SMALL

from spikeyolo.diagnosis.deadline import Deadline
from spikeyolo.diagnosis.diagnose import LOOKING_S, diagnose
from spikeyolo.doctor import GROUPS
from spikeyolo.entry import config_directory


class SetClock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_is_left_is_counted_down_to_nothing() -> None:
    clock = SetClock()
    deadline = Deadline(10, clock=clock)
    assert (deadline.left, deadline.over) == (10, False)
    clock.now += 9
    assert deadline.left == 1
    clock.now += 9
    assert (deadline.left, deadline.over) == (0, True)


def test_a_part_ends_no_later_than_the_whole() -> None:
    clock = SetClock()
    deadline = Deadline(10, clock=clock)
    assert deadline.part(3).left == 3
    clock.now += 8
    assert deadline.part(3).left == 2


def test_a_pause_is_not_counted() -> None:
    clock = SetClock()
    deadline = Deadline(10, clock=clock)
    with deadline.paused():
        clock.now += 500
    assert deadline.left == 10

    def interrupted() -> None:
        with deadline.paused():
            clock.now += 500
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        interrupted()
    assert deadline.left == 10


def test_with_its_usual_seconds_it_takes_less_than_two_minutes() -> None:
    seconds = OmegaConf.load(config_directory() / "doctor.yaml").overfit_seconds
    assert LOOKING_S + seconds < 120


def test_where_the_time_is_up_from_the_start_every_section_says_what_it_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hurrying(SetClock):
        def __call__(self) -> float:
            self.now += 1000
            return self.now

    monkeypatch.chdir(tmp_path)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        config = compose("doctor", [*SMALL, "data.classes=[disc]"])
    node = OmegaConf.create({group: OmegaConf.to_container(config[group]) for group in GROUPS})
    options = {name: config[name] for name in ("sections", "overfit_steps", "overfit_seconds")}
    sections = diagnose(node, options, checkpoint=None, chosen="single_shapes", overridden=[], seed=0, clock=Hurrying())
    assert [section.title for section in sections] == ["labels against events", "windows", "network", "machine"]
    labels, windows, network, machine = sections
    assert any("the time was up" in sentence for sentence in labels.unknown)
    assert dict(windows.facts)["looked at"].startswith("1 of ")
    assert any("the time was up" in sentence for sentence in network.unknown)
    assert any("no update was made" in sentence for sentence in machine.unknown)
