"""Nothing is lost: killed controllers, Ctrl-C, torn journals, changed spaces."""

from __future__ import annotations

import os
import shutil
import signal

from conftest import APPS, LIMIT_S, is_running
from omegaconf import OmegaConf
from optuna.trial import TrialState


def test_a_killed_controller_takes_its_workers_along_and_the_same_command_goes_on(sweep) -> None:
    sweep.run("hydra.sweeper.n_trials=2", f"hold={sweep.hold}")
    sweep.hold.touch()
    command = ("hydra.sweeper.n_trials=8", f"hold={sweep.hold}")
    process = sweep.start(*command)
    sweep.wait_for(lambda: sweep.held() == 2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    # Held, they would stand there for ever.
    sweep.wait_for(lambda: not any(is_running(pid) for pid in sweep.worker_pids()))
    sweep.hold.unlink()
    before = {t.number: t.datetime_complete for t in sweep.trials(TrialState.COMPLETE)}
    interrupted = {t.number: t.params for t in sweep.trials(TrialState.RUNNING)}
    sweep.run(*command)
    trials = sweep.trials()
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 8
    assert [t.number for t in trials] == list(range(8))
    assert {n: t for n, t in before.items() if trials[n].datetime_complete != t} == {}  # none was run again
    # What had been drawn is not drawn again (a trial may have been claimed and not drawn yet).
    assert all(trials[n].params == params for n, params in interrupted.items() if params)
    # A third time there is nothing to do; with a larger budget it tops up.
    output = sweep.run(*command)
    assert "8 of 8 trials are done" in output
    sweep.run("hydra.sweeper.n_trials=10", f"hold={sweep.hold}")
    assert len(sweep.trials()) == 10
    assert len({t.params["x"] for t in sweep.trials()}) == 10  # a resumed sampler does not draw the same again


def test_ctrl_c_puts_running_trials_back(sweep) -> None:
    sweep.hold.touch()
    command = ("hydra.sweeper.n_trials=4", "hydra.sweeper.grace=60", f"hold={sweep.hold}")
    process = sweep.start(*command)
    sweep.wait_for(lambda: sweep.held() == 2)
    os.kill(process.pid, signal.SIGINT)
    assert "the same command resumes" in sweep.end(code=130)
    assert [t.state for t in sweep.trials()] == [TrialState.WAITING] * 2
    assert not any(is_running(pid) for pid in sweep.worker_pids())
    sweep.hold.unlink()
    sweep.run(*command)
    assert [t.state for t in sweep.trials()] == [TrialState.COMPLETE] * 4


def test_a_torn_last_line_of_the_journal_is_cut(sweep) -> None:
    sweep.run("hydra.sweeper.n_trials=2")
    with (sweep.folder / "study.journal").open("ab") as journal:
        journal.write(b'{"op_code":4,"worker_id":"torn')
    output = sweep.run("hydra.sweeper.n_trials=4")
    assert "torn last line" in output
    assert [t.state for t in sweep.trials()] == [TrialState.COMPLETE] * 4


def test_a_damaged_journal_is_named_with_its_line(sweep) -> None:
    sweep.run("hydra.sweeper.n_trials=1")
    journal = sweep.folder / "study.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:3], b"nonsense\n", *lines[3:]]))
    output = sweep.run("hydra.sweeper.n_trials=2", code=2)
    assert "line 4 is damaged" in output


def test_another_experiment_in_the_same_study_is_refused_and_listed(sweep) -> None:
    sweep.run("scale=0", "hydra.sweeper.n_trials=2")
    output = sweep.run("scale=1000", "hydra.sweeper.n_trials=4", code=2)
    assert "scale was 0, is now 1000; its results would not compare" in output.splitlines()[-1]
    assert len(sweep.trials()) == 2
    sweep.run("scale=0", "hydra.sweeper.n_trials=3")  # the first one goes on
    output = sweep.run("scale=1000", "hydra.sweeper.n_trials=5", "hydra.sweeper.resume_changed=true")
    assert "goes on with another configuration: scale was 0, is now 1000" in output
    trials = sweep.trials(TrialState.COMPLETE)
    scales = [OmegaConf.load(sweep.folder / str(t.number) / ".hydra" / "config.yaml").scale for t in trials]
    assert scales == [0, 0, 0, 1000, 1000]
    # The best ran with scale=0, and so does its configuration.
    best = OmegaConf.load(sweep.folder / "best_config.yaml")
    assert (best.x, best.scale) == (sweep.study.best_trial.params["x"], 0)
    assert sweep.study.best_trial.number < 3


def test_what_a_configuration_file_says_belongs_to_the_study_too(sweep, tmp_path) -> None:
    shutil.copytree(APPS / "conf", tmp_path / "conf")
    given = (f"--config-dir={tmp_path / 'conf'}", "--config-name=mine")
    mine = tmp_path / "conf" / "mine.yaml"
    mine.write_text("defaults: [parabola, _self_]\nn: 3\nx: 5.0\n")
    sweep.run(*given, "hydra.sweeper.n_trials=1")
    # The default of what every trial sets itself may change.
    mine.write_text("defaults: [parabola, _self_]\nn: 3\nx: 6.0\n")
    sweep.run(*given, "hydra.sweeper.n_trials=2")
    mine.write_text("defaults: [parabola, _self_]\nn: 4\nx: 6.0\n")
    output = sweep.run(*given, "hydra.sweeper.n_trials=3", code=2)
    assert "n was 3, is now 4" in output.splitlines()[-1]


def test_an_interrupted_trial_goes_on_as_it_was_begun(sweep) -> None:
    sweep.hold.touch()
    command = ("hydra.sweeper.n_trials=1", "hydra.sweeper.grace=60", f"hold={sweep.hold}")
    process = sweep.start(*command, "scale=0")
    sweep.wait_for(lambda: sweep.held() == 1)
    os.kill(process.pid, signal.SIGINT)
    sweep.end(code=130)
    sweep.hold.unlink()
    sweep.run(*command, "scale=1000", "hydra.sweeper.resume_changed=true")
    (trial,) = sweep.trials(TrialState.COMPLETE)
    assert trial.value == 0.5  # momentum's part: half of it was done with scale=0
    assert OmegaConf.load(sweep.folder / "0" / ".hydra" / "config.yaml").scale == 0


def test_other_bounds_need_another_study(sweep) -> None:
    sweep.run('hydra.sweeper.constraints={energy_mj: "<= 9"}', "hydra.sweeper.n_trials=1")
    output = sweep.run('hydra.sweeper.constraints={energy_mj: "<= 1"}', "hydra.sweeper.resume_changed=true", code=2)
    assert "constraints.energy_mj was <= 9, is now <= 1; Optuna keeps how each trial was judged" in output


def test_a_seeded_grid_that_is_resumed_tries_every_point_once(sweep) -> None:
    grid = ("hydra/sweeper/sampler=grid", "x=range(0,10)", "hydra.sweeper.seed=3")
    sweep.run(*grid, "hydra.sweeper.n_trials=4")
    sweep.run(*grid, "hydra.sweeper.n_trials=7", "hydra.sweeper.seed=5")
    sweep.run(*grid, "hydra.sweeper.n_trials=50")
    assert sorted(t.params["x"] for t in sweep.trials(TrialState.COMPLETE)) == list(range(10))
    assert len(sweep.trials()) == 10
    # A larger grid has points that the smaller one had not.
    sweep.run("hydra/sweeper/sampler=grid", "x=range(0,12)", "hydra.sweeper.n_trials=50")
    assert {t.params["x"] for t in sweep.trials(TrialState.COMPLETE)} == set(range(12))


def test_the_last_point_of_a_grid_runs_again_when_it_was_killed(sweep) -> None:
    sweep.run("hydra/sweeper/sampler=grid", "x=choice(1,2,3)", "chosen=kill", "hydra.sweeper.n_jobs=1")
    assert sorted(t.params["x"] for t in sweep.trials(TrialState.COMPLETE)) == [1, 2, 3]
    assert not sweep.trials(TrialState.WAITING)
    assert len(sweep.trials(TrialState.FAIL)) == 3


def test_a_command_that_always_fails_always_says_so_until_its_failures_run_again(sweep) -> None:
    command = ("hydra/sweeper/sampler=grid", "x=choice(1,2)", "hydra.sweeper.n_jobs=1")
    codes = []
    for _ in range(3):  # the third would find no point left where the second had burnt the other
        process = sweep.start(*command, "chosen=raise")
        codes.append(process.wait(LIMIT_S))
    assert codes == [2] * 3
    assert "hydra.sweeper.retry_failed=true runs them again" in sweep.printed
    assert len(sweep.trials()) == 1  # the others were not burnt too
    mended = ("chosen=null", "hydra.sweeper.resume_changed=true", "hydra.sweeper.retry_failed=true")
    sweep.run(*command, *mended)
    assert sorted(t.params["x"] for t in sweep.trials(TrialState.COMPLETE)) == [1, 2]
    assert len(sweep.trials()) == 3
    sweep.run(*command, *mended)  # and only once
    assert len(sweep.trials()) == 3


def test_a_sweep_of_which_nothing_completed_is_no_success(sweep) -> None:
    output = sweep.run("chosen=raise", "hydra.sweeper.max_failure_rate=1", "hydra.sweeper.n_trials=2", code=2)
    assert output.splitlines()[-1] == "sweep: no trial completed: 2 failed, 0 were pruned"


def test_a_changed_space_is_listed_and_followed_where_optuna_can(sweep) -> None:
    sweep.run("hydra.sweeper.n_trials=2", "optimizer=sgd,adamw")
    output = sweep.run("hydra.sweeper.n_trials=4", "x=interval(-1,1)", "optimizer=sgd,adamw", "n=range(1,3)")
    assert "x was interval(-5.0,5.0), is now interval(-1.0,1.0)" in output
    assert "n is new" in output
    assert len(sweep.trials(TrialState.COMPLETE)) == 4
    output = sweep.run("hydra.sweeper.n_trials=5", "x=choice(1,2)", "optimizer=sgd,adamw", code=2)
    assert "x was interval(-5.0,5.0), is now choice(1,2)" in output or "x was interval(-1.0" in output
    output = sweep.run("hydra.sweeper.n_trials=5", "hydra.sweeper.direction=maximize", code=2)
    assert "direction was minimize, is now maximize" in output


def test_a_dead_server_of_the_workers_is_replaced(sweep) -> None:
    sweep.hold.touch()
    sweep.start("hydra.sweeper.n_trials=3", "hydra.sweeper.retries=2", f"hold={sweep.hold}")
    sweep.wait_for(lambda: sweep.held() == 2)
    parent = int(
        open(f"/proc/{sweep.worker_pids()[0]}/stat").read().rpartition(")")[2].split()[1]  # noqa: SIM115
    )
    os.kill(parent, signal.SIGKILL)
    sweep.wait_for(lambda: "server died" in sweep.printed)
    sweep.hold.unlink()
    sweep.end()
    assert len(sweep.trials(TrialState.COMPLETE)) == 3
