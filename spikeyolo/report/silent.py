"""The logger that keeps nothing: the run's folder alone has the numbers (``logger=none``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spikeyolo.report.mlflow.dataset_use import DatasetUse
from spikeyolo.report.mlflow.logger import Status


class SilentLogger:
    """Takes what :class:`spikeyolo.report.mlflow.logger.MlflowLogger` takes, and does nothing."""

    run_id: str | None = None
    tracking_uri: str | None = None

    def check(self) -> None:
        """Nothing is asked."""

    def start(
        self,
        *,
        folder: Path,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        name: str | None = None,
        datasets: Sequence[DatasetUse] = (),
        parent_run_id: str | None = None,
        former_run_id: str | None = None,
    ) -> None:
        """Nothing is opened."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Nothing is recorded."""

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Nothing is kept."""

    def log_model(self, checkpoint: Path, step: int) -> None:
        """Nothing is kept."""

    def finish(self, status: Status = "FINISHED") -> None:
        """Nothing is closed."""
