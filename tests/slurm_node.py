"""A real SLURM of one node on this machine, for the tests of what runs on clusters; ``slurm`` of conftest starts it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NODE = Path(__file__).parent / "sweep" / "workers" / "slurm" / "node.sh"
needs_submitit = pytest.mark.skipif(
    importlib.util.find_spec("hydra_plugins.hydra_submitit_launcher") is None, reason="pip install spikeyolo[slurm]"
)

# Overrides with which Hydra's launcher starts jobs there.
ON_THE_NODE = (
    "hydra/launcher=submitit_slurm",
    "hydra.launcher.partition=idle",
    "hydra.launcher.cpus_per_task=1",
    "hydra.launcher.mem_gb=null",
)


@contextmanager
def slurm_node() -> Iterator[dict[str, str]]:
    """The environment in which SLURM's commands find the node."""
    if shutil.which("slurmctld") is None or shutil.which("munged") is None:
        pytest.skip("SLURM is not installed (Debian: slurm-wlm and munge)")
    if os.geteuid() != 0:
        pytest.skip("a SLURM node of one's own needs root: it makes device files")
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    ports = {"SLURM_TEST_PORT": str(16_817 + 2 * int(worker))}  # a node each
    folder = Path(tempfile.mkdtemp(prefix="sweep-slurm-"))
    folder.chmod(0o755)

    def node(what: str) -> subprocess.CompletedProcess[str]:
        command, environment = [str(NODE), str(folder), what], {**os.environ, **ports}
        return subprocess.run(command, timeout=60, capture_output=True, text=True, check=False, env=environment)

    try:
        begun = node("up")
        assert begun.returncode == 0, begun.stderr
        yield {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    finally:
        node("down")
        shutil.rmtree(folder, ignore_errors=True)
