"""How long a network takes for one window, alone in its batch, as it would run behind a camera."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from spikeyolo.errors import ConfigError

__all__ = ["window_latency_ms"]


def window_latency_ms(network: nn.Module, windows: Iterable[Tensor], *, warm_up: int = 3) -> float:
    """Median milliseconds from a window to its predictions, in eval mode.

    Args:
        windows: ``[T, 1, C, H, W]``, on the network's device.
        warm_up: calls of the first window that are not counted: they compile and allocate.

    Raises:
        ConfigError: there was no window to measure.
    """
    training = network.training
    taken: list[float] = []
    network.eval()
    try:
        with torch.no_grad():
            for window in windows:
                for _ in range(0 if taken else warm_up):
                    network(window)
                _wait_for(window.device)
                begun = time.perf_counter()
                network(window)
                _wait_for(window.device)
                taken.append(1000.0 * (time.perf_counter() - begun))
    finally:
        network.train(training)
    if not taken:
        raise ConfigError("speed: found no window to measure; expected a validation set with at least one")
    return statistics.median(taken)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
