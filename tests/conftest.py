"""Fixtures shared by all rooms: small real things, not mocks."""

from __future__ import annotations

import gc
import os
import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from parsed_once import parse_once
from slurm_node import slurm_node

# Workers of pytest share the cores: one thread each, read when torch is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A shell that starts its commands in the background has them ignore Ctrl-C, and their children inherit that.
if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The first example of a test may compile a kernel: no deadline. Derandomised, so that CI says the same twice.
settings.register_profile("spikeyolo", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("spikeyolo")

parse_once()

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_collection_finish() -> None:
    """What has been imported stays: no search for garbage looks through it again."""
    gc.collect()
    gc.freeze()


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


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database before its first run, to be copied: MLflow takes seconds to make the tables of one."""
    from spikeyolo.mlflow_store import open_client

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    open_client(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(scope="module")
def slurm() -> Iterator[dict[str, str]]:
    """The environment in which SLURM's commands find a node of this machine."""
    with slurm_node() as environment:
        yield environment


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of an evaluation are composed, but written as empty sheets: rendering takes longer than all the rest."""
    from matplotlib.figure import Figure

    def savefig(figure: Figure, path: Path, **_: Any) -> None:
        drawn(Figure(figsize=(0.1, 0.1)), path, format="png")

    drawn = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", savefig)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of an empty bucket of an S3 server on loopback."""
    moto_server = pytest.importorskip("moto.server", reason="moto[server] is not installed (spikeyolo[test] brings it)")
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed (spikeyolo[s3] brings it)")
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    name = f"bucket-{secrets.token_hex(4)}"  # the server's state outlives it in this process
    s3fs.S3FileSystem().mkdir(name)
    yield f"s3://{name}"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture
def requests_made(bucket: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Tells what this process has asked the S3 server since it was last asked: every call that leaves the client."""
    from aiobotocore.httpsession import AIOHTTPSession

    made: list[str] = []
    original = AIOHTTPSession.send

    async def counted(self: AIOHTTPSession, request: Any) -> Any:
        made.append(f"{request.method} {request.url}")
        return await original(self, request)

    monkeypatch.setattr(AIOHTTPSession, "send", counted)

    def since() -> list[str]:
        found = made.copy()
        made.clear()
        return found

    return since
