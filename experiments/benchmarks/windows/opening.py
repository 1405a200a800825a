"""Measure how a large data set is opened: ``python experiments/benchmarks/windows/opening.py``.

Writes sets of 1,000, 3,000 and 10,000 recordings (real copies of files, 200 windows each) into a temporary folder, and
opens each in a process of its own, from the manifest to the first window. Prints the table of the README.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from made import CLASSES, events, labels, write_set

LOOKS = 200
LABEL_STEP_US = 50_000


def resident_mb() -> float:
    """Most memory this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def open_set(root: str) -> None:
    """Open the set as training does, and print what it took."""
    from spikeyolo.events.conversion.converted import ConvertedSet
    from spikeyolo.windows.data import EventData
    from spikeyolo.windows.dataset import WindowDataset
    from spikeyolo.windows.encoders import HistogramEncoder

    before = resident_mb()
    began = time.perf_counter()
    data = EventData(
        dataset=ConvertedSet(root=root, classes=CLASSES),
        classes=CLASSES,
        store="unused",
        encoder=HistogramEncoder(downsample=2),
        slice_duration_us=5_000,
        negative_share=0.0,
    )
    parts = data.parts("train")
    read = time.perf_counter()
    windows = WindowDataset(parts, rules=data.rules, encoder=data.encoder)
    indexed = time.perf_counter()
    first = windows[0, 0]
    assert first.frames.any()
    encoded = time.perf_counter()
    seconds = " | ".join(f"{s:.2f} s" for s in (read - began, indexed - read, encoded - indexed, encoded - began))
    memory = f"{resident_mb() - before:.0f} MB | {resident_mb():.0f} MB"
    print(f"| {len(parts):,} | {len(windows):,} | {seconds} | {memory} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recordings", type=int, nargs="+", default=[1_000, 3_000, 10_000])
    parser.add_argument("--open", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.open:
        open_set(arguments.open)
        return
    print("| recordings | windows | files | index | first window | all | memory it adds | memory of the process |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    span_us = LOOKS * LABEL_STEP_US + 1
    recording, boxes = events(5_000, span_us), labels(LOOKS, LABEL_STEP_US, np.random.default_rng(0))
    for recordings in arguments.recordings:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "set"
            write_set(root, recording, boxes, copies=recordings)
            subprocess.run([sys.executable, __file__, "--open", str(root)], check=True)


if __name__ == "__main__":
    main()
