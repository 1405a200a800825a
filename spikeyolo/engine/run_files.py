"""What a run writes into its folder, most of it while the training goes on, and what it goes on from."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from spikeyolo.engine.checkpoints import checkpoint
from spikeyolo.engine.checkpoints.behind import Behind
from spikeyolo.engine.checkpoints.restore import Saved, read_training
from spikeyolo.engine.checkpoints.settings import measuring, sentence
from spikeyolo.engine.guards.recovery import are_finite
from spikeyolo.engine.record import write_metrics, write_rows
from spikeyolo.errors import TrainingError

if TYPE_CHECKING:
    from spikeyolo.engine.run import TrainingRun

log = logging.getLogger(__name__)


class RunFiles:
    """The checkpoints and figures of one run; the first of several processes writes them, all come here together.

    Args:
        run: whose they are.
    """

    def __init__(self, run: TrainingRun) -> None:
        self._run = run
        self._folder = run.task.folder
        self.behind = Behind()
        self.saved_at = run.settings._clock()

    def write_epoch(self) -> None:
        """``checkpoints/last`` and the figures so far; returns before they are on the disk."""
        run = self._run
        self.save_last_behind()
        if not run.ranks.is_main:
            return
        folder, rows, figures = self._folder, list(run.position.history), run.figures()
        self.behind.do(lambda: write_rows(folder / "metrics.csv", rows))
        self.behind.do(lambda: write_metrics(folder / "metrics.json", figures))

    def save_last_behind(self) -> None:
        """Write ``checkpoints/last`` with the states of all processes while the training goes on.

        Raises:
            NotFiniteError: steps were not finite, and leaving them out is not enough.
        """
        self.behind.wait()  # so that one epoch's files are held in memory at most
        self._run.look()
        self._run.step.gather()
        self.save_behind("last")

    def save_behind(self, name: str) -> None:
        """Write ``checkpoints/<name>`` as the run is now, while it goes on; only ``last`` can be gone on from.

        Raises:
            TrainingError: the weights are not finite, and never replace good ones.
            CheckpointError: an earlier one cannot be written.
        """
        run, position = self._run, self._run.position
        if not run.ranks.is_main:
            return
        if not are_finite(run.weights.state_dict().values()):
            raise TrainingError(f"checkpoints/{name}: the weights are not finite, and never replace good ones")
        if run.meter is not None:  # in mid-epoch
            position.meter = run.meter.state()
        if position.elapsed_s == 0.0 or position.batch:
            position.elapsed_s = run.budget.elapsed()
        checkpoint.save(
            self._folder / "checkpoints" / name,
            weights=run.weights,
            training=run.state.state_dict() if name == "last" else None,
            state={**run.task.description, "position": position.state_dict()},
            behind=self.behind,
        )
        if name == "last":
            self.saved_at = run.settings._clock()

    def resume(self, folder: Path) -> None:
        """Go on from a checkpoint, of this run or of another one."""
        run, position = self._run, self._run.position
        changed = self._load(folder).changed
        run.budget.started -= position.elapsed_s
        run.budget.validation_s = position.validation_s
        if changed:
            log.info("changed since the checkpoint: %s", sentence(changed))
        if measuring(changed) and position.best_epoch >= 0:
            log.warning("figures so far were measured with other settings: the best epoch is chosen anew")
            position.choose_anew()
            run.task.schedule.forget()
        self._bring_best(folder.parent / "best")
        if position.epoch >= run.settings.max_epochs:
            log.warning(
                "%s: finished, all %d epochs are trained: nothing is trained or validated now, and figures are those "
                "of the checkpoint (a larger trainer.max_epochs goes on)",
                folder,
                position.epoch,
            )
        else:
            log.info("going on from %s: epoch %d, batch %d", folder, position.epoch + 1, position.batch)

    def roll_back(self) -> None:
        """To the run's own last checkpoint; what callbacks remember is kept."""
        callbacks = self._run.callbacks
        kept = {name: callback.state_dict() for name, callback in callbacks.items()}
        self._load(self._folder / "checkpoints" / "last")
        for name, state in kept.items():
            callbacks[name].load_state_dict(state)

    def _load(self, folder: Path) -> Saved:
        run = self._run
        self.behind.wait()
        run.ranks.barrier()  # the first process has written it
        description, max_epochs = run.task.description, run.settings.max_epochs
        saved = read_training(folder, run.module, run.step.optimizer, description, max_epochs=max_epochs)
        run.position.load_state_dict(saved.position)
        checkpoint.load_weights(folder, run.weights)
        run.state.load_state_dict(saved.components)
        run.ranks.same(f"{folder}:", {name: getattr(run.position, name) for name in ("epoch", "batch", "step")})
        return saved

    def _bring_best(self, best: Path) -> None:
        """The best checkpoint so far may stay the best: this run's folder gets a copy."""
        run, position = self._run, self._run.position
        if position.best_epoch < 0:
            return
        is_it = (
            checkpoint.is_there(best) and checkpoint.read_state(best)["position"]["epoch"] == position.best_epoch + 1
        )
        if run.ranks.first(is_it):
            if run.ranks.is_main:
                checkpoint.copy(best, self._folder / "checkpoints" / "best")
            return
        if position.batch or position.epoch != position.best_epoch + 1:
            log.warning("%s: no best checkpoint beside the one to go on from; its weights become the best", best)
            position.best_epoch = len(position.history) - 1
            position.best = position.history[-1].get(f"val/{run.settings.select_by}", float("-inf"))
        run.save("best")
