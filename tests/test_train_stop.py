"""Ctrl-C in mid-training saves, says how to go on, and that command does."""

from __future__ import annotations

import csv
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import SMOKE, environment, train

from spikeyolo.entry import resume_arguments

TRAINING = (
    *SMOKE,
    "logger=none",
    "trainer.device=cpu",
    "trainer.max_epochs=40",
    "data.store=my data",
    "hydra.run.dir='runs/a run'",
)


def stopped(cwd: Path, *overrides: str) -> tuple[int, str]:
    """Exit code and error stream of a training that is stopped after its first epoch, as a terminal does it."""
    command = [sys.executable, "-m", "spikeyolo.train", *TRAINING, *overrides]
    log = cwd / "errors.txt"
    with log.open("w") as errors:
        process = subprocess.Popen(command, cwd=cwd, env=environment(), stderr=errors, start_new_session=True)
    try:
        deadline = time.monotonic() + 240
        while not any(len(path.read_text().splitlines()) > 1 for path in cwd.glob("runs/*/metrics.csv")):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        # a row stands there once the epoch's checkpoint is whole; a text on the terminal tells of no state
        os.killpg(process.pid, signal.SIGINT)  # the worker gets it too
        return process.wait(timeout=300), log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str]:
    """A folder with a blank in its name, in which a training with a worker was stopped by Ctrl-C."""
    cwd = tmp_path_factory.mktemp("stopped here") / "a folder"
    cwd.mkdir()
    return cwd, *stopped(cwd, "data.workers=1")


def test_ctrl_c_saves_and_its_last_line_says_how_to_go_on(interrupted: tuple[Path, int, str]) -> None:
    cwd, code, errors = interrupted
    assert code == 130, errors
    assert "Traceback" not in errors
    last = errors.splitlines()[-1]
    checkpoint = cwd / "runs" / "a run" / "checkpoints" / "last"
    assert last.startswith(f"stopped; saved {checkpoint}; go on with: python -m spikeyolo.train ")
    assert json.loads((checkpoint / "state.json").read_text())["position"]["epoch"] >= 1
    assert not list(cwd.rglob("*.partial*"))


def test_the_command_of_the_last_line_goes_on(interrupted: tuple[Path, int, str]) -> None:
    cwd, _, errors = interrupted
    command = shlex.split(errors.splitlines()[-1].partition("python -m spikeyolo.train ")[2])
    folder = cwd / "runs" / "a run"
    position = json.loads((folder / "checkpoints" / "last" / "state.json").read_text())["position"]
    done = position["epoch"]
    ended = train(*command, "data.workers=0", f"trainer.max_epochs={done + 1}", cwd=cwd, reviewed=False)
    assert ended.code == 0, ended.errors
    assert f"epoch {done + 1}, batch {position['batch']}" in ended.errors
    assert [path.name for path in (cwd / "runs").iterdir()] == ["a run"]  # it goes on where it lives
    assert not (cwd / "outputs").exists()
    with (folder / "metrics.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == done + 1


@pytest.mark.parametrize("place", ["/plain/last", "/with blank/last", "/it's/last", "/a,b=[c]/last", "/día/last"])
def test_the_command_is_one_that_a_shell_and_hydra_understand(place: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    words = shlex.split(
        resume_arguments(["data.classes=[car,bus]", "name='my run'", "trainer.resume=/old"], Path(place))
    )
    parsed = OverridesParser.create().parse_overrides(words)
    assert [override.key_or_group for override in parsed] == ["data.classes", "name", "trainer.resume"]
    assert str(parsed[-1].value()) == place
    assert parsed[0].value() == ["car", "bus"]
