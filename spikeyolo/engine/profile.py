"""Where a training step goes: a trace for a viewer, and a table of its phases. The training goes on meanwhile."""

from __future__ import annotations

import logging
import time

import torch

from spikeyolo.engine.callbacks import Callback, Outcome, Run
from spikeyolo.engine.task import Task
from spikeyolo.engine.update.phases import PHASES, Phases
from spikeyolo.errors import ConfigError, TrainingError

WARM_UP, STEPS = 10, 5

log = logging.getLogger(__name__)


class Profile(Callback):
    """After a warm-up, traces some steps with torch's profiler, then takes the time of the phases of as many more.

    Both in one epoch, so that no validation lies between. ``profile/trace.json.gz`` opens in Perfetto
    (ui.perfetto.dev) and in ``chrome://tracing``; ``profile/steps.txt`` is the table. On a GPU each phase of the table
    waits for its own work, so that the steps of the table take longer than others.

    Args:
        phases: of the step.
        device: of the training.
        task: whose folder and logger get the files.

    Raises:
        ConfigError: an epoch has fewer than three batches.
    """

    def __init__(self, phases: Phases, device: torch.device, task: Task) -> None:
        self._batches = len(task.train)
        if self._batches < 3:
            raise ConfigError(
                f"trainer.profile: found true, with {self._batches} batches an epoch; expected at least 3, one to warm "
                "up, one to trace and one to time (a smaller data.batch_size)"
            )
        self._warm_up = min(WARM_UP, self._batches // 3)
        self._steps = min(STEPS, (self._batches - self._warm_up) // 2)
        self._phases = phases
        self._device = device
        self._folder, self._logger = task.folder / "profile", task.logger
        self._seen = 0  # training batches of this process
        self._began = 0.0
        self._until = 0  # the batch of the epoch after which what goes on now ends
        self._profiler: torch.profiler.profile | None = None
        self._done = False

    def after_batch(self, run: Run) -> Outcome:
        batch, phases = run.position.batch, self._phases
        if self._done:
            return Outcome.CONTINUE
        if phases.looking is None:
            self._seen += 1
            if self._seen >= self._warm_up and batch + 2 * self._steps <= self._batches:
                self._trace(batch)
        elif batch < self._until:
            pass
        elif phases.looking == "trace":
            self._keep_trace()
            phases.looking, phases.seconds, self._until = "time", {}, batch + self._steps
            self._began = time.perf_counter()
        else:
            phases.looking, self._done = None, True
            self._keep_table(time.perf_counter() - self._began)
        return Outcome.CONTINUE

    def _trace(self, batch: int) -> None:
        kinds = [torch.profiler.ProfilerActivity.CPU]
        if self._device.type == "cuda":
            kinds.append(torch.profiler.ProfilerActivity.CUDA)
        self._profiler = torch.profiler.profile(activities=kinds)
        self._phases.looking, self._until = "trace", batch + self._steps
        self._profiler.start()

    def _keep_trace(self) -> None:
        assert self._profiler is not None
        self._profiler.stop()
        path = self._folder / "trace.json.gz"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._profiler.export_chrome_trace(str(path))
        except OSError as error:
            raise TrainingError(f"{path}: cannot be written ({error.strerror or error})") from error
        self._profiler = None
        self._logger.log_artifact(path, "profile")

    def _keep_table(self, seconds: float) -> None:
        table = phase_table(self._phases.seconds, seconds, steps=self._steps)
        path = self._folder / "steps.txt"
        try:
            path.write_text(table + "\n")
        except OSError as error:
            raise TrainingError(f"{path}: cannot be written ({error.strerror})") from error
        self._logger.log_artifact(path, "profile")
        log.info("%s\ntrace of %d steps: %s", table, self._steps, self._folder / "trace.json.gz")


def phase_table(seconds: dict[str, float], whole: float, *, steps: int) -> str:
    """One line a phase: milliseconds of a step and their share; the rest is meters, callbacks and the console.

    Args:
        seconds: of each phase, over all the steps.
        whole: seconds of the steps.
        steps: how many.
    """
    known = {name: seconds[name] for name in PHASES if name in seconds}
    rows = {**known, "rest": whole - sum(known.values()), "step": whole}
    lines = [f"{name:<10}{1e3 * spent / steps:10.2f} ms{spent / whole:8.1%}" for name, spent in rows.items()]
    return "\n".join([f"where a training step goes, mean of {steps}", *lines])
