"""Runs ``python -m spikeyolo.train`` as a user would, in this process or in one of its own."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

# The smoke run with fewer windows and epochs, and the same digits on any machine of one kind.
SMOKE = (
    "+experiment=smoke",
    "data.batch_size=4",
    "data.max_samples_per_file=4",
    "data.dataset.train_sequences=4",
    "data.dataset.val_sequences=2",
    "trainer.max_epochs=2",
    "trainer.threads=1",
)


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code and what it wrote to the error stream and to the output."""

    code: int
    errors: str
    output: str = ""

    @property
    def error_lines(self) -> list[str]:
        return [line for line in self.errors.splitlines() if line.startswith("error: ")]


def train(*overrides: str, cwd: Path, reviewed: bool = True) -> Ended:
    """The train entry point in this process, started in ``cwd``.

    Args:
        reviewed: False leaves out the figures and costs of the best checkpoint, which are half of a small run.
    """
    from spikeyolo.train import train as task

    with pytest.MonkeyPatch.context() as patch:
        if not reviewed:
            patch.setattr("spikeyolo.training.review.review", lambda *_, **__: {})
        return _run(task, "train", *overrides, cwd=cwd)


def convert(*overrides: str, cwd: Path) -> Ended:
    """The convert entry point in this process, started in ``cwd``."""
    from spikeyolo.convert import convert as task

    return _run(task, "convert", *overrides, cwd=cwd)


def evaluate(*overrides: str, cwd: Path) -> Ended:
    """The evaluate entry point in this process, started in ``cwd``."""
    from spikeyolo.evaluate import evaluate as task
    from spikeyolo.evaluation import run_data

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        run_data.offer(overrides)
    return _run(task, "evaluate", *overrides, cwd=cwd)


def compare(*words: str, cwd: Path) -> Ended:
    """The compare entry point in this process, started in ``cwd``; runs are words without ``=``."""
    from spikeyolo.compare import compare as task
    from spikeyolo.compare import with_runs

    return _run(task, "compare", *with_runs(words), cwd=cwd)


def track(*overrides: str, cwd: Path) -> Ended:
    """The track entry point in this process, started in ``cwd``."""
    from spikeyolo.track import track as task

    return _run(task, "track", *overrides, cwd=cwd)


def view(*overrides: str, cwd: Path) -> Ended:
    """The view entry point in this process, started in ``cwd``."""
    from spikeyolo.view import view as task

    return _run(task, "view", *overrides, cwd=cwd)


def predict(*overrides: str, cwd: Path) -> Ended:
    """The predict entry point in this process, started in ``cwd``."""
    from spikeyolo.predict import predict as task

    return _run(task, "predict", *overrides, cwd=cwd)


def export(*overrides: str, cwd: Path) -> Ended:
    """The export entry point in this process, started in ``cwd``."""
    from spikeyolo.export import export as task

    return _run(task, "export", *overrides, cwd=cwd)


def doctor(*overrides: str, cwd: Path) -> Ended:
    """The doctor entry point in this process, started in ``cwd``."""
    from spikeyolo.doctor import doctor as task
    from spikeyolo.doctor import with_data_of_run

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        arguments = with_data_of_run(overrides)
    return _run(task, "doctor", *arguments, cwd=cwd)


def _run(task: Callable[[DictConfig], object], name: str, *overrides: str, cwd: Path) -> Ended:
    from spikeyolo import entry

    errors, output = io.StringIO(), io.StringIO()
    code = 0
    with _untouched(cwd), contextlib.redirect_stderr(errors), contextlib.redirect_stdout(output):
        sys.argv = [f"spikeyolo.{name}", *overrides]
        try:
            entry.run(task, name)
        except SystemExit as end:
            code = int(end.code or 0)
    return Ended(code, errors.getvalue(), output.getvalue())


def train_process(*overrides: str, cwd: Path, timeout: float = 300) -> Ended:
    """The same in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "spikeyolo.train", *overrides],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    return Ended(done.returncode, done.stderr)


def environment() -> dict[str, str]:
    """Of a started process: one thread, and no tracking server of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    return {**kept, "OMP_NUM_THREADS": "1"}


def run_folder(cwd: Path) -> Path:
    """The newest run's folder."""
    return max((path.parent for path in cwd.glob("outputs/*/*/.hydra")), key=lambda path: path.name)


@contextlib.contextmanager
def _untouched(cwd: Path) -> Iterator[None]:
    """Give back what an entry point changes for its whole process."""
    root = logging.getLogger()
    handlers, level, threads = root.handlers[:], root.level, torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.chdir(cwd)
        patch.setattr(sys, "argv", sys.argv)
        patch.setenv("HYDRA_FULL_ERROR", "1")
        patch.setenv("OMP_WAIT_POLICY", "PASSIVE")
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID"):
            patch.delenv(name, raising=False)
        try:
            yield
        finally:
            for handler in root.handlers:
                if handler not in handlers:
                    handler.close()
            root.handlers[:], root.level = handlers, level
            torch.set_num_threads(threads)
            GlobalHydra.instance().clear()
