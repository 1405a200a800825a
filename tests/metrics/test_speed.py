"""Latency is that of single windows, after the first calls."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from spikeyolo.errors import ConfigError
from spikeyolo.metrics.speed import window_latency


class _Watched(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []
        self.modes: set[bool] = set()

    def forward(self, frames: Tensor) -> Tensor:
        self.seen.append(tuple(frames.shape))
        self.modes.add(self.training)
        return frames


class _Slow(_Watched):
    """Takes as long on a clock of its own as it is told to, the first calls longer."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.now = seconds, 0.0

    def forward(self, frames: Tensor) -> Tensor:
        self.now += 30.0 if len(self.seen) < 2 else 10 * self.seconds if len(self.seen) % 20 == 0 else self.seconds
        return super().forward(frames)

    def clock(self) -> float:
        return self.now


def test_single_windows_are_timed_in_eval_mode() -> None:
    network = _Watched().train()
    latency = window_latency(network, torch.zeros(2, 5, 1, 4, 4).split(1, dim=1))
    assert 0 < latency.median_ms <= latency.p99_ms
    assert set(network.seen) == {(2, 1, 1, 4, 4)}
    assert network.modes == {False}
    assert network.training
    assert latency.threads == torch.get_num_threads()
    assert latency.other_cores >= 0


@pytest.mark.parametrize(("seconds", "windows"), [(0.001, 100), (0.1, 17), (1.0, 10)])
def test_a_hundred_windows_or_two_seconds_are_timed_after_a_warm_up(seconds: float, windows: int) -> None:
    network = _Slow(seconds)
    latency = window_latency(network, torch.zeros(1, 2, 1, 4, 4).split(1, dim=1), clock=network.clock)
    assert latency.median_ms == pytest.approx(1000 * seconds)  # neither compiling nor a hiccup
    assert latency.windows >= 10
    assert abs(latency.windows - windows) <= 10
    if latency.windows >= 40:
        assert latency.p99_ms == pytest.approx(10_000 * seconds)


def test_nothing_to_measure_is_told() -> None:
    with pytest.raises(ConfigError, match="found no window"):
        window_latency(_Watched(), [])
