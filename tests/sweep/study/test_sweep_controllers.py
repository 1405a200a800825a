"""Who runs a trial, and who may tell of it: controllers that die, stand still, or are cut off from the storage."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from spikeyolo.sweep.loop import Limits, SweepLoop
from spikeyolo.sweep.messages import Completed, Ended, Event, Interrupted, Order, Report, Started
from spikeyolo.sweep.space import read_space
from spikeyolo.sweep.study import ledger
from spikeyolo.sweep.study.ledger import BEAT_S, CONTROLLER, SILENCE_S, Heartbeat, Ownership
from spikeyolo.sweep.study.storage import open_storage, patiently
from spikeyolo.sweep.study.study import OvertakenError, SweepStudy

THEIRS = "another/boot/1|17|1.0|abcd"
SPACE = read_space({"x": "interval(0,1)"}, [])


@pytest.fixture(params=["journal", "sqlite"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{tmp_path}/study.journal" if request.param == "journal" else f"sqlite:///{tmp_path}/study.db"


def controller(address: str, folder: Path, machine: str | None = None, n_trials: int = 1) -> SweepStudy:
    storage = open_storage(address)
    study = SweepStudy.open(
        storage=storage,
        name="s",
        directions=["minimize"],
        sampler=optuna.samplers.RandomSampler(seed=0),
        pruner=optuna.pruners.NopPruner(),
    )
    made = SweepStudy(
        study=study, storage=storage, folder=folder, n_trials=n_trials, ownership=Ownership(machine=machine)
    )
    made.join()
    return made


class Clock:
    """A clock that a test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("spikeyolo.sweep.study.ledger.time.monotonic", lambda: self.now)

    def watch(self, ours: Ownership, beats: dict[str, object], seconds: float) -> bool:
        """Look every few seconds, as the heartbeat does; returns whether the other lives at the end."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + BEAT_S)
            ours.watch(beats)
        return ours.is_alive(THEIRS, beats)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_controller_elsewhere_is_dead_after_a_minute_of_silence(clock: Clock) -> None:
    ours = Ownership()
    beats: dict[str, object] = {CONTROLLER + THEIRS: 1}
    assert ours.is_alive(THEIRS, beats)
    assert clock.watch(ours, beats, SILENCE_S - 1)
    beats = {CONTROLLER + THEIRS: 2}
    assert ours.is_alive(THEIRS, beats)
    assert clock.watch(ours, beats, SILENCE_S - 1)
    assert not clock.watch(ours, beats, 2)
    assert not ours.is_alive("another/boot/1|18|1.0|abcd", {f"{CONTROLLER}another/boot/1|18|1.0|abcd": "ended"})


def test_while_the_storage_is_away_nobody_is_silent(clock: Clock) -> None:
    ours = Ownership()
    beats: dict[str, object] = {CONTROLLER + THEIRS: 1}
    assert clock.watch(ours, beats, SILENCE_S - 1)
    calls = iter([OSError("away"), None])

    def read() -> None:
        clock.now += 300
        error = next(calls)
        if error is not None:
            raise error

    patiently(read, patience_s=1e9, what="reading", on_failure=ours.forget)
    assert ours.is_alive(THEIRS, beats)  # it could not write either
    assert clock.watch(ours, beats, SILENCE_S - 1)
    assert not clock.watch(ours, beats, 2)


def test_who_stood_still_itself_does_not_think_the_others_dead(clock: Clock) -> None:
    ours = Ownership()
    beats: dict[str, object] = {CONTROLLER + THEIRS: 1}
    assert ours.is_alive(THEIRS, beats)
    clock.now += 10 * SILENCE_S
    assert ours.is_alive(THEIRS, beats)


def test_a_process_is_the_same_after_its_machines_clock_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        ours = Ownership()
        before = f"{ours.machine}|{child.pid}|{ledger._start_time(child.pid)}|abcd"
        # What a step of the clock changes: the time of day at which the machine started.
        monkeypatch.setattr("psutil._pslinux.boot_time", lambda: 12345.0)
        monkeypatch.setattr("psutil.boot_time", lambda: 12345.0)
        assert ours.is_alive(before, {})
    finally:
        child.kill()
        child.wait(10)
    assert not ours.is_alive(before, {})


def test_signs_of_life_are_given_while_the_loop_is_busy(address: str, tmp_path: Path) -> None:
    study = controller(address, tmp_path)
    beaten = threading.Event()

    def beat() -> None:
        study.beat()
        if study.study.user_attrs[CONTROLLER + study.ownership.owner] >= 2:
            beaten.set()

    with Heartbeat(beat, failures=(), on_failure=lambda: None, every_s=0.001):
        assert beaten.wait(60)  # this thread, the loop's, does nothing else


def test_a_heartbeat_outlives_a_storage_that_is_away() -> None:
    calls = []
    again = threading.Event()
    forgotten = threading.Event()

    def beat() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise OSError("away")
        again.set()

    with Heartbeat(beat, failures=(OSError,), on_failure=forgotten.set, every_s=0.001):
        assert again.wait(60)
    assert forgotten.is_set()


def overtake(address: str, folder: Path) -> tuple[SweepStudy, optuna.Trial, SweepStudy, optuna.Trial]:
    """A controller that stood still, its trial, and the healthy one that has put it back and claimed it."""
    slow, healthy = controller(address, folder, "slow"), controller(address, folder, "healthy")
    old = slow.claim()
    assert old is not None
    SPACE.suggest(old, lambda key: None)
    slow.note(old, {"note": 1})
    healthy.ownership._silence = lambda owner, beat: SILENCE_S + 1  # type: ignore[method-assign]
    new = healthy.claim()
    assert new is not None
    assert new.number == old.number
    return slow, old, healthy, new


def test_who_was_overtaken_tells_nothing_of_the_trial(address: str, tmp_path: Path) -> None:
    slow, old, healthy, new = overtake(address, tmp_path)
    assert not slow.owns(old)
    for act in (
        lambda: slow.report(old, 7.0, 0),
        lambda: slow.note(old, {"note": 2}),
        lambda: slow.finish(old, Completed((7.0,)), {"m": 7.0}),
        lambda: slow.finish(old, Interrupted(), {}),
    ):
        with pytest.raises(OvertakenError):
            act()
    healthy.report(new, 1.0, 0)
    healthy.finish(new, Completed((1.0,)), {})
    (trial,) = healthy.trials()
    assert (trial.state, trial.value, trial.intermediate_values) == (TrialState.COMPLETE, 1.0, {0: 1.0})
    assert trial.user_attrs["note"] == 1
    assert "sweep:metrics" not in trial.user_attrs


class Executor:
    """Plays the events of trials that a test gives."""

    capacity = free = 1

    def __init__(self, *events: Event) -> None:
        self.events = list(events)
        self.killed: list[int] = []
        self.started: list[int] = []

    @property
    def running(self) -> list[int]:
        return [number for number in self.started if number not in self.killed]

    def start(self, order: Order) -> None:
        self.started.append(order.number)
        self.free = 0

    def poll(self, timeout_s: float) -> list[Event]:
        return [self.events.pop(0)] if self.events else []

    def answer(self, number: int, prune: bool) -> None: ...

    def kill(self, number: int) -> None:
        self.killed.append(number)

    def interrupt(self, grace_s: float) -> list[Event]:
        return []

    def close(self) -> None: ...


class Silent:
    """A console that keeps what it is told."""

    def __init__(self) -> None:
        self.dropped_trials: list[int] = []

    def dropped(self, number: int) -> None:
        self.dropped_trials.append(number)

    def __getattr__(self, name: str) -> object:
        return lambda *args, **kwargs: None


@pytest.mark.parametrize(
    "event", [Report(0, 7.0, 0), Started(0, "folder"), Ended(0, Completed((7.0,)))], ids=["report", "start", "end"]
)
def test_a_loop_whose_trial_was_taken_over_stops_it_and_goes_on(event: Event, address: str, tmp_path: Path) -> None:
    slow, healthy = controller(address, tmp_path, "slow"), controller(address, tmp_path, "healthy")
    healthy.ownership._silence = lambda owner, beat: SILENCE_S + 1  # type: ignore[method-assign]
    executor, console = Executor(event), Silent()

    def poll(timeout_s: float) -> list[Event]:
        new = healthy.claim()  # while the slow one stands still
        assert new is not None
        healthy.finish(new, Completed((1.0,)), {})
        executor.poll = lambda timeout_s: executor.events[:1] or []  # type: ignore[method-assign]
        return [event]

    executor.poll = poll  # type: ignore[method-assign]
    SweepLoop(
        study=slow,
        executor=executor,
        draw=lambda trial: SPACE.suggest(trial, lambda key: None),
        console=console,  # type: ignore[arg-type]
        limits=Limits(),
    ).run()
    assert executor.killed == console.dropped_trials == [0]
    (trial,) = healthy.trials()
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 1.0)


def test_a_loop_looks_whether_its_trials_are_still_its_own(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spikeyolo.sweep.loop.BEAT_S", 0.0)
    slow, healthy = controller(address, tmp_path, "slow"), controller(address, tmp_path, "healthy")
    healthy.ownership._silence = lambda owner, beat: SILENCE_S + 1  # type: ignore[method-assign]
    executor, console = Executor(), Silent()

    def poll(timeout_s: float) -> list[Event]:
        new = healthy.claim()
        assert new is not None
        healthy.finish(new, Completed((1.0,)), {})
        return []  # the slow one's trial reports nothing

    executor.poll = poll  # type: ignore[method-assign]
    SweepLoop(
        study=slow,
        executor=executor,
        draw=lambda trial: SPACE.suggest(trial, lambda key: None),
        console=console,  # type: ignore[arg-type]
        limits=Limits(),
    ).run()
    assert executor.killed == [0]


def test_ones_own_process_is_known_by_its_ticks() -> None:
    fields = Path(f"/proc/{os.getpid()}/stat").read_text().rpartition(")")[2].split()
    assert Ownership().owner.split("|")[2] == fields[19]
