"""The machine: whether windows are made as fast as training takes them, and what of the hardware is left unused."""

from __future__ import annotations

import os
import time

import psutil
import torch

from spikeyolo.diagnosis.finding import Finding, Section, share
from spikeyolo.diagnosis.machine.usage import Usage, free_bytes, windows_that_fit
from spikeyolo.diagnosis.settings import Settings, smaller_batch
from spikeyolo.report.pictures.diagnosis import draw_bars
from spikeyolo.windows.dataset import WindowDataset
from spikeyolo.windows.slicing import spread

WAITING = 0.5  # share of a step's time that may be spent on windows
_ENOUGH = 64  # windows
_SECONDS = 3.0


def check_machine(
    dataset: WindowDataset | None,
    *,
    batch_size: int,
    workers: int,
    device: torch.device,
    threads: int | None,
    step_s: float | None,
    step_windows: int,
    usage: Usage | None = None,
    fixed_bytes: int = 0,
    seconds: float = _SECONDS,
    settings: Settings | None = None,
) -> Section:
    """Measure how fast windows are made, and compare it with the step.

    Args:
        dataset: of training; None: there are no windows.
        batch_size: windows a step.
        workers: processes that make windows; 0: the training process.
        device, threads: of training.
        step_s: time of an update of ``step_windows`` windows, s; None: not measured.
        usage: memory and GPU of such updates; None: not measured.
        fixed_bytes: of that memory, what does not depend on the number of windows.
        seconds: that making windows may take, s.
        settings: the configuration.
    """
    section = Section("machine")
    settings = settings or Settings()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    rate = None if dataset is None else windows_per_second(dataset, seconds=seconds)
    used = torch.get_num_threads() if threads is None else threads
    memory = psutil.virtual_memory()
    section.facts += [
        *([] if rate is None else [("windows made a second, one process", f"{rate:.0f}")]),
        ("cores, threads of torch", f"{cores}, {used}"),
        ("memory free", f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB"),
        ("device", str(device)),
    ]
    if rate is None:
        section.unknown.append("how fast windows are made: there are none")
    if step_s is None or rate is None:
        section.unknown.append(
            "whether windows come as fast as they are learnt, what memory a step takes and which batch fits: no update "
            "was made"
        )
    else:
        _loader(section, settings, rate=rate, batch_size=batch_size, workers=workers, cores=cores,
                need=step_windows / step_s)  # fmt: skip
        _memory(section, settings, device, usage or Usage(), batch_size=batch_size, step_windows=step_windows,
                fixed_bytes=fixed_bytes)  # fmt: skip
    _gpu(section, device, usage or Usage())
    if used > cores:
        section.findings.append(
            Finding(
                "threads",
                f"torch runs {used} threads on {cores} cores: they wait for one another",
                overrides=(f"trainer.threads={cores}",),
            )
        )
    if workers > cores:
        section.findings.append(
            Finding(
                "threads",
                f"data.workers={workers} processes make windows on {cores} cores: they wait for one another, and each "
                "takes memory of its own",
                remedy="where windows come over a slow line, as from a bucket, more than cores may be worth it",
                overrides=(f"data.workers={max(1, cores - 1)}",),
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


def windows_per_second(dataset: WindowDataset, *, seconds: float = _SECONDS) -> float:
    """How many windows one process reads, encodes and labels a second, measured for so long at most."""
    chosen = spread(len(dataset), _ENOUGH).tolist()
    dataset[0, chosen[0]]  # compiles, opens
    began, done = time.monotonic(), 0
    for index in chosen * 4:
        dataset[0, index]
        done += 1
        if time.monotonic() - began > seconds:
            break
    return done / max(time.monotonic() - began, 1e-6)


def _loader(
    section: Section, settings: Settings, *, rate: float, batch_size: int, workers: int, cores: int, need: float
) -> None:
    """Whether training waits for its windows.

    Args:
        rate: windows made a second and process.
        need: windows that training takes a second.
    """
    make_s, train_s = batch_size / rate, batch_size / need
    at_once = min(workers, cores)
    waiting = make_s / (make_s + train_s) if workers == 0 else max(0.0, 1 - at_once * rate / need)
    section.facts += [
        ("windows a second that training takes", f"{need:.1f}"),
        ("share of time for making windows", share(waiting)),
        ("share of time for the network, at most", share(1 - waiting)),
    ]
    if waiting <= WAITING:
        return
    wanted = max(1, min(cores - 1, round(need / rate + 0.5)))
    overrides: tuple[str, ...] = (f"data.workers={wanted}",) if wanted > workers else ()
    remedy = ""
    if not overrides:
        remedy = "keep events decoded, thin busy windows, or encode smaller frames: there is no core left"
        downsample = settings.get("data.encoder.downsample", 1)
        overrides = settings.changed("data.cache=ram", "data.max_events_per_sample=200000") or (
            f"data.encoder.downsample={2 * downsample}",
        )
    made = max(at_once, 1) * rate
    section.findings.append(
        Finding(
            "loader",
            f"windows are made {rate:.0f} a second and process, training takes {need:.0f}: it waits for them "
            f"{share(waiting)} of its time",
            remedy=remedy,
            overrides=overrides,
            evidence=(("windows a second", f"{rate:.1f}"), ("needed", f"{need:.1f}")),
            draw=lambda path: draw_bars(path, [("made", made), ("taken", need)], label="windows a second"),
        )
    )


def _memory(
    section: Section,
    settings: Settings,
    device: torch.device,
    usage: Usage,
    *,
    batch_size: int,
    step_windows: int,
    fixed_bytes: int,
) -> None:
    """What of the device's memory a step takes, and the batch that fits."""
    cuda = device.type == "cuda"
    if usage.memory is None:
        section.unknown.append(
            "what memory a step takes and which batch fits: it found room in what this process held already"
        )
        return
    free = free_bytes(device)
    fixed = min(fixed_bytes, usage.memory // 2)  # some of it may have found room in what was held
    fits = windows_that_fit(device, memory=usage.memory, windows=step_windows, fixed=fixed)
    kind = "GPU memory" if cuda else "memory"
    section.facts += [
        (f"{kind} that a step of {step_windows} windows takes{'' if cuda else ', at least'}",
         f"{usage.memory / 2**30:.2f} GiB of {free / 2**30:.1f} GiB that are free"),
        ("batch that fits" if cuda else "batch that fits, at most", str(fits)),
    ]  # fmt: skip
    if batch_size <= fits:
        return
    need = fixed + (usage.memory - fixed) * batch_size / step_windows
    section.findings.append(
        Finding(
            "batch",
            f"data.batch_size={batch_size} does not fit into the {free / 2**30:.1f} GiB that are free on {device}: it "
            f"takes about {need / 2**30:.1f} GiB",
            overrides=smaller_batch(settings, fits),
            draw=lambda path: draw_bars(
                path, [(f"data.batch_size={batch_size}", need / 2**30), ("free", free / 2**30)], label="GiB"
            ),
        )
    )


def _gpu(section: Section, device: torch.device, usage: Usage) -> None:
    """How busy the GPU is while it learns from windows that are there already."""
    if device.type != "cuda":
        section.facts.append(("GPU share", "none: the network runs on the CPU"))
    elif usage.busy is not None:
        section.facts.append(("GPU share while it learns", share(usage.busy)))
    else:
        section.unknown.append("the GPU's share of the time: pip install nvidia-ml-py tells it, where it learns")
