"""A sweep from the command line: what it runs, what it leaves, how it fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf
from optuna.trial import TrialState

from spikeyolo.sweep.study.ledger import ERROR, RETRY_OF


def test_a_sweep_leaves_results_a_configuration_that_runs_and_figures(sweep) -> None:
    sweep.warm = False  # from the first to the last moment as a user's command
    output = sweep.run(
        "hydra.sweeper.n_trials=8",
        "hydra.sweeper.figures=true",
        "optimizer=sgd,adamw",
        "hydra.sweeper.enqueue=[defaults]",
        "n=range(1,4)",
        "hydra.sweeper.when={n: 'optimizer=adamw'}",
    )
    trials = sweep.trials()
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 8
    # The configuration's own values came first; n exists only with adamw.
    assert trials[0].params == {"x": 1.0, "optimizer": "sgd"}
    assert all(("n" in t.params) == (t.params["optimizer"] == "adamw") for t in trials)
    best = sweep.study.best_trial
    results = OmegaConf.load(sweep.folder / "optimization_results.yaml")
    assert results.name == "optuna"
    assert results.best_params == best.params
    assert results.best_value == best.value
    assert f"x={best.params['x']}" in results.overrides
    assert results.overrides in output
    config = OmegaConf.load(sweep.folder / "best_config.yaml")
    assert config.x == best.params["x"]
    assert "sweeper" not in config.hydra  # it runs once
    assert config.optimizer.momentum == (0.5 if best.params["optimizer"] == "sgd" else 0.0)
    figures = {path.name for path in (sweep.folder / "figures").iterdir()}
    for name in ("optimization_history", "parallel_coordinate", "slice", "timeline", "intermediate_values"):
        assert f"{name}.png" in figures
    # Jobs are numbered as trials, and their folders hold what Hydra's own launchers leave.
    for trial in trials:
        job = sweep.folder / str(trial.number)
        assert (job / ".hydra" / "config.yaml").exists()
        assert OmegaConf.load(job / ".hydra" / "config.yaml").x == trial.params["x"]
        assert "sweep:folder" in trial.user_attrs
    assert len(set(sweep.worker_pids())) == 8


def test_a_failure_takes_only_its_trial_and_is_told_with_its_folder(sweep) -> None:
    messages = {
        "raise": "ValueError: no luck with this x",
        "segfault": "killed by SIGSEGV",
        "exit": "exit code 3",
        "leave": "exit code 5",
        "stop": "interrupted 4 times",
        "not_a_number": "returned NaN",
        "none": "returned None",
        "string": "returned 'good'",
        "well": "",
    }
    output = sweep.run(
        f"chosen={','.join(messages)}",
        "x=-1",
        "hydra/sweeper/sampler=grid",
        "hydra.sweeper.n_trials=50",
        "hydra.sweeper.max_failure_rate=1.0",
        "hydra.sweeper.retries=0",
    )
    trials = {t.params["chosen"]: t for t in sweep.trials()}
    assert trials.keys() == messages.keys()
    for chosen, message in messages.items():
        trial = trials[chosen]
        assert trial.state == (TrialState.FAIL if message else TrialState.COMPLETE), chosen
        if message:
            assert message in trial.user_attrs[ERROR]
            assert message in output
            assert str(sweep.folder / str(trial.number)) in output


def test_too_many_failures_stop_the_sweep_with_one_line(sweep) -> None:
    output = sweep.run("chosen=raise", "hydra.sweeper.n_trials=20", code=2)
    assert "max_failure_rate=0 allows (once the cause is mended, hydra.sweeper.retry_failed" in output.splitlines()[-1]
    assert "the last, trial" in output.splitlines()[-1]
    assert len(sweep.trials(TrialState.FAIL)) <= 2
    assert not sweep.trials(TrialState.RUNNING)


def test_a_killed_worker_fails_and_its_parameters_run_again(sweep) -> None:
    output = sweep.run("chosen=kill", "hydra.sweeper.n_trials=4")
    complete, failed = sweep.trials(TrialState.COMPLETE), sweep.trials(TrialState.FAIL)
    assert len(complete) == 4
    assert len(failed) == 4  # each died once
    retried = {t.user_attrs[RETRY_OF]: t.params for t in complete}
    assert retried == {t.number: t.params for t in failed}
    assert "killed by SIGKILL" in output


def test_a_pruned_trial_is_no_failure_and_leaves_no_checkpoints(sweep) -> None:
    sweep.run("chosen=prune", "chosen_below=0", "hydra.sweeper.enqueue=[{x: -1.0}]", "hydra.sweeper.n_trials=3")
    pruned = sweep.trials(TrialState.PRUNED)
    assert pruned
    assert not (sweep.folder / "0" / "checkpoints").exists()
    assert len(sweep.trials(TrialState.COMPLETE)) + len(pruned) == 3


def test_the_pruner_gives_up_trials_that_report_worse_values(sweep) -> None:
    sweep.run(
        "hydra/sweeper/pruner=threshold",
        "hydra.sweeper.pruner.upper=5.0",
        "hydra.sweeper.n_trials=6",
        "steps=3",
        "hydra.sweeper.enqueue=[{x: -4.0}, {x: 2.0}]",
    )
    for trial in sweep.trials():
        bad = (trial.params["x"] - 2.0) ** 2 + 0.5 + 1.0 > 5.0
        assert (trial.state == TrialState.PRUNED) == bad
    assert sweep.trials()[0].state == TrialState.PRUNED


def test_constraints_keep_a_trial_from_being_the_best(sweep) -> None:
    sweep.run(
        'hydra.sweeper.constraints={energy_mj: "<= 1.0"}',
        "hydra.sweeper.enqueue=[{x: 2.0}, {x: 0.9}]",
        "hydra.sweeper.n_trials=4",
    )
    results = OmegaConf.load(sweep.folder / "optimization_results.yaml")
    assert abs(results.best_params.x) <= 1.0
    assert results.metrics.energy_mj <= 1.0
    assert sweep.study.trials[0].value < results.best_value


def test_two_objectives_leave_a_pareto_front(sweep) -> None:
    sweep.run("hydra.sweeper.direction=[minimize,minimize]", "objectives=2", "hydra/sweeper/sampler=nsgaii")
    results = OmegaConf.load(sweep.folder / "optimization_results.yaml")
    assert {s.trial for s in results.solutions} == {t.number for t in sweep.study.best_trials}
    assert all(len(s["values"]) == 2 for s in results.solutions)


def test_a_grid_is_tried_once_whatever_n_trials_says(sweep) -> None:
    sweep.run("hydra/sweeper/sampler=grid", "x=choice(1,2)", "optimizer=glob(*)", "hydra.sweeper.n_trials=50")
    tried = [(t.params["x"], t.params["optimizer"]) for t in sweep.trials(TrialState.COMPLETE)]
    assert sorted(tried) == [(1, "adamw"), (1, "sgd"), (2, "adamw"), (2, "sgd")]


def test_a_custom_search_space_suggests_more(sweep) -> None:
    sweep.run("hydra.sweeper.custom_search_space=custom_space.configure", "n=7", "hydra.sweeper.n_trials=3")
    assert all(t.user_attrs["n"] == "7" for t in sweep.trials())
    for trial in sweep.trials():
        job = OmegaConf.load(sweep.folder / str(trial.number) / ".hydra" / "config.yaml")
        assert job.optimizer.momentum == trial.params["optimizer.momentum"]


def test_the_time_limit_starts_no_more_trials(sweep) -> None:
    output = sweep.run("hydra.sweeper.timeout=3", "sleep=1", "hydra.sweeper.n_trials=100")
    assert "time limit" in output
    assert 0 < len(sweep.trials(TrialState.COMPLETE)) < 20
    assert not sweep.trials(TrialState.RUNNING)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing=interval(0,1)"], "nothing"),
        (["x=interval(1,0)"], "turned round"),
        (["x=tag(log,interval(0,1))"], "above zero"),
        (["hydra/sweeper/sampler=grid"], "tries every value"),
        (["hydra/sweeper/sampler=cmaes", "hydra.sweeper.direction=[minimize,minimize]"], "one objective"),
        (["hydra.sweeper.direction=up"], "expected minimize, maximize"),
        (["+hydra.sweeper.sampler.speed=3"], "takes no 'speed'"),
        (["hydra.sweeper.n_trials=0"], "n_trials: found 0"),
        (["hydra.sweeper.devices=[0,1,2,3,4,5,6,7,8]"], "asked for, this machine shows"),
        (["hydra.sweeper.storage=postgresql://nobody@127.0.0.1:1/none"], "cannot be opened"),
        (["hydra.sweep.dir=/proc/nowhere"], "cannot be written"),
        (["+hydra.sweeper.pruner.speed=3", "hydra/sweeper/pruner=median"], "takes no 'speed'"),
        (['hydra.sweeper.constraints={energy_mj: "about 3"}'], "constraints.energy_mj"),
        (["hydra.sweeper.when={x: 'optimiser=sgd'}"], "optimiser is neither searched nor a key"),
        (["hydra.sweeper.custom_search_space=no.such.function"], "No module named 'no'"),
        (["hydra.sweeper.workers=many"], "workers: found 'many'"),
    ],
)
def test_bad_input_ends_with_one_line_that_names_it(sweep, arguments: list[str], message: str) -> None:
    output = sweep.run(*arguments, code=2)
    last = output.strip().splitlines()[-1]
    assert last.startswith("sweep: ")
    assert message in last
    assert "Traceback" not in output
    assert not list(Path(sweep.folder).glob("*/starts.txt"))
