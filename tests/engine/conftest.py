"""What all tests of the engine do without."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody cuts the power here, but in ``checkpoints/power.py``, whose disk knows for itself what was synced."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
