"""The machine: whether windows come as fast as the network takes them, and what of the hardware is left unused."""

from __future__ import annotations

import os
import time

import psutil
import torch

from spikeyolo.diagnosis.finding import Finding, Section, share
from spikeyolo.windows.dataset import WindowDataset
from spikeyolo.windows.slicing import spread

WAITING = 0.5  # share of a step's time that may be spent on windows
_ENOUGH = 64  # windows
_SECONDS = 3.0


def check_machine(
    dataset: WindowDataset,
    *,
    batch_size: int,
    workers: int,
    device: torch.device,
    threads: int | None,
    step_s: float | None,
    step_windows: int,
) -> Section:
    """Measure how fast windows are made, and compare it with the step.

    Args:
        dataset: of training.
        batch_size: windows a step.
        workers: processes that make windows; 0: the training process.
        device, threads: of training.
        step_s: time of an update of ``step_windows`` windows, s; None: not measured.
    """
    section = Section("machine")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    rate = windows_per_second(dataset)
    used = torch.get_num_threads() if threads is None else threads
    memory = psutil.virtual_memory()
    section.facts += [
        ("windows made a second, one process", f"{rate:.0f}"),
        ("cores, threads of torch", f"{cores}, {used}"),
        ("memory free", f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB"),
        ("device", str(device)),
    ]
    if step_s is not None:
        make_s, need = batch_size / rate, step_windows / step_s
        train_s = batch_size / need
        waiting = make_s / (make_s + train_s) if workers == 0 else max(0.0, 1 - workers * rate / need)
        section.facts += [
            ("windows a second that training takes", f"{need:.1f}"),
            ("share of time for making windows", share(waiting)),
        ]
        if waiting > WAITING:
            wanted = max(1, min(cores - 1, round(need / rate + 0.5)))
            mends = wanted > workers
            section.findings.append(
                Finding(
                    "loader",
                    f"windows are made {rate:.0f} a second and process, training takes {need:.0f}: it waits for them "
                    f"{share(waiting)} of its time",
                    remedy=""
                    if mends
                    else "keep events decoded, thin busy windows, or encode smaller frames: there is no core left",
                    overrides=(f"data.workers={wanted}",)
                    if mends
                    else ("data.cache=ram", "data.max_events_per_sample=200000"),
                    evidence=(("windows a second", f"{rate:.1f}"), ("needed", f"{need:.1f}")),
                )
            )
        _memory(section, device, batch_size=batch_size, step_windows=step_windows)
    if used > cores:
        section.findings.append(
            Finding(
                "threads",
                f"torch runs {used} threads on {cores} cores: they wait for one another",
                overrides=(f"trainer.threads={cores}",),
            )
        )
    if device.type == "cpu" and torch.cuda.is_available():
        section.findings.append(
            Finding(
                "no_gpu",
                f"training runs on the CPU beside {torch.cuda.get_device_name(0)}",
                overrides=("trainer.device=cuda",),
            )
        )
    return section


def windows_per_second(dataset: WindowDataset) -> float:
    """How many windows one process reads, encodes and labels a second."""
    chosen = spread(len(dataset), _ENOUGH).tolist()
    dataset[0, chosen[0]]  # compiles, opens
    began, done = time.monotonic(), 0
    for index in chosen * 4:
        dataset[0, index]
        done += 1
        if time.monotonic() - began > _SECONDS:
            break
    return done / max(time.monotonic() - began, 1e-6)


def _memory(section: Section, device: torch.device, *, batch_size: int, step_windows: int) -> None:
    """What of a GPU's memory a step takes, and the batch that fits."""
    if device.type != "cuda":
        return
    total = torch.cuda.get_device_properties(device).total_memory
    peak = torch.cuda.max_memory_allocated(device)
    fits = max(1, int(0.9 * total / max(peak / step_windows, 1)))
    section.facts += [
        ("GPU memory that a step takes", f"{peak / 2**30:.1f} of {total / 2**30:.1f} GiB"),
        ("batch that fits", str(fits)),
    ]
    if batch_size > fits:
        section.findings.append(
            Finding(
                "batch",
                f"data.batch_size={batch_size} does not fit into the {total / 2**30:.1f} GiB of {device}",
                overrides=(f"data.batch_size={fits}", f"trainer.nominal_batch={batch_size}"),
            )
        )
