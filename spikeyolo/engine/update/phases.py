"""The phases of a training step: waiting for the loader, forward pass, … They cost nothing until somebody looks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

PHASES = ("loader", "transfer", "forward", "loss", "teacher", "backward", "update")


class Phases:
    """Names the phases in a trace, or takes their time.

    Args:
        device: of the training; where its work is queued, each phase waits for its own while times are taken.

    Attributes:
        looking: ``trace`` names phases for torch's profiler, ``time`` takes their seconds; None does neither.
        seconds: of each phase, while they are taken.
    """

    def __init__(self, device: torch.device) -> None:
        self.looking: Literal["trace", "time"] | None = None
        self.seconds: dict[str, float] = {}
        self._device = device

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """What runs inside is the phase ``name``."""
        if self.looking == "trace":
            with torch.profiler.record_function(name):
                yield
        elif self.looking == "time":
            self._wait()
            began = time.perf_counter()
            yield
            self._wait()
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began
        else:
            yield

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
