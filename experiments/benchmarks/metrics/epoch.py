"""What the evaluator itself costs in an epoch of ``highfreq``: decoding and scoring, without data and network."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import nn

from spikeyolo import schema
from spikeyolo.engine.checkpoints.restore import restore_detector


class Timed(nn.Module):
    """A detector that adds up the seconds it takes."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector
        self.seconds = 0.0

    def forward(self, frames: torch.Tensor) -> Any:
        begun = time.perf_counter()
        found = self.detector(frames)
        self.seconds += time.perf_counter() - begun
        return found


def timed(task: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    task()
    return time.perf_counter() - begun


def trained(epochs: int, folder: Path, overrides: list[str]) -> Path:
    command = [sys.executable, "-m", "spikeyolo.train", "+experiment=highfreq", f"trainer.max_epochs={epochs}"]
    command += ["trainer.validate_every=1", "logger=none", f"hydra.run.dir={folder}/run"]  # each epoch has a validation
    subprocess.run([*command, *overrides], check=True)
    return folder / "run"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=4, help="that are trained; their mean is the epoch's time")
    parser.add_argument("--rounds", type=int, default=3, help="of the evaluator; the best counts")
    parser.add_argument("--run", type=Path, help="a run of highfreq that is there already")
    parser.add_argument("overrides", nargs="*", help="of the training, as trainer.threads=1")
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        run = arguments.run or trained(arguments.epochs, Path(folder), arguments.overrides)
        epoch = json.loads((run / "metrics.json").read_text())["seconds_per_epoch"]
        config = OmegaConf.load(run / ".hydra" / "config.yaml")
        detector, _ = restore_detector(run / "checkpoints" / "best")
    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
    data = schema.build(config.data)
    evaluator = schema.build(config.evaluator, classes=data.classes)
    batches = list(data.val_loader().epoch(0))  # without the time of encoding
    own = []
    for _ in range(arguments.rounds + 1):
        network = Timed(detector)
        whole = timed(lambda network=network: evaluator.evaluate(network, iter(batches), device=torch.device("cpu")))
        own.append(whole - network.seconds)
    best = min(own[1:])  # the first round compiles
    windows = sum(batch.frames.shape[1] for batch in batches)
    print("| an epoch of highfreq | evaluator's own, of windows | share |")
    print("|---|---|---|")
    print(f"| {epoch:.2f} s | {best:.3f} s, {windows} | {100 * best / epoch:.1f} % |")


if __name__ == "__main__":
    main()
