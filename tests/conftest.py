"""Fixtures shared by all rooms: small real things, not mocks."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
from hypothesis import settings

# Workers of pytest share the cores: one thread each, read when torch is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A shell that starts its commands in the background has them ignore Ctrl-C, and their children inherit that.
if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The first example of a test may compile a kernel: no deadline. Derandomised, so that CI says the same twice.
settings.register_profile("spikeyolo", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("spikeyolo")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real recordings beside the project; tests that need it are marked ``real``."""
    folder = REPOSITORY.parent / "shared" / "data" / "real"
    if not folder.is_dir():
        pytest.skip("the real recordings are not beside the project (../shared/data/real)")
    return folder


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """The folder of reference vectors of the published network."""
    folder = REPOSITORY.parent / "shared" / "design" / "reference"
    if not folder.is_dir():
        pytest.skip("the reference vectors are not beside the project (../shared/design/reference)")
    return folder
