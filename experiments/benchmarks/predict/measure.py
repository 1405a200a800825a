"""Predict's memory over a recording's length, its speed by event rate, and the time of decoding boxes.

    python experiments/benchmarks/predict/measure.py memory|speed|decode [--threads 2] [--folder FOLDER]

Recordings are DAT files of evenly spread events, made in FOLDER and kept there; the network is never trained, and its
class biases are set so that every time step has detections. Every case runs the command in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from spikeyolo.detections.files import whole_file

WIDTH, HEIGHT = 346, 260  # DAVIS346
BATCH = 1 << 20


def recording(folder: Path, *, seconds: int, rate: int) -> Path:
    """A DAT file of so many events a second at random pixels."""
    path = folder / f"{seconds}s_{rate}.dat"
    if path.exists():
        return path
    draw = np.random.default_rng(0)
    with whole_file(path) as partial, partial.open("wb") as file:
        file.write(f"% Data file containing CD events\n% Version 2\n% Width {WIDTH}\n% Height {HEIGHT}\n".encode())
        file.write(b"\x0c\x08")
        for first in range(0, seconds * rate, BATCH):
            number = np.arange(first, min(first + BATCH, seconds * rate), dtype=np.uint64)
            x, y = draw.integers(0, WIDTH, len(number)), draw.integers(0, HEIGHT, len(number))
            address = (x | y << 14 | draw.integers(0, 2, len(number)) << 28).astype(np.uint64)
            file.write((number * 1_000_000 // rate | address << 32).astype("<u8").tobytes())
    return path


def checkpoint(folder: Path, *, size: str, downsample: int) -> Path:
    """A network of one class that was never trained, for windows of 8 steps of 10 ms."""
    import torch
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from spikeyolo import schema
    from spikeyolo.engine.checkpoints import checkpoint as files
    from spikeyolo.entry import config_directory

    path = folder / f"{size}_{downsample}" / "checkpoints" / "best"
    if path.exists():
        return path
    torch.manual_seed(0)
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        config = compose("train", [f"model={size}", f"data.encoder.downsample={downsample}"])
    composed: Any = OmegaConf.to_container(config, resolve=True)
    detector = schema.build(config.model, num_classes=1, in_channels=2)
    frames = torch.poisson(torch.full((8, 1, 2, 96, 128), 0.2))
    with torch.no_grad():  # norms that know their inputs, so that neurons fire
        for _ in range(20):
            detector(frames)
        for branch in detector.head.classes:
            branch.layers[-1].synapse.bias.fill_(-2.0)
    state = {
        "classes": ["object"],
        "in_channels": 2,
        "model": composed["model"],
        "encoder": composed["data"]["encoder"],
        "windows": {"slice_duration_us": 10_000, "time_steps": 8},
        "frame": {"sensor": [WIDTH, HEIGHT]},
    }
    files.save(path, weights=detector, training=None, state=state)
    return path


def predicted(folder: Path, threads: int, *overrides: str) -> tuple[float, float, dict[str, float]]:
    """Peak resident memory (MiB), real-time factor, and what the time was spent on (per cent) of one command."""
    command = [sys.executable, "-m", "spikeyolo.predict", f"threads={threads}", "fresh=true", "device=cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": "1"}
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [*command, *overrides], cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=errors
        )
        _, status, usage = os.wait4(process.pid, 0)
        errors.seek(0)
        said = errors.read().decode()
    if status:
        raise SystemExit(said)
    found = re.search(r"([\d.e+-]+) × real time \((.*)\)", said)
    assert found is not None, said
    shares = {name: float(value) for name, value in re.findall(r"(\w+) ([\d.]+) %", found[2])}
    return usage.ru_maxrss / 1024, float(found[1]), shares


def memory(folder: Path, threads: int, minutes: tuple[int, ...] = (1, 30)) -> None:
    """A minute against thirty, at 20,000 events a second and a quarter of the sensor's pixels each way."""
    best = checkpoint(folder, size="femto", downsample=4)
    peaks = []
    for length in minutes:
        source = recording(folder, seconds=60 * length, rate=20_000)
        peak, factor, _ = predicted(
            folder, threads, f"checkpoint={best}", f"source={source}", "carry=true", "max_detections=10"
        )
        peaks.append(peak)
        print(f"{length:>3} min: peak {peak:.0f} MiB, {factor:.3g} × real time", flush=True)
    print(f"difference: {peaks[-1] - peaks[0]:.1f} MiB")


def speed(folder: Path, threads: int) -> None:
    """Ten seconds of 346x260 px by event rate and by what runs the network."""
    best = checkpoint(folder, size="femto", downsample=1)
    print("| events a second | backend | × real time | reading | encoding | network | decoding |")
    print("|---|---|---|---|---|---|---|")
    for rate in (100_000, 1_000_000, 10_000_000):
        source = recording(folder, seconds=10, rate=rate)
        for backend in ("torch", "torch precision=bfloat16", "openvino"):
            runs = f"backend={backend} carry={str(backend.startswith('torch')).lower()}".split()
            _, factor, shares = predicted(
                folder, threads, f"checkpoint={best}", f"source={source}", *runs, "max_detections=20"
            )
            parts = " | ".join(f"{shares[name]:.0f} %" for name in ("read", "encode", "network", "decode"))
            print(f"| {rate:,} | {backend} | {factor:.2f} | {parts} |", flush=True)


def decode(folder: Path, threads: int) -> None:
    """A step's predictions of 640x384 px into boxes, with suppression: user CPU, one thread."""
    import torch

    from spikeyolo.model.decode import Decoder
    from spikeyolo.model.head import anchor_points
    from spikeyolo.model.predictions import Predictions

    torch.set_num_threads(1)
    draw = torch.Generator().manual_seed(0)
    points, strides = anchor_points([(48, 80), (24, 40), (12, 20)], (8, 16, 32), torch.device("cpu"))
    print("| classes | confidence | above it | ms |")
    print("|---|---|---|---|")
    for classes in (3, 80):
        for confidence in (0.001, 0.1):
            logits = torch.randn(1, 1, len(points), classes, generator=draw) * 2 - 4
            found = Predictions(torch.randn(1, 1, len(points), 4, 16, generator=draw), logits, points, strides)
            decoder = Decoder(confidence=confidence)
            for _ in range(20):
                decoder(found)
            began = time.process_time()
            for _ in range(200):
                decoder(found)
            spent = 1e3 * (time.process_time() - began) / 200
            print(f"| {classes} | {confidence} | {int((logits.sigmoid() > confidence).sum())} | {spent:.2f} |")


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["memory", "speed", "decode"])
    parser.add_argument("--minutes", type=int, nargs="+", default=[1, 30], help="lengths of memory's recordings")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "spikeyolo_predict")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    if arguments.what == "memory":
        memory(arguments.folder, arguments.threads, tuple(arguments.minutes))
    else:
        {"speed": speed, "decode": decode}[arguments.what](arguments.folder, arguments.threads)


if __name__ == "__main__":
    main()
