"""Measure whether training waits for its windows: ``python experiments/benchmarks/windows/loader.py``.

Two workers, batches of 8, the smallest model (femto) on this machine's processor: how many windows a second the loader
alone makes, and which share of a training step is spent on waiting for the batch. Prints the table of the README.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "8000")  # as the entry points set it, before torch is imported

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from made import CLASSES, events, labels, write_set

from spikeyolo import schema
from spikeyolo.entry import config_directory
from spikeyolo.windows.batch import Batch
from spikeyolo.windows.serving.loader import WindowLoader

WARM_UP = 2  # batches: workers start, kernels compile


def endless(loader: WindowLoader) -> Iterator[Batch]:
    """Epoch after epoch."""
    epoch = 0
    while True:
        yield from loader.epoch(epoch)
        epoch += 1


def windows_a_second(loader: WindowLoader, seconds: float) -> float:
    """With nothing else to do."""
    batches = endless(loader)
    for _ in islice(batches, WARM_UP + 8):  # what was fetched ahead does not count
        pass
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        count += len(next(batches).windows)
    return count / (time.perf_counter() - began)


def step(config: Any, data: Any) -> Any:
    """A training step as the trainer makes it; a call takes a batch."""
    detector = schema.build(config.model, num_classes=len(data.classes), in_channels=data.encoder.channels)
    loss, optimizer = schema.build(config.loss), schema.build(config.optimizer).build(detector)
    detector.train()

    def call(batch: Batch) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(detector(batch.frames), batch.targets).total.backward()
        torch.nn.utils.clip_grad_norm_(detector.parameters(), 10.0, foreach=True)
        optimizer.step()

    return call


def measure(name: str, overrides: list[str], seconds: float) -> None:
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        config = compose("train", ["+experiment=highfreq", "data.workers=2", "data.batch_size=8", *overrides])
    data = schema.build(config.data)
    augmentation = schema.build(config.augment)
    loader = data.train_loader(augmentation=augmentation, seed=0)
    alone = windows_a_second(loader, seconds)
    train, batches = step(config, data), endless(loader)
    for batch in islice(batches, WARM_UP):
        train(batch)
    waited, worked, steps = 0.0, 0.0, 0
    while worked + waited < seconds or steps < 4:
        asked = time.perf_counter()
        batch = next(batches)
        given = time.perf_counter()
        train(batch)
        waited, worked, steps = waited + given - asked, worked + time.perf_counter() - given, steps + 1
    print(
        f"| {name} | {alone:,.0f} | {8 * steps / (waited + worked):,.1f} | {1e3 * worked / steps:,.0f} ms | "
        f"{1e3 * waited / steps:.1f} ms | {100 * waited / (waited + worked):.1f} % |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each of the two measurements of a row")
    parser.add_argument("--threads", type=int, default=2, help="of the training process")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    print("| windows | loader alone, windows a second | in training | step | waits | share |", file=sys.stdout)
    print("|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        measure("embedded set, 96×96, 8 × 100 µs", [f"data.store={folder}/synthetic"], arguments.seconds)
        scene = events(20_000_000, 4_000_000)  # 5 M events a second
        write_set(Path(folder) / "set", scene, labels(199, 20_000, np.random.default_rng(0)))
        made = ["data=converted", f"data.root={folder}/set", f"data.classes=[{','.join(CLASSES)}]"]
        made += ["data.encoder.downsample=2"]
        for slice_us in (100, 10_000):
            name = f"1280×720 ÷ 2, 5 Mev/s, 8 × {slice_us:,} µs, cache=none"
            measure(name, [*made, "data.cache=none", f"data.slice_duration_us={slice_us}"], arguments.seconds)


if __name__ == "__main__":
    main()
