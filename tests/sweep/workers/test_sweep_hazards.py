"""Applications that would hang a sweep or start one in each of its workers."""

from __future__ import annotations

import pytest
from conftest import APPS
from optuna.trial import TrialState


def test_an_application_that_keeps_a_thread_with_a_lock_runs_in_processes_of_its_own(sweep) -> None:
    sweep.app = "threaded.py"
    output = sweep.run("hydra.job.name=parabola", "hydra.sweeper.n_trials=3", "hydra.sweeper.trial_timeout=120")
    assert "starts the threads client, whose locks a fork would copy for ever" in output
    assert [t.state for t in sweep.trials()] == [TrialState.COMPLETE] * 3


@pytest.mark.parametrize("path", ["conf", str(APPS / "conf")])  # Hydra itself stops at the first
def test_a_script_without_a_guard_is_refused_before_it_starts_without_limit(sweep, path: str) -> None:
    sweep.app = "unguarded.py"
    sweep.environment["CONFIG_PATH"] = path
    output = sweep.run("hydra.job.name=parabola", "hydra.sweeper.n_trials=3", code=2)
    assert "unguarded.py: importing this script runs it" in output.splitlines()[-1]
    assert "if __name__ == '__main__'" in output.splitlines()[-1]
    # By the command itself, and by its workers' server.
    assert (sweep.folder.parent / "imported.txt").read_text().count("once") == 2
    assert not sweep.trials(TrialState.RUNNING)


def test_a_trial_that_takes_too_long_is_stopped_and_fails(sweep) -> None:
    output = sweep.run(
        "chosen=hang",
        "chosen_below=0",
        "hydra.sweeper.enqueue=[{x: -1.0}, {x: 1.0}]",
        "hydra.sweeper.n_trials=2",
        "hydra.sweeper.trial_timeout=5",
        "hydra.sweeper.grace=0.5",
        "hydra.sweeper.max_failure_rate=0.5",
    )
    states = {t.params["x"]: t.state for t in sweep.trials()}
    assert states == {-1.0: TrialState.FAIL, 1.0: TrialState.COMPLETE}  # and it is not tried again
    assert "the trial took longer than trial_timeout=5 s" in output
