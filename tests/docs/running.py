"""Runs commands of the documentation in a folder, as they stand there but for what makes them small."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from command_line import Ended, compare, convert, doctor, environment, evaluate, export, predict, track, train, view
from documented import REPOSITORY, Command

COMMANDS: dict[str, Callable[..., Ended]] = {
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "track": track,
    "view": view,
    "compare": compare,
    "export": export,
    "convert": convert,
    "doctor": doctor,
}
WELL = {"doctor": (0, 3)}  # exit codes; 3: something was found


def search(*overrides: str, cwd: Path) -> Ended:
    """A sweep of Optuna's, which starts processes of its own, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "spikeyolo.train", "-m", *overrides],
        cwd=cwd,
        env=environment() | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=500,
    )
    return Ended(done.returncode, done.stderr, done.stdout)


def is_search(words: Sequence[str]) -> bool:
    """Whether Optuna draws what runs."""
    return words[:1] == ["-m"] and any(word.startswith(("+search=", "hydra/sweeper=")) for word in words)


def run_words(module: str, words: Sequence[str], *, cwd: Path) -> Ended:
    """A command with these words behind its module's name."""
    return search(*words[1:], cwd=cwd) if is_search(list(words)) else COMMANDS[module](*words, cwd=cwd)


def run(command: Command, *less: str, cwd: Path) -> Ended:
    """A command with overrides behind its own words; fails where it does not end well."""
    ended = run_words(str(command.module), [*command.arguments, *less], cwd=cwd)
    assert ended.code in WELL.get(str(command.module), (0,)), f"{command}\n{ended.errors}"
    return ended
