"""A Hydra application in a process of its own that is forked from one which has imported Hydra and Optuna already.

What it does from its first line on is what ``python APP -m …`` does; only the second of imports before is shared by all
sweeps of the tests.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import NoReturn

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
IMPORTED = (
    "hydra",
    "spikeyolo.sweep.sweeper",
    "spikeyolo.sweep.loop",
    "spikeyolo.sweep.algorithms",
    "spikeyolo.sweep.report.conclusion",
    "spikeyolo.sweep.space.drawing",
    "spikeyolo.sweep.study.starts",
    "spikeyolo.sweep.workers.pool",
)


class WarmProcess:
    """A started application, as :class:`subprocess.Popen` knows it."""

    def __init__(self, command: Sequence[str], *, cwd: Path, environment: Mapping[str, str], output: Path) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(IMPORTED))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(REPOSITORY))
            patch.chdir(REPOSITORY)
            forkserver.ensure_running()
        self._process: ForkServerProcess = context.Process(
            target=_run, args=(list(command), str(cwd), dict(environment), str(output))
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        """The exit code; None where it has not ended in time."""
        self._process.join(timeout)
        return self._process.exitcode


def _run(command: list[str], cwd: str, environment: dict[str, str], output: str) -> NoReturn:
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    written = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    for descriptor in (1, 2):
        os.dup2(written, descriptor)
    os.close(written)
    multiprocessing.set_start_method(None, force=True)  # of this process, not of the tests'
    sys.argv[:] = command
    sys.path.insert(0, str(Path(command[0]).parent))
    try:
        runpy.run_path(command[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()
    raise SystemExit(0)
