"""Outcomes in MLflow: a run of their own, a child of the training run, or figures beside the training's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from spikeyolo.engine.checkpoints import checkpoint
from spikeyolo.errors import ConfigError
from spikeyolo.evaluation.outcome import Outcome
from spikeyolo.evaluation.present import settings_of
from spikeyolo.report.environment import run_tags
from spikeyolo.report.silent import SilentLogger

Run = Literal["new", "child", "same"]


def training_run(folder: Path, logger: Any, run: Run) -> str | None:
    """The MLflow run that trained a checkpoint, where the outcome is to join it; None for a run of its own.

    Raises:
        ConfigError: the checkpoint tells no run.
        CheckpointError: it cannot be read.
    """
    if run == "new" or isinstance(logger, SilentLogger):
        return None
    found = checkpoint.read_state(folder).get("run_id")
    if found is None:
        raise ConfigError(f"mlflow_run: found {run}, but {folder} was trained without MLflow; expected new")
    return str(found)


def log_outcomes(outcomes: Sequence[Outcome], logger: Any, *, run: Run, trained: str | None, command: str) -> None:
    """Send figures, ``scores.json``, the page and the pictures.

    Args:
        outcomes: of the splits.
        logger: as the training's.
        run: which run they belong to.
        trained: the training run, where they join it.
        command: that made them.

    Raises:
        LoggerError: the server cannot be reached.
    """
    if isinstance(logger, SilentLogger):
        return
    first = outcomes[0]
    same = run == "same"
    splits = ", ".join(outcome.tables.split for outcome in outcomes)
    logger.start(
        folder=first.folder,
        params={} if same else settings_of(first),
        tags={} if same else {**run_tags(device="cpu"), "evaluate": command},
        name=None if same else f"evaluate {splits} {first.scores.protocol['name']}",
        parent_run_id=trained if run == "child" else None,
        former_run_id=trained if same else None,
    )
    status = "FAILED"
    try:
        for outcome in outcomes:
            prefix = "evaluated/" if same else ""
            logger.log_metrics({f"{prefix}{name}": value for name, value in outcome.flat().items()}, 0)
            place = f"evaluation/{outcome.tables.split}_{outcome.scores.protocol['name']}"
            for name in ("scores.json", "evaluation.html"):
                logger.log_artifact(outcome.folder / name, place)
            logger.log_artifact(outcome.folder / "figures", place)
        status = "FINISHED"
    finally:
        logger.finish(status)
