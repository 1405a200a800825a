"""Filters on one core, side by side with tonic's and dv-processing's, on events of a real recording.

Peers are not dependencies: install them beside this package in a venv of their own (see README.md).
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from spikeyolo.events import Events
from spikeyolo.events.filters import EventFilters, FilterChain
from spikeyolo.events.formats import open_recording

REAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "real"
PEERS = ("tonic", "dv-processing")
TAU_US = 5_000  # the peers ask for less than theirs, we for at most ours
LATER_US = 10_000_000  # the peers let pass what lies before their own τ
REGION = (320, 180, 960, 540)
HOT = 50.0
BATCH = 1 << 20

Run = Callable[[], int]


def ours(events: Events, **filters: object) -> Run:
    """As conversion runs them: counting first where rates are needed, then stretch by stretch."""
    parts = [
        Events(*(getattr(events, name)[i : i + BATCH] for name in "txyp"), events.width, events.height)
        for i in range(0, len(events), BATCH)
    ]

    def run() -> int:
        chain = FilterChain(EventFilters(**filters), events.width, events.height)  # type: ignore[arg-type]
        if chain.needs_counting:
            for part in parts:
                chain.count(part)
        return sum(len(chain.apply(part)) for part in parts)

    return run


def tonics(events: Events) -> dict[str, Run]:
    """tonic's background filter looks at four neighbours; its region is a list of pixels to drop, so left out here."""
    import tonic.functional

    table = np.zeros(len(events), np.dtype([("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "?")]))
    for name in "txyp":
        table[name] = getattr(events, name)
    table["t"] += LATER_US
    return {"background": lambda: len(tonic.functional.denoise_numpy(table, filter_time=TAU_US + 1))}


def dvs(events: Events) -> dict[str, Run]:
    import dv_processing as dv

    store = dv.EventStore()
    for t, x, y, p in zip(*(getattr(events, name).tolist() for name in "txyp")):
        store.push_back(t + LATER_US, x, y, bool(p))
    size = (events.width, events.height)
    left, top, right, bottom = REGION

    def through(make: Callable[[], object]) -> Run:
        def run() -> int:
            kept = make()
            kept.accept(store)  # type: ignore[attr-defined]
            return kept.generateEvents().size()  # type: ignore[attr-defined,no-any-return]

        return run

    tau = datetime.timedelta(microseconds=TAU_US + 1)
    return {
        "background": through(lambda: dv.noise.BackgroundActivityNoiseFilter(size, backgroundActivityDuration=tau)),
        "region": through(lambda: dv.EventRegionFilter((left, top, right - left, bottom - top))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slow-events", type=int, default=100_000, help="events for tonic, which is a loop in Python")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    events = Events.concatenate(list(open_recording(REAL / "imx636_scene.dat").batches()))
    few = slice(0, arguments.slow_events)
    short = Events(*(getattr(events, name)[few] for name in "txyp"), events.width, events.height)
    runs: dict[tuple[str, str], tuple[Run, int]] = {}
    duration = int(events.t[-1])
    for name, filters in {
        "time range": {"time_range_us": (duration // 4, 3 * duration // 4)},
        "region": {"region": REGION},
        "hot pixels": {"hot_pixel_factor": HOT},
        "background": {"background_us": TAU_US},
        "region, hot pixels and background": {"region": REGION, "hot_pixel_factor": HOT, "background_us": TAU_US},
    }.items():
        runs[name, "ours"] = ours(events, **filters), len(events)
    runs["background, the first events only", "ours"] = ours(short, background_us=TAU_US), len(short)
    peers = []
    for peer, make, given in (("tonic", tonics, short), ("dv-processing", dvs, events)):
        try:
            peers.append(f"{peer} {version(peer)}")
            for name, run in make(given).items():
                name = f"{name}, the first events only" if given is short else name
                runs[name, peer] = run, len(given)
        except (ImportError, PackageNotFoundError):
            peers.append(f"{peer} absent")
    print(f"{platform.python_version()}, {'; '.join(peers)}; load {os.getloadavg()[0]:.1f}; pinned to one core\n")
    best = dict.fromkeys(runs, np.inf)
    kept = dict.fromkeys(runs, 0)
    for turn in range(arguments.rounds + 1):  # the first only warms up
        for key, (run, _) in runs.items():
            start = time.process_time()
            kept[key] = run()
            best[key] = min(best[key], time.process_time() - start) if turn else best[key]
    print("| filter | by | Mev/s, CPU time | kept |\n|---|---|---|---|")
    for name, by in sorted(runs):
        count = runs[name, by][1]
        print(f"| {name} | {by} | {count / best[name, by] / 1e6:.1f} | {kept[name, by]:,} of {count:,} |")


if __name__ == "__main__":
    main()
