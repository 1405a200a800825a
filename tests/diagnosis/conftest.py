"""Fixtures of the doctor's tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the recording of the cars is converted once."""
    return tmp_path_factory.mktemp("cars")
