"""Which worker gets which device and how many threads, found out without starting CUDA or importing torch."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from spikeyolo.errors import SweepError

__all__ = ["cuda_devices", "plan_workers", "usable_cores"]

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def cuda_devices(environment: Mapping[str, str] | None = None) -> list[str]:
    """Identifiers of the CUDA devices of this machine, as ``CUDA_VISIBLE_DEVICES`` names them.

    What that variable already holds narrows the choice; an empty one hides all.
    """
    environment = os.environ if environment is None else environment
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    present = _present_devices()
    if visible is None:
        return present
    return [name.strip() for name in visible.split(",") if name.strip() and name.strip() != "-1"] if present else []


def _present_devices() -> list[str]:
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    try:
        listing = subprocess.run([command, "-L"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    if listing.returncode:
        return []
    return [str(i) for i, _ in enumerate(line for line in listing.stdout.splitlines() if line.startswith("GPU "))]


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def plan_workers(
    *,
    devices: str | int | Sequence[int | str] | None,
    workers: int | None,
    n_jobs: int,
    threads: int | None = None,
    present: Sequence[str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> list[dict[str, str]]:
    """The environment of each worker: its device and its share of the cores.

    Args:
        devices: ``auto`` (all CUDA devices, else the CPU), ``cpu``, a count, or a list of indices.
        workers: how many workers; by default one a device, or ``n_jobs`` on a CPU.
        threads: of each worker; by default an equal share of the cores.
        present: the devices of the machine; found out where not given.

    Raises:
        SweepError: more devices are asked for than there are, or a number is below one.
    """
    environment = os.environ if environment is None else environment
    for name, number in (("n_jobs", n_jobs), ("workers", workers), ("threads", threads)):
        if number is not None and number < 1:
            raise SweepError(f"{name} is {number}, expected 1 or more")
    chosen: list[str] = []
    if devices not in ("cpu", [], 0):
        chosen = _choose(devices, list(cuda_devices(environment) if present is None else present))
    count = workers or (len(chosen) if chosen else n_jobs)
    share = threads or max(1, usable_cores() // count)
    plans = []
    for index in range(count):
        # What the user has set for the whole machine stays.
        plan = {name: environment.get(name, str(share)) if threads is None else str(share) for name in THREAD_VARIABLES}
        plan["CUDA_VISIBLE_DEVICES"] = chosen[index % len(chosen)] if chosen else ""
        plans.append(plan)
    return plans


def _choose(devices: object, present: list[str]) -> list[str]:
    if devices is None or devices == "auto":
        return present
    if isinstance(devices, int):
        asked = [str(i) for i in range(devices)]
    elif isinstance(devices, str):
        asked = [part.strip().removeprefix("cuda:") for part in devices.split(",") if part.strip()]
    elif isinstance(devices, Sequence):
        asked = [str(part).removeprefix("cuda:") for part in devices]
    else:
        raise SweepError(f"devices: found {devices!r}, expected auto, cpu, a number or a list")
    if len(asked) > len(present) or any(name.isdigit() and int(name) >= len(present) for name in asked):
        raise SweepError(f"devices: {', '.join(asked)} asked for, this machine shows {len(present)} CUDA devices")
    # Indices count what is visible, as CUDA does.
    return [present[int(name)] if name.isdigit() else name for name in asked]
