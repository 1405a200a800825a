"""What the trainer asks of those around it: a logger, a console, an evaluator and, inside a sweep, a pruner."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from spikeyolo.windows.batch import Batch

Advance = Callable[[str], None]


class Logger(Protocol):
    """Keeps a run's numbers and files."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None: ...

    def log_artifact(self, path: Path, folder: str | None = None) -> None: ...

    def log_model(self, checkpoint: Path, step: int) -> None: ...


class Console(Protocol):
    """Shows a person where the run is."""

    def progress(self, label: str, total: int) -> AbstractContextManager[Advance]: ...


class Evaluator(Protocol):
    """Measures a detector on batches of validation windows; names are flat, e.g. ``map50``."""

    def evaluate(self, detector: nn.Module, batches: Iterable[Batch], *, device: torch.device) -> dict[str, float]: ...


class Pruner(Protocol):
    """A sweep's side of a run: each validation is reported to it, and it may end the run."""

    def report(self, value: float, step: int) -> None: ...

    def should_prune(self) -> bool: ...
