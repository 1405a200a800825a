"""Latency is that of single windows, after the first calls."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from spikeyolo.errors import ConfigError
from spikeyolo.metrics.speed import window_latency_ms


class _Watched(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []
        self.modes: set[bool] = set()

    def forward(self, frames: Tensor) -> Tensor:
        self.seen.append(tuple(frames.shape))
        self.modes.add(self.training)
        return frames


def test_single_windows_are_timed_in_eval_mode_after_a_warm_up() -> None:
    network = _Watched().train()
    windows = torch.zeros(2, 5, 1, 4, 4).split(1, dim=1)
    assert window_latency_ms(network, windows, warm_up=3) > 0
    assert network.seen == [(2, 1, 1, 4, 4)] * (3 + 5)
    assert network.modes == {False}
    assert network.training


def test_nothing_to_measure_is_told() -> None:
    with pytest.raises(ConfigError, match="found no window"):
        window_latency_ms(_Watched(), [])
