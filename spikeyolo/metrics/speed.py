"""How long a network takes for one window, alone in its batch, as it would run behind a camera."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TypeVar

import numpy as np
import psutil
import torch
from torch import Tensor, nn

from spikeyolo.errors import ConfigError

__all__ = ["Latency", "call_latency", "window_latency"]

T = TypeVar("T")


@dataclass(frozen=True)
class Latency:
    """From a window to its predictions.

    Attributes:
        median_ms, p99_ms: of the windows that were timed.
        windows: how many those were.
        threads: of torch.
        other_cores: that other processes kept busy meanwhile; above 0, the figures are larger than on a quiet machine.
    """

    median_ms: float
    p99_ms: float
    windows: int
    threads: int
    other_cores: float

    def metrics(self) -> dict[str, float]:
        """Flat figures for a logger."""
        return {
            "speed/window_ms": self.median_ms,
            "speed/window_p99_ms": self.p99_ms,
            "speed/threads": float(self.threads),
            "speed/other_cores": self.other_cores,
        }


def window_latency(
    network: nn.Module,
    windows: Iterable[Tensor],
    *,
    seconds: float = 2.0,
    count: int = 100,
    least: int = 10,
    clock: Callable[[], float] = time.perf_counter,
) -> Latency:
    """Time single windows in eval mode: ``count`` of them, or those of ``seconds`` where that is less, after a warm-up.

    The warm-up, which compiles and allocates, takes at least 3 calls, and a second or 10 of them.

    Args:
        windows: ``[T, 1, C, H, W]``, on the network's device; taken again and again.
        least: windows that are timed however long they take.
        clock: seconds; for tests.

    Raises:
        ConfigError: there was no window to measure.
    """
    given = list(windows)
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            device = given[0].device if given else torch.device("cpu")
            return call_latency(network, given, device=device, seconds=seconds, count=count, least=least, clock=clock)
    finally:
        network.train(training)


def call_latency(
    call: Callable[[T], object],
    given: Sequence[T],
    *,
    device: torch.device,
    seconds: float = 2.0,
    count: int = 100,
    least: int = 10,
    clock: Callable[[], float] = time.perf_counter,
) -> Latency:
    """Time single calls, as :func:`window_latency` does.

    Args:
        call: what is timed.
        given: its arguments, taken again and again.
        device: that is waited for before and after each call.
        seconds, count, least, clock: see :func:`window_latency`.

    Raises:
        ConfigError: there was nothing to call it with.
    """
    if not given:
        raise ConfigError("speed: found no window to measure; expected a validation set with at least one")

    def timed(argument: T) -> float:
        _wait_for(device)
        began = clock()
        call(argument)
        _wait_for(device)
        return clock() - began

    endless = cycle(given)
    warm: list[float] = []
    while len(warm) < 3 or (len(warm) < 10 and sum(warm) < 1.0):
        warm.append(timed(next(endless)))
    others = _OtherCores(clock)
    taken: list[float] = []
    while len(taken) < least or (len(taken) < count and sum(taken) < seconds):
        taken.append(timed(next(endless)))
    milliseconds = 1000.0 * np.asarray(taken)
    return Latency(
        median_ms=float(np.median(milliseconds)),
        p99_ms=float(np.percentile(milliseconds, 99)),
        windows=len(taken),
        threads=torch.get_num_threads(),
        other_cores=others.mean(),
    )


class _OtherCores:
    """How many cores other processes kept busy since this was made, on average."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began, self._busy = clock(), self._others()

    def mean(self) -> float:
        passed = self._clock() - self._began
        return max(0.0, (self._others() - self._busy) / passed) if passed > 0 else 0.0

    def _others(self) -> float:
        system, own = psutil.cpu_times(), psutil.Process().cpu_times()
        return float(system.user + system.system - own.user - own.system)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
