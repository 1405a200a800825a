"""The loop of a sweep: ask, start, listen, tell, until the budget is spent; a free worker never waits for a batch."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from optuna.terminator import BaseTerminator
from optuna.trial import Trial

from spikeyolo.errors import SweepError
from spikeyolo.sweep.messages import (
    Completed,
    Ended,
    Event,
    Failed,
    Interrupted,
    Order,
    Outcome,
    PruneAsked,
    Pruned,
    Report,
    Started,
    state_of,
)
from spikeyolo.sweep.report.console import SweepConsole
from spikeyolo.sweep.report.observer import Observer, TrialRecord
from spikeyolo.sweep.study.ledger import BEAT_S, ERROR, FOLDER, RUN_ID
from spikeyolo.sweep.study.storage import StorageAwayError
from spikeyolo.sweep.study.study import OvertakenError, SweepStudy

__all__ = ["Executor", "Limits", "SweepLoop"]

POLL_S = 0.25
INTERRUPTIONS = 3  # of one trial from outside, before it counts as failed
OTHERS_S = 2.0  # between looks at what other controllers do


class Executor(Protocol):
    """What runs trials: the local pool, or a Hydra launcher."""

    @property
    def free(self) -> int: ...

    @property
    def running(self) -> Sequence[int]: ...

    @property
    def capacity(self) -> int: ...

    def start(self, order: Order) -> None: ...

    def poll(self, timeout_s: float) -> list[Event]: ...

    def answer(self, number: int, prune: bool) -> None: ...

    def kill(self, number: int) -> None: ...

    def interrupt(self, grace_s: float) -> list[Event]: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Limits:
    """When a sweep stops before its budget is spent."""

    timeout_s: float | None = None
    max_failure_rate: float = 0.0
    grace_s: float = 10.0  # for running trials to stop cleanly


class SweepLoop:
    """Runs trials of a study on an executor.

    Args:
        draw: suggests a trial's parameters; returns all overrides of its job.
        observer: who looks on, or None.
        keep_pruned: whether pruned trials keep their checkpoints.
    """

    def __init__(
        self,
        *,
        study: SweepStudy,
        executor: Executor,
        draw: Callable[[Trial], list[str]],
        console: SweepConsole,
        limits: Limits,
        terminator: BaseTerminator | None = None,
        observer: Observer | None = None,
        keep_pruned: bool = False,
    ) -> None:
        self.study = study
        self.executor = executor
        self._draw = draw
        self._console = console
        self._limits = limits
        self._terminator = terminator
        self._observer = observer
        self._keep_pruned = keep_pruned
        self._trials: dict[int, Trial] = {}
        self._folders: dict[int, str] = {}
        self._interruptions: Counter[int] = Counter()
        self._stopping = False
        self._begun = time.monotonic()
        self._stop_reason = ""
        self._own_until = 0.0  # when to look again whether the trials are still ours
        self._look_again = 0.0  # when to ask for a trial again after the budget seemed spent
        self._prunes = len(study.study.directions) == 1

    def run(self) -> None:
        """Run until the budget is spent, the time is over or the terminator says so.

        Raises:
            SweepError: too many trials failed, or the storage went away.
            KeyboardInterrupt: stopped from outside; running trials have been put back.
        """
        announced = False
        self._check_failures()
        try:
            while True:
                self._fill()
                if not self.executor.running:
                    if self._stop_reason or not self._others_run():
                        break
                    if not announced:
                        self._console.say("the budget is taken; waiting for the trials of other controllers")
                        announced = True
                    time.sleep(OTHERS_S)
                    continue
                for event in self.executor.poll(POLL_S):
                    self._handle(event)
                self._check_owned()
        except BaseException as error:
            self._stop(put_back=not isinstance(error, StorageAwayError))
            raise
        if self._stop_reason or self.study.exhausted:
            self._console.say(self._stop_reason or "the sampler has tried every combination")

    def _others_run(self) -> bool:
        self.study.recover()
        counts = self.study.counts()
        return counts.running > 0 or (counts.waiting > 0 and counts.running + counts.finished < self.study.n_trials)

    def _fill(self) -> None:
        if self._limits.timeout_s is not None and time.monotonic() - self._begun > self._limits.timeout_s:
            self._stop_reason = f"the time limit of {self._limits.timeout_s:g} s is reached"
        while self.executor.free and not self._stop_reason and time.monotonic() >= self._look_again:
            trial = self.study.claim()
            if trial is None:
                # Only the end of a trial can free a place: of ours at once, of others' we learn by looking.
                self._look_again = time.monotonic() + OTHERS_S
                return
            self._trials[trial.number] = trial
            overrides = self.study.overrides(trial, self._draw)
            order = Order(
                number=trial.number,
                overrides=tuple(overrides),
                params=dict(trial.params),
                trial_id=trial._trial_id,
                owner=self.study.ownership.owner,
                observer=self._observer,
            )
            self._console.begun(trial.number, order.params)
            self.executor.start(order)
            self._show()

    def _handle(self, event: Event) -> None:
        trial = self._trials.get(event.number)
        if trial is None:
            return
        try:
            if isinstance(event, Started):
                self._folders[event.number] = event.folder
                self.study.note(trial, {FOLDER: event.folder})
            elif isinstance(event, Report):
                self._console.reported(event.number, event.value, event.step)
                if self._prunes:
                    self.study.report(trial, event.value, event.step)
            elif isinstance(event, PruneAsked):
                self.executor.answer(event.number, self._prunes and self.study.should_prune(trial))
            else:
                self._look_again = 0.0
                self._end(trial, event)
        except OvertakenError:
            self._give_up(trial.number)

    def _check_owned(self) -> None:
        """Two machines must not run one trial for long: whoever was overtaken stops."""
        if time.monotonic() < self._own_until:
            return
        self._own_until = time.monotonic() + BEAT_S
        for trial in list(self._trials.values()):
            if not self.study.owns(trial):
                self._give_up(trial.number)

    def _give_up(self, number: int) -> None:
        del self._trials[number]
        self.executor.kill(number)
        self._console.dropped(number)

    def _end(self, trial: Trial, event: Ended) -> None:
        if not self.study.owns(trial):
            raise OvertakenError
        outcome: Outcome = event.outcome
        if isinstance(outcome, Interrupted) and not self._stopping:
            self._interruptions[trial.number] += 1
            if self._interruptions[trial.number] > INTERRUPTIONS:
                outcome = Failed(f"the trial was interrupted {INTERRUPTIONS + 1} times, and not by this sweep")
        outcome = self.study.judge(trial, outcome, event.metrics)
        folder = self._folders.get(trial.number, "")
        run_id = event.run_id
        if self._observer is not None and (not event.logged or isinstance(outcome, Failed)):
            record = TrialRecord(
                number=trial.number, params=trial.params, state=state_of(outcome), run_id=run_id, metrics=event.metrics
            )
            run_id = self._observer.complete_trial(record, logged=event.logged)
        if run_id is not None:
            self.study.note(trial, {RUN_ID: run_id})
        retried = self.study.finish(trial, outcome, event.metrics)
        del self._trials[trial.number]
        if isinstance(outcome, Pruned) and folder and not self._keep_pruned:
            shutil.rmtree(Path(folder) / "checkpoints", ignore_errors=True)
        self._show()
        self._console.ended(trial.number, outcome, folder, retried)
        if isinstance(outcome, Failed) and not retried and not self._stopping:
            self._check_failures()
        if (
            isinstance(outcome, Completed)
            and self._terminator is not None
            and not self._stop_reason
            and self.study.terminates(self._terminator)
        ):
            self._stop_reason = "the terminator sees no room for improvement"

    def _check_failures(self) -> None:
        """
        Raises:
            SweepError: more trials of the study have failed, in all its runs, than may.
        """
        failed = self.study.failed()
        if failed and len(failed) > self._limits.max_failure_rate * self.study.n_trials:
            last = failed[-1]
            raise SweepError(
                f"{len(failed)} of {self.study.n_trials} trials failed, more than max_failure_rate="
                f"{self._limits.max_failure_rate:g} allows (once the cause is mended, hydra.sweeper.retry_failed=true "
                f"runs them again); the last, trial {last.number}: {last.user_attrs.get(ERROR, 'unknown')}"
            )

    def _show(self) -> None:
        best = self.study.best()
        shown = None if best is None else (best.number, list(best.values), dict(best.params))
        self._console.update(self.study.counts(), shown)

    def _stop(self, *, put_back: bool) -> None:
        """Stop what runs and put it back; where the storage is away there is nothing to tell."""
        self._stopping = True
        for event in self.executor.interrupt(self._limits.grace_s):
            if put_back:
                self._handle(event)
        if put_back:
            # Those that never got as far as a process.
            for trial in list(self._trials.values()):
                with contextlib.suppress(OvertakenError):
                    self.study.finish(trial, Interrupted(), {})
            self._trials.clear()
