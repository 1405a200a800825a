"""Small real sweeps, run as a user runs them: a Hydra application in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from warm import WarmProcess

APPS = Path(__file__).parent / "apps"
REPOSITORY = Path(__file__).resolve().parents[2]
LIMIT_S = 150


@dataclass
class Sweep:
    """One sweep's folder and the command that runs it.

    Attributes:
        warm: fork it from a process that has imported Hydra and Optuna, instead of starting the interpreter.
    """

    folder: Path
    app: str = "parabola.py"
    environment: dict[str, str] = field(default_factory=dict)
    processes: list[subprocess.Popen[bytes] | WarmProcess] = field(default_factory=list)
    warm: bool = True

    def start(self, *arguments: str) -> subprocess.Popen[bytes] | WarmProcess:
        environment = {
            **os.environ,
            "SWEEP_DIR": str(self.folder),
            "PYTHONPATH": str(REPOSITORY),
            "OMP_NUM_THREADS": "1",
            **self.environment,
        }
        command = [str(APPS / self.app), "-m", *arguments]
        # Into a file, so that a test can wait for a line while the sweep runs.
        path = self._output(len(self.processes))
        path.touch()
        process: subprocess.Popen[bytes] | WarmProcess
        if self.warm:
            process = WarmProcess(command, cwd=self.folder.parent, environment=environment, output=path)
        else:
            with path.open("w") as output:
                process = subprocess.Popen(
                    [sys.executable, *command],
                    cwd=self.folder.parent,
                    env=environment,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
        self.processes.append(process)
        return process

    def _output(self, index: int) -> Path:
        return self.folder.with_name(f"{self.folder.name}-{index}.txt")

    @property
    def printed(self) -> str:
        """What the command that was started last has printed so far."""
        return self._output(len(self.processes) - 1).read_text()

    def end(self, code: int = 0) -> str:
        """Wait for the end of the command that was started last; returns what it printed."""
        try:
            found = self.processes[-1].wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            found = None
        if found is None:
            pytest.fail(f"the sweep did not end within {LIMIT_S} s:\n{self.printed}")
        assert found == code, self.printed
        return self.printed

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run to the end; returns what it printed."""
        self.start(*arguments)
        return self.end(code)

    @property
    def study(self) -> optuna.Study:
        storage = JournalStorage(JournalFileBackend(str(self.folder / "study.journal")))
        return optuna.load_study(study_name="parabola", storage=storage)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        if not (self.folder / "study.journal").exists():
            return []
        try:
            return [t for t in self.study.get_trials() if not states or t.state in states]
        except KeyError:  # the study is not there yet
            return []

    def wait_for(self, condition: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
        """Wait for a state; the limit is for what never comes, and says nothing of how long it may take."""
        deadline = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain:\n{self.printed}"
            time.sleep(0.05)

    @property
    def hold(self) -> Path:
        """While this file exists, trials started with ``hold=`` it stand still."""
        return self.folder.with_name("hold")

    def held(self) -> int:
        """How many trials have stood still so far."""
        return len(list(self.folder.glob("*/held.txt")))

    def worker_pids(self) -> list[int]:
        """Processes of trials that have begun, dead ones too."""
        return [
            int(line.split()[0]) for path in self.folder.glob("*/starts.txt") for line in path.read_text().splitlines()
        ]


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[Sweep]:
    made = Sweep(tmp_path / "sweep")
    yield made
    for process in made.processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
