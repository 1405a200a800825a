"""Which worker gets which device and how many threads, found out without starting CUDA or importing torch."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spikeyolo.errors import SweepError
from spikeyolo.launch import PROCESSES_VARIABLE

__all__ = ["Device", "cuda_devices", "parse_listing", "plan_workers", "usable_cores"]

logger = logging.getLogger(__name__)

CPU = "cpu"
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


@dataclass(frozen=True)
class Device:
    """A CUDA device as ``CUDA_VISIBLE_DEVICES`` names it: a GPU by its index, a MIG slice by its identifier."""

    name: str
    uuid: str = ""  # empty where the driver's tools are not there to ask

    def is_called(self, text: str) -> bool:
        """Whether a user means this device; CUDA takes the beginning of an identifier too."""
        return text == self.name or (text.startswith(("GPU-", "MIG-")) and self.uuid.startswith(text))


def cuda_devices(environment: Mapping[str, str] | None = None) -> list[Device]:
    """The CUDA devices that this process may use.

    What ``CUDA_VISIBLE_DEVICES`` already holds is the choice, also where no tool of the driver can list devices.
    """
    environment = os.environ if environment is None else environment
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and not visible.strip(" ,"):
        return []
    present = _present_devices()
    if visible is None:
        return present
    names = [name.strip() for name in visible.split(",") if name.strip() and name.strip() != "-1"]
    return [next((device for device in present if device.is_called(name)), Device(name, name)) for name in names]


def _present_devices() -> list[Device]:
    command = shutil.which("nvidia-smi")
    if command is not None:
        try:
            listing = subprocess.run([command, "-L"], capture_output=True, text=True, timeout=30, check=False)
            if not listing.returncode:
                return parse_listing(listing.stdout)
        except (OSError, subprocess.TimeoutExpired) as error:
            logger.warning("nvidia-smi cannot list the devices: %s", error)
    # A container may have the driver's devices without its tools.
    nodes = sorted(int(path.name.removeprefix("nvidia")) for path in Path("/dev").glob("nvidia[0-9]*"))
    return [Device(str(index)) for index, _ in enumerate(nodes)]


def parse_listing(text: str) -> list[Device]:
    """The devices that ``nvidia-smi -L`` lists; of a GPU that is cut into MIG slices, its slices."""
    found: list[tuple[Device, list[Device]]] = []
    for line in text.splitlines():
        gpu = re.match(r"GPU (\d+): .*\(UUID: ([^)]+)\)", line)
        slice_ = re.match(r"\s+MIG .*\(UUID: ([^)]+)\)", line)
        if gpu:
            found.append((Device(gpu[1], gpu[2]), []))
        elif slice_ and found:
            found[-1][1].append(Device(slice_[1], slice_[1]))
    return [device for gpu_device, slices in found for device in slices or [gpu_device]]


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def plan_workers(
    *,
    devices: object,
    workers: int | None,
    n_jobs: int,
    threads: int | None = None,
    present: Sequence[Device] | None = None,
    environment: Mapping[str, str] | None = None,
) -> list[dict[str, str]]:
    """The environment of each worker: its device and its share of the cores.

    Args:
        devices: ``auto`` (all CUDA devices, else the CPU), ``cpu``, a count, or a list of indices or identifiers, in
            which a list gives one worker several devices, and its trials as many processes (``[cpu, cpu]``: two).
        workers: how many workers; by default one a device, or ``n_jobs`` on a CPU.
        threads: of each worker; by default an equal share of the cores.
        present: the devices of the machine; found out where not given.

    Raises:
        SweepError: a device is asked for that is not there, or a number is below one.
    """
    environment = os.environ if environment is None else environment
    for name, number in (("n_jobs", n_jobs), ("workers", workers), ("threads", threads)):
        if number is not None and number < 1:
            raise SweepError(f"{name} is {number}, expected 1 or more")
    chosen: list[tuple[str, ...]] = []
    if devices not in ("cpu", [], 0):
        chosen = _choose(devices, list(cuda_devices(environment) if present is None else present))
    count = workers or (len(chosen) if chosen else n_jobs)
    processes = max(map(len, chosen), default=1)
    share = threads or max(1, usable_cores() // (count * processes))
    plans = []
    for index in range(count):
        # What the user has set for the whole machine stays.
        plan = {name: environment.get(name, str(share)) if threads is None else str(share) for name in THREAD_VARIABLES}
        own = chosen[index % len(chosen)] if chosen else ()
        plan["CUDA_VISIBLE_DEVICES"] = ",".join(name for name in own if name != CPU)
        plan[PROCESSES_VARIABLE] = str(max(1, len(own)))
        plans.append(plan)
    return plans


def _choose(devices: object, present: Sequence[Device]) -> list[tuple[str, ...]]:
    """The devices of each worker, by the names that CUDA takes."""
    if devices is None or devices == "auto":
        return [(device.name,) for device in present]
    if isinstance(devices, int) and not isinstance(devices, bool) and devices > 0:
        asked: list[object] = list(range(devices))
    elif isinstance(devices, str):
        asked = [part.strip() for part in devices.split(",") if part.strip()]
    elif isinstance(devices, Sequence):
        asked = list(devices)
    else:
        raise SweepError(f"devices: found {devices!r}, expected auto, cpu, a number or a list")
    chosen = []
    for item in asked:
        group = list(item) if isinstance(item, Sequence) and not isinstance(item, str) else [item]
        if group and all(part == CPU for part in group):
            chosen.append((CPU,) * len(group))
            continue
        names = tuple(_find(part, present) for part in group)
        if not names or len(set(names)) < len(names):
            raise SweepError(f"devices: found {item!r} for one worker, expected one device or different ones")
        chosen.append(names)
    return chosen


def _find(asked: object, present: Sequence[Device]) -> str:
    """The device of an index or an identifier. Indices count what is visible, as CUDA does."""
    text = str(asked).removeprefix("cuda:")
    if not isinstance(asked, bool) and text.isdecimal() and int(text) < len(present):
        return present[int(text)].name
    named = [device for device in present if device.is_called(text) and not text.isdecimal()]
    if len(named) == 1:
        return named[0].name
    shown = ", ".join(device.name for device in present) or "none"
    raise SweepError(
        f"devices: {asked!r} asked for, this machine shows {len(present)} CUDA devices ({shown}), counted from 0"
    )
