"""Training in several processes as a user starts it: one run is left, and one sentence where it cannot be."""

from __future__ import annotations

import csv
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from command_line import SMOKE, Ended, environment, run_folder
from etram_set import CLASSES, write_set
from mlflow import MlflowClient
from slurm_node import ON_THE_NODE, needs_submitit

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


def side_by_side(folder: Path, given: Sequence[Sequence[str]]) -> tuple[list[str], list[int]]:
    """What two processes say that train together, each in a folder of its own, and how they end."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port = door.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "spikeyolo.train", "logger=none", *own],
            cwd=folder / name,
            env={**environment(), **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, (name, own) in enumerate(zip(("one", "two"), given, strict=True))
    ]
    errors = [process.communicate(timeout=300)[1] for process in started]
    return errors, [process.returncode for process in started]


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["optimizer=none", "trainer.max_epochs=0", "data.batch_size=3", "model.size=9"])
def test_what_all_processes_refuse_is_said_once(tmp_path: Path, wrong: str) -> None:
    ended = by_torchrun(wrong, processes=2, cwd=tmp_path)
    assert ended.code != 0
    (said,) = [line for line in ended.errors.splitlines() if line.startswith("error: ")]
    assert wrong.partition("=")[0] in said


def test_what_a_process_beside_the_first_refuses_alone_is_said(tmp_path: Path) -> None:
    given = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    command = [sys.executable, "-m", "spikeyolo.train", *ARGUMENTS, "trainer.max_epochs=0"]
    ended = subprocess.run(command, cwd=tmp_path, env={**environment(), **given}, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: trainer.max_epochs: ")


@pytest.mark.slow
def test_processes_that_were_told_different_things_end_with_a_sentence(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    errors, codes = side_by_side(tmp_path, ([*ARGUMENTS, "trainer.patience=1"], [*ARGUMENTS, "trainer.patience=2"]))
    assert codes == [2, 2]
    assert "configuration trainer.patience: found 2 in process 1 and 1 in process 0" in errors[0]
    assert not list((tmp_path / "two").glob("outputs"))


@pytest.mark.slow
def test_a_process_that_does_not_see_the_data_ends_all_with_its_sentence(tmp_path: Path) -> None:
    write_set(tmp_path / "one" / "etram")
    (tmp_path / "two").mkdir()
    given = ["data=etram", "data.root=etram", f"data.classes=[{','.join(CLASSES)}]", "data.slice_duration_us=1000"]
    given += ["model=femto", "data.time_steps=2", "trainer.device=cpu", "trainer.threads=1", "trainer.max_epochs=1"]
    errors, codes = side_by_side(tmp_path, (given, given))
    assert codes == [2, 2], errors
    assert len([line for line in errors[0].splitlines() if line.startswith("error: ")]) == 1
    assert "process 1 of 2 (" in errors[0]
    assert "etram" in errors[0].splitlines()[-1]
    assert not list((tmp_path / "one").glob("outputs/*/*/checkpoints/*"))
    assert not list((tmp_path / "two").iterdir())


@pytest.mark.long
@needs_submitit
def test_two_tasks_of_a_slurm_step_leave_one_run(tmp_path: Path, slurm: dict[str, str]) -> None:
    command = [
        "srun",
        "--ntasks=2",
        "--partition=idle",
        sys.executable,
        "-m",
        "spikeyolo.train",
        *ARGUMENTS,
        "logger=none",
    ]
    done = subprocess.run(
        command, cwd=tmp_path, env={**environment(), **slurm}, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("epoch 1/1") == 1
    assert len(list(tmp_path.glob("outputs/*/*"))) == 1
    assert (run_folder(tmp_path) / "checkpoints" / "last" / "state.json").is_file()


@pytest.mark.slow
@needs_submitit
@pytest.mark.long
def test_each_job_of_a_cluster_trains_in_two_tasks(tmp_path: Path, slurm: dict[str, str]) -> None:
    command = [sys.executable, "-m", "spikeyolo.train", "-m", "seed=0,1", *ARGUMENTS, *ON_THE_NODE, "logger=none"]
    done = subprocess.run(
        [*command, "hydra.launcher.tasks_per_node=2", "hydra.sweep.dir=sweep"],
        cwd=tmp_path, env={**environment(), **slurm}, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    runs = sorted(path.parent for path in tmp_path.glob("sweep/*/metrics.csv"))
    assert len(runs) == 2
    for run in runs:
        assert len(list(run.glob("training_*.log"))) == 1
        assert len((run / "metrics.csv").read_text().splitlines()) == 2


@pytest.mark.slow
def test_a_multirun_under_torchrun_is_refused(tmp_path: Path) -> None:
    ended = by_torchrun("-m", "seed=1,2", processes=2, cwd=tmp_path)
    assert ended.code != 0
    assert "-m (--multirun): found in each of 2 processes" in ended.errors
    assert os.listdir(tmp_path) == []


TELLING = """
from pathlib import Path
from spikeyolo.engine.callbacks import Callback, Outcome

class Tell(Callback):
    def after_epoch(self, run, row, figure):
        Path(__file__).with_name("processes.txt").write_text(str(run.ranks.world))
        return Outcome.CONTINUE
"""


@pytest.mark.slow
@pytest.mark.long
def test_a_trial_of_a_sweep_trains_in_a_process_for_each_device_it_is_given(tmp_path: Path) -> None:
    (tmp_path / "telling.py").write_text(TELLING)
    command = [sys.executable, "-m", "spikeyolo.train", "-m", *ARGUMENTS, "logger=none", "optimizer.lr=0.003,0.004"]
    command += ["hydra/sweeper=optuna", "hydra.sweeper.direction=maximize", "hydra.sweeper.n_trials=1"]
    command += ["hydra.sweeper.devices=[[cpu,cpu]]", "hydra.sweep.dir=sweep"]
    done = subprocess.run(
        [*command, "+trainer.callbacks.tell._target_=telling.Tell"],
        cwd=tmp_path, env={**environment(), "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "processes.txt").read_text() == "2"
    (metrics,) = tmp_path.glob("sweep/*/metrics.csv")
    with metrics.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["val/windows"]) == 8.0  # each in one of the two
    assert (tmp_path / "sweep" / "optimization_results.yaml").is_file()
