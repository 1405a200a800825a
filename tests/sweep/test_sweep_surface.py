"""What a sweep shows, and what importing it costs."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import APPS, LIMIT_S, REPOSITORY, Sweep
from omegaconf import OmegaConf
from optuna.trial import TrialState

from spikeyolo.sweep.trial import TRIAL_VARIABLE, current_trial


def test_hydra_finds_the_sweeper_without_importing_anything_heavy() -> None:
    code = (
        "import sys\n"
        "from hydra.core.plugins import Plugins\n"
        "from hydra.plugins.sweeper import Sweeper\n"
        "names = {c.__module__ for c in Plugins.instance().discover(Sweeper)}\n"
        "assert 'hydra_plugins.spikeyolo_sweeper.optuna_sweeper' in names, names\n"
        "heavy = {'torch', 'optuna', 'mlflow', 'sqlalchemy', 'numpy', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, cwd=APPS, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()


BLOCKED = ("torch", "torchvision", "norse", "zarr", "numba", "h5py", "hdf5plugin", "mlflow")


def test_the_sweep_runs_where_nothing_of_events_and_networks_is_installed(sweep: Sweep, tmp_path: Path) -> None:
    # Python imports sitecustomize at every start, so the workers are held to it too.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({BLOCKED}))\n"  # None there makes an import fail as if it were absent
    )
    sweep.environment["PYTHONPATH"], sweep.warm = f"{tmp_path}:{REPOSITORY}", False
    code = (
        "import importlib, pkgutil, spikeyolo.sweep as room\n"
        "names = [m.name for m in pkgutil.walk_packages(room.__path__, 'spikeyolo.sweep.')]\n"
        "[importlib.import_module(name) for name in names]\n"
        "print(len(names))\n"
        "import torch\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **sweep.environment}, capture_output=True, text=True
    )
    assert int(done.stdout) > 25, done.stderr
    assert "import of torch halted" in done.stderr  # the block holds
    sweep.run("hydra.sweeper.n_trials=2", "hydra.sweeper.figures=true")
    assert [t.state for t in sweep.trials()] == [TrialState.COMPLETE] * 2


def test_one_file_of_the_sweep_knows_mlflow() -> None:
    room = REPOSITORY / "spikeyolo" / "sweep"
    naming = {path.name for path in room.rglob("*.py") if "mlflow" in path.read_text().lower()}
    assert naming == {"tracking.py", "settings.py"}  # the settings name the key


def test_outside_a_sweep_there_is_no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TRIAL_VARIABLE, raising=False)
    assert current_trial() is None


def test_a_process_that_a_trial_starts_is_not_the_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRIAL_VARIABLE, '{"pid": 1, "descriptor": 3, "number": 0, "params": {}}')
    assert current_trial() is None


def test_a_terminal_shows_a_live_table(sweep: Sweep) -> None:
    ours, theirs = pty.openpty()
    environment = {
        **os.environ,
        "SWEEP_DIR": str(sweep.folder),
        "PYTHONPATH": str(REPOSITORY),
        "OMP_NUM_THREADS": "1",
        "TERM": "xterm",
        "COLUMNS": "100",
    }
    command = [sys.executable, str(APPS / "parabola.py"), "-m", "hydra.sweeper.n_trials=3", f"hold={sweep.hold}"]
    sweep.hold.touch()
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment, cwd=sweep.folder.parent)
    sweep.processes.append(process)  # type: ignore[arg-type]
    os.close(theirs)
    shown, text = b"", ""
    try:
        while part := os.read(ours, 65536):
            shown += part
            text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode(errors="replace"))
            if re.search(r"trial [012] +│ +[0-9.]+ s", text):  # the table shows it while it runs
                sweep.hold.unlink(missing_ok=True)
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait(LIMIT_S) == 0
    assert "3 of 3: 3 complete, 0 pruned, 0 failed, 0 running" in text
    assert "best" in text
    assert "left" in text
    assert not sweep.hold.exists(), text


def test_the_best_configuration_runs_as_it_is(sweep: Sweep) -> None:
    sweep.run("hydra.sweeper.n_trials=3", "optimizer=sgd,adamw")
    best = sweep.study.best_trial
    command = [sys.executable, str(APPS / "parabola.py"), "--config-dir", str(sweep.folder), "-cn", "best_config"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    folder = f"hydra.run.dir={sweep.folder}/again"
    done = subprocess.run([*command, folder], env=environment, cwd=sweep.folder.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float((sweep.folder / "again" / "finished.txt").read_text()) == best.value


def test_the_best_configuration_keeps_the_applications_own_folder_and_logging(sweep: Sweep) -> None:
    own = ("hydra.run.dir=runs/${now:%Y}", "hydra.job_logging.root.level=ERROR")
    sweep.run("hydra.sweeper.n_trials=2", "optimizer=sgd,adamw", *own)
    best = OmegaConf.load(sweep.folder / "best_config.yaml")
    assert OmegaConf.to_container(best, resolve=False)["hydra"]["run"] == {"dir": "runs/${now:%Y}"}
    assert best.hydra.job_logging.root.level == "ERROR"
    assert set(best.hydra) == {"job", "run", "job_logging"}
