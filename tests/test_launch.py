"""Which process of a training this is, as launchers tell it."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from spikeyolo.engine.ranks import joined
from spikeyolo.errors import ConfigError, TrainingError
from spikeyolo.launch import PROCESSES_VARIABLE, Place, arguments_of, fallen, first_node, launcher, partners, place

TORCHRUN = {
    "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "29",
}  # fmt: skip
SLURM = {
    "SLURM_STEP_NUM_TASKS": "3", "SLURM_PROCID": "2", "SLURM_LOCALID": "0", "SLURM_NODEID": "1", "SLURM_JOB_ID": "71",
    "SLURM_STEP_ID": "0", "SLURM_STEP_TASKS_PER_NODE": "2,1", "SLURM_STEP_NODELIST": "gpu[03-04]",
}  # fmt: skip


def test_torchrun_and_slurm_tell_the_place() -> None:
    assert place(TORCHRUN) == Place(3, 4, 1, 2, "a", 29)
    assert place(SLURM) == Place(2, 3, 0, 1, "gpu03", 20_000 + 31 * 71)
    assert place({**SLURM, **TORCHRUN}) == place(TORCHRUN)
    assert place({**SLURM, "MASTER_ADDR": "b", "MASTER_PORT": "5"}) == Place(2, 3, 0, 1, "b", 5)


def test_one_process_and_a_batch_script_train_alone() -> None:
    assert place({}) is None
    assert place({**TORCHRUN, "RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}) is None
    assert place({"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_JOB_ID": "7"}) is None
    assert place({**SLURM, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}) is None


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({**TORCHRUN, "RANK": "4"}, "4 of 4"),
        ({**TORCHRUN, "RANK": "one"}, "RANK: found 'one'"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "MASTER_ADDR is not set"),
        ({**TORCHRUN, "LOCAL_RANK": "2"}, "2 of 2"),
    ],
)
def test_contradictions_are_refused(environment: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        place(environment)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("n1", "n1"), ("n1,n2", "n1"), ("gpu[03-05,7],cpu1", "gpu03"), ("a[1,2]-x", "a1-x"), ("rack-2-n7", "rack-2-n7")],
)
def test_the_first_node_of_slurms_short_form(nodes: str, first: str) -> None:
    assert first_node(nodes) == first


def test_others_than_the_first_process_make_no_folder_and_a_multirun_is_refused() -> None:
    main, other = Place(0, 2, 0, 2, "a", 1), Place(1, 2, 1, 2, "a", 1)
    assert arguments_of(main, ["seed=1"]) == ["seed=1"]
    assert {"seed=1", "hydra.run.dir=.", "hydra.output_subdir=null"} <= set(arguments_of(other, ["seed=1"]))
    for flag in ("-m", "--multirun"):
        with pytest.raises(ConfigError, match="without torchrun"):
            arguments_of(main, [flag, "seed=1,2"])


def test_a_trial_whose_partner_never_comes_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROCESSES_VARIABLE, "2")
    monkeypatch.setattr("sys.executable", shutil.which("false"))  # as one that cannot read its configuration
    began = time.monotonic()
    with (
        pytest.raises(TrainingError, match="process 1 of 2 ended with exit code 1 before the training began"),
        partners(tmp_path),
        joined("cpu"),
    ):
        pass
    assert time.monotonic() - began < 30
    assert place() is None  # what was told of places is taken back
    assert fallen() is None


@pytest.mark.parametrize(
    ("variables", "begins"),
    [
        ({}, "python"),
        ({"RANK": "0", "WORLD_SIZE": "1"}, "python"),
        ({**TORCHRUN, "RANK": "1", "WORLD_SIZE": "2"}, "torchrun --nproc-per-node=2"),
        (TORCHRUN, "torchrun --nnodes=2 --nproc-per-node=2"),
        (SLURM, "srun python"),
        ({**TORCHRUN, PROCESSES_VARIABLE: "2"}, "python"),
    ],
)
def test_a_run_goes_on_with_the_launcher_that_it_began_with(variables: dict[str, str], begins: str) -> None:
    assert launcher(variables) == begins
