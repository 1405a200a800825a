"""Where a run took place: commit, machine, device and versions, as tags of the run and as files to repeat it with."""

from __future__ import annotations

import getpass
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import psutil

PACKAGES = ("spikeyolo", "torch", "norse", "numpy", "numba", "zarr")


def run_tags(*, device: str) -> dict[str, str]:
    """Tags that tell runs apart beyond their parameters.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``; its name is looked up.
    """
    commit, dirty = git_state(Path(__file__).resolve().parent)
    tags = {
        "device": device,
        "device_name": device_name(device),
        "hostname": platform.node(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "mlflow.user": user_name(),
        "mlflow.source.name": "spikeyolo.train",
        "mlflow.source.type": "LOCAL",
        "command": " ".join(shlex.quote(word) for word in sys.argv),
        **{f"version.{name}": version(name) for name in PACKAGES},
    }
    if commit:
        # The second is MLflow's own name, under which its pages show the commit.
        tags |= {"git_commit": commit, "git_dirty": str(dirty).lower(), "mlflow.source.git.commit": commit}
    return tags


def user_name() -> str:
    """Whose run it is; a container may run as a user without a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"


def git_state(folder: Path) -> tuple[str | None, bool]:
    """The commit checked out around a folder, and whether tracked files differ from it; (None, False) outside git."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        # A package installed inside somebody else's repository must not borrow that repository's commit.
        if not _git(folder, "ls-files", "."):
            return None, False
        return commit, bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, False


def _git(folder: Path, *arguments: str) -> str:
    result = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
    )
    return result.stdout.strip()


def device_name(device: str) -> str:
    """The model of a device, such as ``NVIDIA H100`` or the processor's name."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(torch.device(device))
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def version(package: str) -> str:
    """The version of an installed package, or ``not installed``."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def write_environment(folder: Path, *, device: str, seed: int, digests: Mapping[str, str]) -> list[Path]:
    """Write into ``folder`` what it takes to repeat a run beside its configuration.

    ``environment.json`` holds commit, command, machine, seed and the digests of the data; ``packages.txt`` every
    installed package as pip freezes it; ``uncommitted.diff`` what differs from the commit, where something does.

    Args:
        folder: made where it does not exist.
        device: as in :func:`run_tags`.
        seed: of the run.
        digests: split → digest of its recordings and labels.

    Returns:
        the files.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    memory = psutil.virtual_memory().total
    cores = {"cores": psutil.cpu_count(logical=False), "threads": psutil.cpu_count()}
    hardware = {**cores, "memory_gib": round(memory / 2**30, 1), "processor": device_name("cpu")}
    told = {**run_tags(device=device), "seed": seed, "data": dict(digests), "hardware": hardware}
    contents = {"environment.json": json.dumps(told, indent=2) + "\n", "packages.txt": "\n".join(frozen()) + "\n"}
    diff = uncommitted(Path(__file__).resolve().parent)
    if diff:
        contents["uncommitted.diff"] = diff
    for name, text in contents.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in contents]


def frozen() -> list[str]:
    """``NAME==VERSION`` of every installed package, in the order of names."""
    read = (item.metadata for item in metadata.distributions())  # each parsed once: there are hundreds
    found = {(item["Name"], item["Version"]) for item in read if item["Name"]}
    return sorted((f"{name}=={version}" for name, version in found), key=str.lower)


def uncommitted(folder: Path) -> str:
    """What tracked files around a folder differ from their commit; empty outside git."""
    if git_state(folder)[0] is None:
        return ""
    try:
        found = subprocess.run(
            ["git", "-C", str(folder), "diff", "HEAD", "--binary"], capture_output=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.decode("utf-8", errors="replace")
