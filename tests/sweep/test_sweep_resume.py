"""Nothing is lost: killed controllers, Ctrl-C, torn journals, changed spaces."""

from __future__ import annotations

import os
import signal

from conftest import is_running
from optuna.trial import TrialState


def test_a_killed_controller_takes_its_workers_along_and_the_same_command_goes_on(sweep) -> None:
    sweep.run("hydra.sweeper.n_trials=2")
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
    sweep.run("hydra.sweeper.n_trials=10", "sleep=0")
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
