"""A run uses the device it names, and no other."""

from __future__ import annotations

import pytest
import torch

from spikeyolo.engine.device import choose_device
from spikeyolo.errors import ConfigError


@pytest.mark.parametrize(("name", "current"), [("cuda:1", [1]), ("cuda:0", [0]), ("cuda", []), ("cpu", [])])
def test_a_numbered_cuda_device_becomes_the_current_one(
    name: str, current: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert choose_device(name) == torch.device(name)
    assert chosen == current
    with pytest.raises(ConfigError, match="2 CUDA devices"):
        choose_device("cuda:2")
    assert chosen == current
