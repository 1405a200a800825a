"""Whenever saving is interrupted, there is a whole checkpoint: the one before or the new one."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from power import FragileFiles, PowerCut
from small_training import World
from torch import nn

from spikeyolo.engine.checkpoints import checkpoint
from spikeyolo.errors import CheckpointError


def network(value: float) -> nn.Module:
    module = nn.Linear(3, 2)
    nn.init.constant_(module.weight, value)
    return module


def save(folder: Path, number: int, files: FragileFiles | None = None) -> None:
    module = network(number)
    training = {"module": module.state_dict(), "number": number}
    checkpoint.save(folder, weights=module, training=training, state={"number": number}, files=files)


def number_of(folder: Path) -> int:
    """Of a checkpoint whose files all belong together."""
    module = network(-1)
    checkpoint.load_weights(folder, module)
    found = {
        checkpoint.read_state(folder)["number"],
        checkpoint.load_training(folder, module)["number"],
        int(module.weight[0, 0]),  # type: ignore[index]
    }
    assert len(found) == 1
    return int(found.pop())


def steps_of_a_save(folder: Path) -> int:
    files = FragileFiles(folder)
    save(folder / "checkpoints" / "last", 9, files)
    return files.steps


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    save(folder / "checkpoints" / "last", 1)
    return folder


def test_at_every_step_of_a_save_a_power_cut_leaves_the_checkpoint_before_or_the_new_one(tmp_path: Path) -> None:
    base = tmp_path / "base"
    save(base / "checkpoints" / "last", 1)
    found = set()
    for at in range(steps_of_a_save(shutil.copytree(base, tmp_path / "counted", symlinks=True)) + 1):
        run = shutil.copytree(base, tmp_path / f"run {at}", symlinks=True)
        files = FragileFiles(run, at=at)
        saved = False
        try:
            save(run / "checkpoints" / "last", 2, files)
            saved = True
        except PowerCut:
            pass
        (tmp_path / f"disks {at}").mkdir()
        for disk in files.disks(tmp_path / f"disks {at}"):
            last = disk / "checkpoints" / "last"
            number = number_of(last)
            found.add(number)
            assert number == 2 if saved else number in (1, 2)
            save(last, 3)  # and whatever was left behind, the next save succeeds and removes it
            assert number_of(last) == 3
            assert len([path for path in last.iterdir() if path.is_dir()]) == 1
    assert found == {1, 2}


def test_at_every_step_of_the_first_save_there_is_a_whole_checkpoint_or_none(tmp_path: Path) -> None:
    for at in range(20):
        run = tmp_path / f"run {at}"
        run.mkdir()
        files = FragileFiles(run, at=at)
        saved = False
        try:
            save(run / "checkpoints" / "last", 2, files)
            saved = True
        except PowerCut:
            pass
        (tmp_path / f"disks {at}").mkdir()
        for disk in files.disks(tmp_path / f"disks {at}"):
            last = disk / "checkpoints" / "last"
            if saved or (last / "state.json").is_file():
                assert number_of(last) == 2
            else:
                with pytest.raises(CheckpointError, match="no checkpoint here"):
                    number_of(last)
    assert saved


def test_at_every_step_that_fails_the_checkpoint_before_is_kept_and_nothing_is_left_beside_it(
    run: Path, tmp_path: Path
) -> None:
    last = run / "checkpoints" / "last"
    refused = 0
    for at in range(steps_of_a_save(shutil.copytree(run, tmp_path / "counted", symlinks=True))):
        before = number_of(last)
        files = FragileFiles(run, at=at, fails=True)
        said = ""
        try:
            save(last, before + 1, files)
        except CheckpointError as error:
            said = str(error)
        # A failure after the new one took its place leaves that, which may not be on the disk yet.
        assert number_of(last) in ((before, before + 1) if said else (before + 1,))
        assert not said or "last: the checkpoint cannot be written (Input/output error)" in said
        refused += bool(said)
        assert len([path for path in last.iterdir() if path.is_dir()]) <= 2
        assert not list(last.glob("*partial*"))
    assert refused >= 8
    save(last, 99)
    assert sorted(path.name for path in last.iterdir() if not path.name.isdigit()) == [
        "state.json",
        "weights.safetensors",
    ]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def left(folder: Path) -> tuple[Any, ...]:
    last = folder / "checkpoints" / "last"
    weights = [(folder / "checkpoints" / name / "weights.safetensors").read_bytes() for name in ("best", "last")]
    training = checkpoint.load_training(last, nn.Linear(3, 1))
    momenta = [value["momentum_buffer"].tolist() for value in training["optimizer"]["state"].values()]
    return rows(folder), weights, momenta, torch.equal(training["generator"]["cpu"], torch.get_rng_state())


def test_a_run_whose_power_is_cut_at_any_step_of_any_save_goes_on_as_the_run_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"max_epochs": 2, "save_minutes": 1e-6}

    figures = (0.2, 0.6)

    def world(epoch: int = 0) -> World:
        return World(train=2, val=1, figures=figures[epoch:] or (0.0,))

    world().fit(tmp_path / "whole", **settings)
    expected = left(tmp_path / "whole")
    at, ended, resumed = 0, False, set()
    while not ended:
        run = tmp_path / f"run {at}"
        run.mkdir()
        files = FragileFiles(run, at=at)
        with monkeypatch.context() as patch:
            for room in ("files", "checkpoint"):
                patch.setattr(f"spikeyolo.engine.checkpoints.{room}.Files", lambda files=files: files)
            try:
                world().fit(run, **settings)
                ended = True
            except PowerCut:
                pass
        (tmp_path / f"disks {at}").mkdir()
        for disk in files.disks(tmp_path / f"disks {at}"):
            last = disk / "checkpoints" / "last"
            saved = (last / "state.json").is_file()
            position = checkpoint.read_state(last)["position"] if saved else {"epoch": 0, "step": 0}
            resumed.add(position["step"])
            world(position["epoch"]).fit(disk / "again", resume=str(last) if saved else None, **settings)
            assert left(disk / "again") == expected
            shutil.rmtree(disk)
        at += 11 if not ended else 0  # every kind of step is met in some save; all of them take a minute
    assert resumed == {0, 1, 2, 3, 4}


def test_a_process_killed_at_random_moments_leaves_the_checkpoint_that_was_saved_last(tmp_path: Path) -> None:
    kills = os.environ.get("SPIKEYOLO_KILLS", "25")  # 200 take a minute on a busy machine
    script = Path(__file__).with_name("killed.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), kills, "0"], capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    said = re.search(r"(\d+) kills, (\d+) in the middle of a save", done.stdout)
    assert said is not None
    assert int(said[2]) > int(said[1]) / 2
