"""How a training runs: for how long, on which device, saved how often, gone on from where."""

from __future__ import annotations

import difflib
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt
from torch import nn

from spikeyolo.engine.callbacks import Callback
from spikeyolo.engine.checkpoints import checkpoint
from spikeyolo.engine.checkpoints.restore import check_data, read_training
from spikeyolo.engine.device import Precision, choose_device
from spikeyolo.engine.guards.budget import Clock
from spikeyolo.engine.guards.interrupt import StopRequested, StopWatch
from spikeyolo.engine.run import TrainingRun
from spikeyolo.engine.task import Pruned, Stopped, Task
from spikeyolo.engine.update.average import Average
from spikeyolo.engine.update.optimizer import OptimizerFactory, build_optimizer
from spikeyolo.engine.update.parts import Part, freeze
from spikeyolo.engine.update.schedule import Schedule
from spikeyolo.errors import ConfigError, TrainingError
from spikeyolo.windows.serving.loader import WindowLoader

log = logging.getLogger(__name__)


class Trainer:
    """Trains for ``max_epochs`` or ``max_minutes``, whichever ends first.

    Args:
        max_epochs: passes over the training windows.
        max_minutes: bound by wall clock, from the first batch; learning rates then follow the share of time used
            where that is ahead of the share of epochs, and the last validation falls inside the bound.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``bfloat16`` and ``float16`` run the network under autocast; neuron states and the loss stay in
            float32. ``float16`` scales the loss, for GPUs without bfloat16.
        channels_last: maps and weights lie as ``[N, H, W, C]`` in memory; the same values, other speed.
        gradient_checkpointing: residual blocks compute their inner maps again in the backward pass: less memory for
            about a third more time.
        synchronise_norms: of several processes, norms take the statistics of the whole batch; False takes those of each
            process's own windows: quicker, and other results than those of one process.
        compile: the training network through ``torch.compile``: minutes at the start, then whatever it gains.
        clip_gradient: largest norm of all gradients together; None leaves them.
        accumulate_batches: batches whose mean gradient makes one update.
        nominal_batch: windows of an update: as many batches as come nearest make one; in place of
            ``accumulate_batches``.
        lr_factors: part of the network → factor of its learning rates.
        freeze: parts of the network that are not trained; their norms keep their statistics.
        average: of the weights, which is what is validated and saved; None validates the weights themselves.
        validate_every: epochs from one validation to the next; the last epoch of a run always has one.
        patience: epochs without a better figure after which training stops; None trains on.
        threads: CPU threads of torch; None leaves torch's choice.
        save_minutes: ``checkpoints/last`` is written so often in mid-epoch; None writes it after each epoch only.
        resume: checkpoint folder to go on from, such as ``…/checkpoints/last``; ``auto``: the run folder's own, where
            it has one.
        keep: best epochs whose weights stay, beyond the first in ``checkpoints/epoch_NNNN``.
        select_by: validation figure that decides which checkpoint is ``best`` (larger is better).
        profile: after some batches, write a trace of a few steps and a table of where their time goes.
        preview_schedule: draw the learning rates of the training to come, and train nothing.
        range_test: find a learning rate by trying rising ones, and train nothing more.
        callbacks: more of what is asked between batches and after each epoch, by name.
        clock: seconds; for tests.
    """

    def __init__(
        self,
        *,
        max_epochs: Annotated[int, Ge(1)] = 25,
        max_minutes: Annotated[float, Gt(0)] | None = None,
        device: str = "auto",
        precision: Precision = "float32",
        channels_last: bool = True,
        gradient_checkpointing: bool = False,
        synchronise_norms: bool = True,
        compile: bool = False,
        clip_gradient: Annotated[float, Gt(0)] | None = 10.0,
        accumulate_batches: Annotated[int, Ge(1)] = 1,
        nominal_batch: Annotated[int, Ge(1)] | None = None,
        lr_factors: Mapping[Part, Annotated[float, Gt(0)]] | None = None,
        freeze: Sequence[Part] = (),
        average: Average | None = None,
        validate_every: Annotated[int, Ge(1)] = 1,
        patience: Annotated[int, Ge(1)] | None = None,
        threads: Annotated[int, Ge(1)] | None = None,
        save_minutes: Annotated[float, Gt(0)] | None = 5.0,
        resume: str | None = None,
        keep: Annotated[int, Ge(1)] = 1,
        select_by: str = "map50",
        profile: bool = False,
        preview_schedule: bool = False,
        range_test: bool = False,
        callbacks: Mapping[str, Callback] | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self.max_epochs = max_epochs
        self.max_seconds = None if max_minutes is None else 60.0 * max_minutes
        self.device = choose_device(device)
        self.precision: Precision = precision
        self.channels_last = channels_last
        self.gradient_checkpointing = gradient_checkpointing
        self.synchronise_norms = synchronise_norms
        self.compile = compile
        self.clip_gradient = clip_gradient
        self.accumulate_batches = accumulate_batches
        if nominal_batch is not None and accumulate_batches > 1:
            raise ConfigError(
                f"trainer.nominal_batch: found {nominal_batch} beside trainer.accumulate_batches={accumulate_batches}; "
                "expected one of the two"
            )
        self.nominal_batch = nominal_batch
        self.lr_factors = {str(part): factor for part, factor in (lr_factors or {}).items() if factor != 1.0}
        self.freeze = tuple(freeze)
        self.average = average
        self.validate_every = validate_every
        self.patience = patience
        self.threads = threads
        self.save_minutes = save_minutes
        self.resume = None if resume is None else Path(resume)
        self.keep = keep
        self.select_by = select_by
        self.profile = profile
        self.preview_schedule = preview_schedule
        self.range_test = range_test
        self.callbacks = dict(callbacks or {})
        self._clock = clock

    def fit(self, task: Task) -> dict[str, float]:
        """Train and return the validation figures of the best epoch, with those of the run itself.

        Raises:
            Stopped: the user asked to stop; a checkpoint was saved.
            Pruned: the sweep asked to stop.
            TrainingError: the loss is not finite, or the figures cannot be written.
            CheckpointError: ``resume`` is not a checkpoint of this model, or none can be written.
            ConfigError: the evaluator has no figure of the name ``select_by``.
        """
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        run = TrainingRun(self, task)
        with StopWatch(task.ranks) as stop:
            try:
                with task.ranks.watched(ends=(StopRequested, Pruned)):
                    return run.go(stop)
            except StopRequested:
                run.save_last()
                raise Stopped("stopped", task.folder / "checkpoints" / "last", number=stop.number) from None
            except TrainingError as error:
                last = task.folder / "checkpoints" / "last"
                kept = (
                    f"the last good checkpoint is {last}" if checkpoint.is_there(last) else "there is no checkpoint yet"
                )
                raise TrainingError(f"{error}; {kept}") from error

    def accumulated(self, train: WindowLoader) -> int:
        """Batches of an update."""
        if self.nominal_batch is None:
            return self.accumulate_batches
        return max(1, round(self.nominal_batch / train.sampler.batch_size))

    def planned_rates(self, schedule: Schedule, train: WindowLoader, *, base_lr: float) -> list[float]:
        """The learning rate of each update, where epochs end the training and not the clock."""
        epoch_batches, accumulated = len(train), self.accumulated(train)
        updates = -(-epoch_batches // accumulated)
        batches = [min((number + 1) * accumulated, epoch_batches) - 1 for number in range(updates)]
        return [
            base_lr
            * schedule.factor(
                (epoch * epoch_batches + batch) / (self.max_epochs * epoch_batches),
                base_lr=base_lr,
                max_epochs=self.max_epochs,
                step=epoch * updates + number,
                max_steps=self.max_epochs * updates,
            )
            for epoch in range(self.max_epochs)
            for number, batch in enumerate(batches)
        ]

    def find_checkpoint(self, folder: Path, *, put_back: bool = False) -> None:
        """Let ``resume=auto`` be the run folder's own last checkpoint, or None where there is none.

        Args:
            folder: of the run.
            put_back: whether the run goes on from there without being asked: a sweep's trial that was put back.
        """
        asked = self.resume == Path("auto")
        if not asked and not (put_back and self.resume is None):
            return
        last = folder / "checkpoints" / "last"
        self.resume = last if checkpoint.is_there(last) else None
        if asked and self.resume is None:
            log.info(
                "trainer.resume=auto: %s is not there, a new training begins (a fixed hydra.run.dir finds it again)",
                last,
            )

    def check_selection(self, judged: Mapping[str, float]) -> None:
        """Refuse a ``select_by`` that no figure has, rather than after an epoch.

        Args:
            judged: figures as the evaluator names them.

        Raises:
            ConfigError: none has the name.
        """
        chosen = self.select_by
        if chosen not in judged:
            close = difflib.get_close_matches(chosen, judged, n=1)
            hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(judged)}"
            raise ConfigError(f"trainer.select_by: found {chosen!r}, which is no figure of the evaluator; {hint}")

    def check(self, detector: nn.Module, optimizer: OptimizerFactory, description: Mapping[str, Any]) -> None:
        """Look at the optimizer and at ``resume`` before data is converted for a run that cannot begin.

        Raises:
            ConfigError: the optimizer's class refuses its values, one was changed that cannot take effect, or parts are
                frozen that have no weights from elsewhere.
            CheckpointError: ``resume`` is not a checkpoint of this model and optimizer to go on from.
        """
        freeze(detector, self.freeze)
        if self.freeze and self.resume is None and not (description.get("model") or {}).get("pretrained"):
            raise ConfigError(
                f"trainer.freeze: found {', '.join(self.freeze)} without model.pretrained; parts that are not trained "
                "keep their first, random weights and norms without statistics, so that their neurons are silent and "
                "nothing of a frame reaches the others; expected model.pretrained=FILE"
            )
        built = build_optimizer(optimizer, detector, self.lr_factors)
        if self.resume is not None:
            read_training(self.resume, detector, built, description, max_epochs=self.max_epochs)

    def check_data(self, digests: Mapping[str, str], description: Mapping[str, Any]) -> None:
        """Look at the digests of ``resume`` once the data is there.

        Raises:
            CheckpointError: it was trained with other recordings or labels.
        """
        if self.resume is not None:
            check_data(self.resume, digests, description)
