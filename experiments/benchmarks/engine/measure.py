"""What the engine itself costs: of a step, of an epoch (saving, MLflow), and of a validation.

    python experiments/benchmarks/engine/measure.py step|epoch|validation [--threads 2] [--size t] [--rounds 5]

``step`` takes turns between the trainer's loop with everything on and a bare loop over the same batches. Beside the
wall clock stand processor seconds, which other programs on the machine disturb less. ``epoch`` is a real training,
``highfreq`` unless other overrides are given behind ``--``.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import nn

from spikeyolo.engine.callbacks import Callback, Outcome, Run
from spikeyolo.engine.evaluator import DetectionEvaluator
from spikeyolo.engine.task import Task
from spikeyolo.engine.trainer import Trainer
from spikeyolo.engine.update.average import WeightAverage
from spikeyolo.engine.update.optimizer import AdamW, build_optimizer
from spikeyolo.engine.update.schedule import CosineSchedule
from spikeyolo.entry import config_directory
from spikeyolo.loss import DetectionLoss
from spikeyolo.model import Detector
from spikeyolo.model.inference import fold
from spikeyolo.model.neuron import Ilif
from spikeyolo.report.silent import SilentLogger
from spikeyolo.windows.batch import Batch, Targets

CPU = torch.device("cpu")


def detector_of(size: str) -> Detector:
    written = OmegaConf.load(config_directory() / "model" / f"{size}.yaml")
    scale: dict[str, Any] = {name: written[name] for name in ("depth", "width", "p5_ratio")}
    torch.manual_seed(0)
    return Detector(num_classes=3, neuron=Ilif, **scale)


def batch_of(steps: int, windows: int, height: int, width: int) -> Batch:
    """Sparse counts, two boxes a window and step."""
    draw = torch.Generator().manual_seed(1)
    frames = torch.poisson(torch.full((steps, windows, 2, height, width), 0.1), generator=draw).to(torch.uint8)
    rows = torch.arange(2 * steps * windows)
    corner = torch.rand(len(rows), 2, generator=draw) * torch.tensor([width / 2, height / 2])
    targets = Targets(
        batch_index=rows % windows,
        time_step=rows // windows % steps,
        xyxy=torch.cat((corner, corner + min(height, width) / 3), dim=1),
        class_id=rows % 3,
        track_id=torch.full_like(rows, -1),
        recording=torch.zeros_like(rows),
        supervised=torch.ones(steps, windows, dtype=torch.bool),
    )
    return Batch(frames, targets, windows=())


class Stamps(Callback):
    """The clock and the processor's seconds after each batch."""

    def __init__(self) -> None:
        self.taken: list[tuple[float, float]] = []

    def after_batch(self, run: Run) -> Outcome:
        self.taken.append((time.perf_counter(), time.process_time()))
        return Outcome.CONTINUE


class Served:
    """A loader whose batches are in memory."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches = batches
        self.sampler = SimpleNamespace(batch_size=batches[0].frames.shape[1] if batches else 1)

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int, *, first_batch: int = 0) -> Iterator[Batch]:
        return iter(self.batches[first_batch:])


class Quiet:
    """Neither shows nor judges anything."""

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Any]:
        yield lambda text: None

    def evaluate(self, detector: nn.Module, batches: Any, *, device: torch.device) -> dict[str, float]:
        return {"map50": 0.5}


def differences(taken: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Wall and processor seconds between one and the next, without the first two, which warm up."""
    pairs = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(taken)]
    return pairs[2:]


def whole_loop(detector: nn.Module, batches: list[Batch], folder: Path) -> list[tuple[float, float]]:
    """The trainer's own, with average, clipping, meters, budget, schedule and callbacks."""
    stamps = Stamps()
    quiet: Any = Quiet()
    task = Task(
        detector=copy.deepcopy(detector),
        loss=DetectionLoss(),
        optimizer=partial(AdamW, lr=1e-4),
        schedule=CosineSchedule(),
        train=Served(batches),  # type: ignore[arg-type]
        val=Served([]),  # type: ignore[arg-type]
        evaluator=quiet,
        logger=SilentLogger(),
        console=quiet,
        folder=folder,
        description={"classes": ["a", "b", "c"]},
    )
    trainer = Trainer(
        max_epochs=1,
        device="cpu",
        average=WeightAverage(),
        patience=5,
        keep=2,
        max_minutes=600,
        callbacks={"x": stamps},
    )
    trainer.fit(task)
    return differences(stamps.taken)


def bare_loop(detector: nn.Module, batches: list[Batch]) -> list[tuple[float, float]]:
    """Forward pass, loss, backward pass, update."""
    network = copy.deepcopy(detector).train()
    loss, optimizer = DetectionLoss(), build_optimizer(partial(AdamW, lr=1e-4), network)
    taken = []
    for batch in batches:
        loss(network(batch.frames), batch.targets).total.backward()
        optimizer.step()
        optimizer.zero_grad()
        taken.append((time.perf_counter(), time.process_time()))
    return differences(taken)


def step(arguments: argparse.Namespace) -> None:
    detector = detector_of(arguments.size)
    batches = [batch_of(*arguments.shape)] * arguments.steps
    found: dict[str, list[tuple[float, float]]] = {"whole": [], "bare": []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds):
            found["whole"] += whole_loop(detector, batches, Path(folder) / str(number))
            found["bare"] += bare_loop(detector, batches)
    print("| loop | median wall ms | median processor ms |\n|---|---|---|")
    medians = {name: [statistics.median(column) for column in zip(*rows)] for name, rows in found.items()}
    for name, (wall, processor) in medians.items():
        print(f"| {name} | {1e3 * wall:.1f} | {1e3 * processor:.1f} |")
    ratios = [whole / bare for whole, bare in zip(medians["whole"], medians["bare"])]
    print(f"\nwhole / bare: {ratios[0]:.3f} wall, {ratios[1]:.3f} processor (goal: at most 1.05)")


@contextmanager
def timed(owner: Any, name: str, spent: dict[str, float]) -> Iterator[None]:
    """Add up the seconds in a function, as the training waits for it."""
    function: Callable[..., Any] = getattr(owner, name)

    def call(*positional: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*positional, **named)
        finally:
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - began

    setattr(owner, name, call)
    try:
        yield
    finally:
        setattr(owner, name, function)


def epoch(arguments: argparse.Namespace) -> None:
    from spikeyolo import entry
    from spikeyolo.engine.checkpoints import checkpoint
    from spikeyolo.engine.checkpoints.behind import Behind
    from spikeyolo.report.mlflow.logger import MlflowLogger
    from spikeyolo.train import train

    saving: dict[str, float] = {}
    tracking: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        given = arguments.overrides or ["+experiment=highfreq", "trainer.max_epochs=4"]
        store = f"logger.tracking_uri=sqlite:///{folder}/mlflow.db"
        sys.argv = ["measure", *given, f"trainer.threads={arguments.threads}", f"hydra.run.dir={run}", store]
        waiting = timed(Behind, "wait", saving)  # for what is still being written when the next is due
        with timed(checkpoint, "save", saving), waiting, timed(MlflowLogger, "log_metrics", tracking):
            entry.run(train, "train")
        figures: Mapping[str, float] = json.loads((run / "metrics.json").read_text())
    epochs = figures["epochs"]
    seconds = epochs * figures["seconds_per_epoch"]
    parts = {"saving": sum(saving.values()), "MLflow": sum(tracking.values())}
    whole = seconds + sum(parts.values())
    print(f"{epochs:.0f} epochs of {seconds / epochs:.2f} s\n\n| of an epoch | ms | share | goal |\n|---|---|---|---|")
    for (name, spent), goal in zip(parts.items(), ("2 %", "1 %")):
        print(f"| {name} | {1e3 * spent / epochs:.0f} | {spent / whole:.2%} | at most {goal} |")


def validation(arguments: argparse.Namespace) -> None:
    from spikeyolo.engine import evaluator as module

    detector = detector_of(arguments.size)
    batches = [batch_of(*arguments.shape)] * arguments.steps
    evaluator = DetectionEvaluator(classes=("a", "b", "c"))
    began = time.perf_counter()
    fold(detector)
    own = time.perf_counter() - began
    kinds: dict[str, Callable[[nn.Module], nn.Module]] = {
        "folded": fold,
        "unfolded": lambda network: copy.deepcopy(network).eval(),
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in kinds}
    for _ in range(arguments.rounds):
        for name, make in kinds.items():
            module.fold = make  # type: ignore[assignment]
            stamps = []
            for _ in evaluator.detections(detector, batches, device=CPU):
                stamps.append((time.perf_counter(), time.process_time()))
            taken[name] += differences(stamps)
    module.fold = fold
    print("| validation | median wall ms a batch | median processor ms |\n|---|---|---|")
    for name, rows in taken.items():
        wall, processor = (statistics.median(column) for column in zip(*rows))
        print(f"| {name} | {1e3 * wall:.1f} | {1e3 * processor:.1f} |")
    print(f"\nfolding itself: {1e3 * own:.0f} ms, once a validation")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["step", "epoch", "validation"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", default="t", help="of step and validation")
    parser.add_argument("--shape", type=int, nargs=4, default=[4, 4, 256, 320], metavar=("T", "B", "H", "W"))
    parser.add_argument("--steps", type=int, default=12, help="a round")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each loop")
    parser.add_argument("overrides", nargs="*", help="of epoch's training, behind --")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {arguments.threads} threads\n")
    {"step": step, "epoch": epoch, "validation": validation}[arguments.what](arguments)


if __name__ == "__main__":
    main()
