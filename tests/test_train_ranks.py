"""Training in several processes as a user starts it: one run is left, and one sentence where it cannot be."""

from __future__ import annotations

import csv
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import SMOKE, Ended, environment, run_folder
from mlflow import MlflowClient

ARGUMENTS = (*SMOKE, "trainer.max_epochs=1", "trainer.device=cpu")


def by_torchrun(*overrides: str, processes: int, cwd: Path) -> Ended:
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}", "-m", "spikeyolo.train"]
    done = subprocess.run(
        [*command, *ARGUMENTS, *overrides], cwd=cwd, env=environment(), capture_output=True, text=True, timeout=400
    )
    return Ended(done.returncode, done.stderr)


@pytest.mark.slow
def test_two_processes_leave_one_run(tmp_path: Path) -> None:
    ended = by_torchrun(processes=2, cwd=tmp_path)
    assert ended.code == 0, ended.errors
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "mlflow.db", "mlruns", "outputs"]
    assert len(list(tmp_path.glob("outputs/*/*"))) == 1
    folder = run_folder(tmp_path)
    assert len(list(folder.glob("training_*.log"))) == 1
    with (folder / "metrics.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["val/windows"]) == 8.0
    assert ended.errors.count("epoch 1/1") == 1  # said once
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (experiment,) = [found for found in client.search_experiments() if found.name == "spikeyolo"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"


@pytest.mark.slow
def test_processes_that_were_told_different_things_end_with_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port = door.getsockname()[1]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, "-m", "spikeyolo.train", *ARGUMENTS, "logger=none"]
    given = ("trainer.patience=1", "trainer.patience=2")
    started = [
        subprocess.Popen(
            [*command, own],
            cwd=tmp_path / name,
            env={**environment(), **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, (name, own) in enumerate(zip(("one", "two"), given, strict=True))
    ]
    errors = [process.communicate(timeout=300)[1] for process in started]
    assert [process.returncode for process in started] == [2, 2]
    assert "configuration trainer.patience: found 2 in process 1 and 1 in process 0" in errors[0]
    assert not list((tmp_path / "two").glob("outputs"))


@pytest.mark.slow
def test_a_multirun_under_torchrun_is_refused(tmp_path: Path) -> None:
    ended = by_torchrun("-m", "seed=1,2", processes=2, cwd=tmp_path)
    assert ended.code != 0
    assert "-m (--multirun): found in each of 2 processes" in ended.errors
    assert os.listdir(tmp_path) == []
