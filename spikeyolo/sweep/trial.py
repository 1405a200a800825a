"""What a run sees of its trial: ``current_trial()`` is None outside a sweep, else reports, prunes and records.

    reporter = current_trial()
    if reporter is not None:
        reporter.report(map50, step=epoch)
        if reporter.should_prune():
            raise TrialPruned

The sweep hands the trial over in one environment variable, so this works in any process that runs a trial: a worker of
this machine (which talks to its controller over a socket) or a job of a cluster (which talks to the study's storage).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

__all__ = ["TRIAL_VARIABLE", "TrialPruned", "TrialReporter", "current_trial", "trial_name"]

TRIAL_VARIABLE = "SPIKEYOLO_SWEEP_TRIAL"


class TrialPruned(Exception):  # noqa: N818 - the name Optuna's users know
    """Raised by a run that gives up because its trial is hopeless; ends the trial as PRUNED, not as failed."""


class Channel(Protocol):
    """The way from a trial to its study."""

    def report(self, value: float, step: int) -> None: ...

    def should_prune(self) -> bool: ...

    def record(self, metrics: Mapping[str, float]) -> None: ...

    def attach_run(self, run_id: str) -> None: ...


class TrialReporter:
    """One trial as its run sees it.

    Attributes:
        number: of the trial, which is also the job's number.
        params: the searched keys and their values.
        context: what the sweep's observer (a tracking server) gives each trial to know, empty where there is none.
    """

    def __init__(
        self,
        *,
        number: int,
        params: Mapping[str, Any],
        channel: Channel,
        context: Mapping[str, str] | None = None,
    ) -> None:
        self.number = number
        self.params = dict(params)
        self.context = dict(context or {})
        self._channel = channel

    @property
    def name(self) -> str:
        """What tells this trial from others at a glance, such as ``#12 gamma 1.7 box 5.1``."""
        return trial_name(self.number, self.params)

    @property
    def parent_run_id(self) -> str | None:
        """The sweep's run on the tracking server, None where there is none."""
        return self.context.get("parent_run_id")

    def report(self, value: float, step: int) -> None:
        """Report the first objective after a step (an epoch); only the first report of a step counts."""
        self._channel.report(float(value), int(step))

    def should_prune(self) -> bool:
        """Whether the pruner gives the trial up after the last report."""
        return self._channel.should_prune()

    def record(self, metrics: Mapping[str, float]) -> None:
        """Record metrics of the trial, such as those that ``constraints`` names; later values win."""
        self._channel.record({str(name): float(value) for name, value in metrics.items()})

    def attach_run(self, run_id: str) -> None:
        """Say which run of the tracking server is this trial's, so that the sweep adds its number and state to it."""
        self._channel.attach_run(run_id)


PLAIN = ("focal", "weight")  # words of a key that tell nothing beside the others


def trial_name(number: int, params: Mapping[str, Any]) -> str:
    """A trial's number and values, each after the telling words of its key; a group's option stands alone."""
    keys = {key: key.lstrip("+").rpartition(".")[2] for key in params}
    short = {key: " ".join([w for w in last.split("_") if w not in PLAIN] or [last]) for key, last in keys.items()}
    parts = [f"#{number}"]
    for key, value in params.items():
        text = f"{value:.3g}" if isinstance(value, float) else str(value)
        if "." in key:
            twice = list(short.values()).count(short[key]) > 1
            parts.append(key.lstrip("+") if twice else short[key])
        parts.append(text)
    return " ".join(parts)


class PipeChannel:
    """Messages to the controller over an inherited socket; only the question whether to prune waits for an answer."""

    def __init__(self, descriptor: int) -> None:
        from multiprocessing.connection import Connection

        # The descriptor belongs to the worker; a duplicate may be closed with this object.
        self._connection: Connection = Connection(os.dup(descriptor))

    def report(self, value: float, step: int) -> None:
        self._send("report", value, step)

    def should_prune(self) -> bool:
        self._send("prune?")
        try:
            return bool(self._connection.recv())
        except (EOFError, OSError) as error:
            raise SystemExit("the sweep's controller is gone") from error

    def record(self, metrics: Mapping[str, float]) -> None:
        self._send("record", dict(metrics))

    def attach_run(self, run_id: str) -> None:
        self._send("run", run_id)

    def _send(self, *message: object) -> None:
        try:
            self._connection.send(message)
        except OSError as error:
            raise SystemExit("the sweep's controller is gone") from error


def current_trial() -> TrialReporter | None:
    """The trial this process runs, or None outside a sweep and in processes that the trial starts.

    Raises:
        SweepError: the study's storage cannot be reached from here.
    """
    text = os.environ.get(TRIAL_VARIABLE)
    if not text:
        return None
    context: dict[str, Any] = json.loads(text)
    owner = context.pop("pid", None)
    if owner is not None and owner != os.getpid():
        return None
    descriptor, storage = context.pop("descriptor", None), context.pop("storage", None)
    channel: Channel
    if descriptor is not None:
        channel = PipeChannel(descriptor)
    else:
        from spikeyolo.sweep.workers.cluster import StorageChannel

        channel = StorageChannel(**storage)
    return TrialReporter(channel=channel, **context)
