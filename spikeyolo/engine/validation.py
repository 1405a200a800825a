"""The validations of one fit: after which epochs they come, and what they find."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from spikeyolo.engine.guards.interrupt import StopWatch
from spikeyolo.engine.guards.memory import in_memory
from spikeyolo.windows.batch import Batch

if TYPE_CHECKING:
    from spikeyolo.engine.run import TrainingRun


class Validation:
    """Validates the weights of a run after every ``trainer.validate_every`` epochs and after the last one."""

    def __init__(self, run: TrainingRun) -> None:
        self._run = run

    def is_due(self, epoch: int) -> bool:
        """Whether it is an epoch's turn.

        Args:
            epoch: that ends, from 0.
        """
        settings = self._run.settings
        return (epoch + 1) % settings.validate_every == 0 or epoch + 1 >= settings.max_epochs

    def to_come(self, epoch: int) -> int:
        """How many are still to come, where epochs end the training.

        Args:
            epoch: that is under way, from 0.
        """
        every, last = self._run.settings.validate_every, self._run.settings.max_epochs
        return last // every - epoch // every + bool(last % every)

    def row(self, stop: StopWatch, *, epoch: int) -> dict[str, float]:
        """The figures of the weights as they are, each under ``val/``.

        Args:
            epoch: after which they are asked, from 0.

        Raises:
            StopRequested: the user asked to stop.
        """
        run = self._run
        settings, task = run.settings, run.task
        before = settings._clock()
        task.ranks.align(run.weights)
        shape: Sequence[int] = ()
        with task.console.progress(f"validation {epoch + 1}", len(task.val)) as advance:

            def watched() -> Iterator[Batch]:
                nonlocal shape
                for batch in stop.watch(task.val.epoch(0)):
                    shape = batch.frames.shape
                    yield batch
                    advance("")
                    run.ask(callback.after_batch(run) for callback in run.callbacks.values())

            with in_memory(lambda: shape, settings.device, processes=task.ranks.world):
                figures = task.evaluator.evaluate(run.weights, watched(), device=settings.device)
        taken = max(run.budget.validation_s, settings._clock() - before)
        run.budget.validation_s = run.position.validation_s = taken
        return {f"val/{name}": value for name, value in figures.items()}
