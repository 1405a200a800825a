"""The end of a sweep, however it ended: what is known is written, said, and handed to the observer."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from spikeyolo.errors import SweepError
from spikeyolo.sweep.report.figures import objective_names, write_figures
from spikeyolo.sweep.report.observer import Observer, SweepRecord
from spikeyolo.sweep.report.results import best_line, config_of, write_best_config, write_results
from spikeyolo.sweep.settings import Settings
from spikeyolo.sweep.space import SearchSpace
from spikeyolo.sweep.space.drawing import compose
from spikeyolo.sweep.study.ledger import OVERRIDES, RUN_ID
from spikeyolo.sweep.study.storage import storage_errors
from spikeyolo.sweep.study.study import SweepStudy

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from omegaconf import DictConfig

__all__ = ["conclude"]

logger = logging.getLogger("spikeyolo.sweep")


def conclude(
    settings: Settings,
    study: SweepStudy,
    space: SearchSpace,
    folder: Path,
    observer: Observer | None,
    status: str,
    *,
    config: DictConfig,
    loader: ConfigLoader,
) -> None:
    """Write what is known, also after a stop; a storage that is away must not hide why the sweep stopped.

    Args:
        status: FINISHED, FAILED or KILLED.
        config: the composed configuration, which the best trial's is made of.
    """
    expected: tuple[type[Exception], ...] = (SweepError, *storage_errors())
    try:
        study.patience_s = min(study.patience_s, 5.0)
        study.leave()
        write_results(study, space, folder)
        front = study.front()
        if front:
            best = front[0]
            job = config_of(best) or compose(
                loader,
                config,
                best.user_attrs.get(OVERRIDES) or [*space.fixed, *space.overrides(best.params)],
            )
            write_best_config(job, config, folder)
            if len(settings.directions) == 1:
                logger.info("best value: %g (trial %d)", best.value, best.number)
                logger.info("best parameters: %s", best_line(space, best.params))
            else:
                logger.info("Pareto front: %d trials", len(front))
        if settings.figures and status == "FINISHED":
            write_figures(study.study, folder, objective_names(config, len(settings.directions)))
        if observer is not None:
            observer.close(
                SweepRecord(
                    status=status,
                    folder=folder,
                    best_values=list(front[0].values) if front else (),
                    best_overrides=best_line(space, front[0].params) if front else "",
                    best_runs=[t.user_attrs[RUN_ID] for t in front if RUN_ID in t.user_attrs],
                )
            )
        logger.info("results: %s", folder)
    except expected as error:
        if status == "FINISHED":
            raise
        logger.warning("the results could not be written: %s", error)
