"""The same sweep through Hydra's launchers: submitit on this machine and on a real SLURM node, joblib, Ray."""

from __future__ import annotations

import importlib.util
import os
import subprocess

import pytest
from conftest import Sweep
from optuna.trial import TrialState
from slurm_node import ON_THE_NODE, needs_submitit

needs_joblib = pytest.mark.skipif(
    importlib.util.find_spec("hydra_plugins.hydra_joblib_launcher") is None, reason="pip install hydra-joblib-launcher"
)
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("hydra_plugins.hydra_ray_launcher") is None, reason="pip install spikeyolo[ray]"
)


def starts(sweep: Sweep) -> list[list[str]]:
    """Process, devices and time of every start of a trial."""
    files = sweep.folder.glob("*/starts.txt")
    return [line.split() for path in files for line in path.read_text().splitlines()]


@needs_submitit
def test_submitit_runs_trials_that_report_and_are_pruned_through_the_storage(sweep: Sweep) -> None:
    sweep.run(
        "hydra/launcher=submitit_local",
        "hydra/sweeper/pruner=threshold",
        "hydra.sweeper.pruner.upper=5.0",
        "hydra.sweeper.enqueue=[{x: -4.0}, {x: 2.0}, {x: 1.5}, {x: 4.5}]",
        "hydra.sweeper.n_trials=4",
        "steps=2",
    )
    trials = {t.params["x"]: t for t in sweep.trials()}
    assert {x: t.state for x, t in trials.items()} == {
        -4.0: TrialState.PRUNED,
        2.0: TrialState.COMPLETE,
        1.5: TrialState.COMPLETE,
        4.5: TrialState.PRUNED,
    }
    assert trials[2.0].user_attrs["sweep:metrics"] == {"energy_mj": 2.0}
    assert trials[2.0].intermediate_values.keys() == {0, 1}
    assert (sweep.folder / str(trials[2.0].number) / ".hydra" / "config.yaml").exists()


@pytest.mark.slow
@needs_submitit
def test_a_job_that_dies_is_run_again(sweep: Sweep) -> None:
    impatient = "hydra.sweeper.preload=[impatient]"  # submitit waits 15 s for the result of a job that is gone
    output = sweep.run("hydra/launcher=submitit_local", "chosen=kill", "hydra.sweeper.n_trials=2", impatient)
    assert len(sweep.trials(TrialState.COMPLETE)) == 2
    assert len(sweep.trials(TrialState.FAIL)) == 2
    assert "its parameters run again" in output


@pytest.mark.slow
@needs_joblib
def test_joblib_runs_trials(sweep: Sweep) -> None:
    sweep.run(
        "hydra/launcher=joblib",
        "hydra.sweeper.max_failure_rate=1",
        "hydra.sweeper.n_trials=3",
        "chosen=raise",
        "chosen_below=-2",
        "x=1,2,-3",
    )
    states = {t.params["x"]: t.state for t in sweep.trials()}
    assert len(sweep.trials()) == 3
    assert all(state == (TrialState.FAIL if x == -3 else TrialState.COMPLETE) for x, state in states.items())


@pytest.mark.slow
@needs_ray
def test_ray_runs_trials(sweep: Sweep) -> None:
    sweep.run("hydra/launcher=ray", "hydra.sweeper.n_trials=3", "+hydra.launcher.ray.init.num_cpus=2")
    assert len(sweep.trials(TrialState.COMPLETE)) == 3
    assert all(t.intermediate_values for t in sweep.trials())


SLURM = (*ON_THE_NODE, "+hydra.launcher.gres=gpu:1")


@pytest.mark.slow
@needs_submitit
def test_slurm_gives_every_trial_a_device_of_its_own(sweep: Sweep, slurm: dict[str, str]) -> None:
    sweep.environment |= slurm
    sweep.hold.touch()
    sweep.start(*SLURM, "hydra.sweeper.n_trials=5", "hydra.sweeper.n_jobs=3", f"hold={sweep.hold}")
    sweep.wait_for(lambda: sweep.held() == 3)
    at_once = [devices for _, devices, _ in starts(sweep)]
    assert len(set(at_once)) == 3
    sweep.hold.unlink()
    sweep.end()
    assert len(sweep.trials(TrialState.COMPLETE)) == 5
    assert len(starts(sweep)) == 5
    assert {devices for _, devices, _ in starts(sweep)} <= {"0", "1", "2", "3"}


@pytest.mark.slow
@needs_submitit
def test_a_preempted_trial_is_requeued_and_goes_on_where_it_was(sweep: Sweep, slurm: dict[str, str]) -> None:
    sweep.environment |= slurm
    trial = ("hydra.sweeper.n_trials=1", "hydra.sweeper.n_jobs=1", "sleep=0.2", "steps=12", f"hold={sweep.hold}")
    sweep.start(*SLURM, *trial)
    progress = sweep.folder / "0" / "progress.txt"
    sweep.wait_for(lambda: progress.exists() and int(progress.read_text() or 0) >= 2)
    sweep.hold.touch()
    sweep.wait_for(lambda: sweep.held() == 1)
    urgent = ["sbatch", "--partition=urgent", "--cpus-per-task=8", "--output=/dev/null", "--wrap=sleep 1"]
    subprocess.run(urgent, env={**os.environ, **slurm}, check=True, timeout=30, capture_output=True)
    sweep.wait_for(lambda: len(starts(sweep)) == 2)
    sweep.hold.unlink()
    sweep.end()
    trial = sweep.trials()[0]
    assert [t.state for t in sweep.trials()] == [TrialState.COMPLETE]
    assert sorted(trial.intermediate_values) == list(range(12))
    steps: dict[str, list[int]] = {}
    for line in (sweep.folder / "0" / "steps.txt").read_text().splitlines():
        steps.setdefault(line.split()[0], []).append(int(line.split()[1]))
    before, after = steps.values()
    assert before[0] == 0
    assert after == list(range(before[-1] + 1, 12))  # it did not begin anew


@needs_submitit
@pytest.mark.slow
def test_ctrl_c_cancels_the_jobs_of_the_cluster(sweep: Sweep, slurm: dict[str, str]) -> None:
    sweep.environment |= slurm
    sweep.hold.touch()
    process = sweep.start(*SLURM, "hydra.sweeper.n_trials=4", f"hold={sweep.hold}")
    sweep.wait_for(lambda: len(starts(sweep)) == 2)
    os.kill(process.pid, 2)
    sweep.end(code=130)
    assert {t.state for t in sweep.trials()} == {TrialState.WAITING}

    def queue() -> str:
        listing = ["squeue", "--noheader", "--states=running,pending"]
        return subprocess.run(listing, env={**os.environ, **slurm}, capture_output=True, text=True, check=True).stdout

    sweep.wait_for(lambda: not queue().strip())
