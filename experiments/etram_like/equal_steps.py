"""Trains arms for an equal number of steps and measures each on recordings it did not and did train on.

    python -m experiments.etram_like.equal_steps --arms ilif relu --seeds 0 1 2 --steps 600 --out equal_steps.jsonl

Valid at any load of the machine: every arm sees the same windows in the same order, one thread, fixed seeds. An arm is
a name of ``ARMS``, a list of overrides. Runs found in ``--out`` are not done again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir

from spikeyolo import schema
from spikeyolo.engine.update.average import WeightAverage
from spikeyolo.engine.update.optimizer import build_optimizer
from spikeyolo.engine.update.step import TrainStep
from spikeyolo.model.blocks import SpikingConv
from spikeyolo.model.detector import Detector

HERE = Path(__file__).resolve().parent
PROBE = "model.neuron._target_=experiments.etram_like.neurons.Probe"


def probe(**values: object) -> list[str]:
    return [PROBE, *(f"++model.neuron.{key}={value}" for key, value in values.items())]


ARMS: dict[str, list[str]] = {
    "ilif": [],
    "relu": ["model/neuron=relu"],
    "clamp": probe(rounding="none"),  # the membrane between 0 and D, not rounded
    "relu_memory": probe(rounding="none", ceiling="false"),
    "no_memory": ["model.neuron.decay=0"],
    "noise": probe(rounding="noise"),
    "d8": ["model.neuron.levels=8"],
    **{
        f"gain{g}_d{d}": [f"model.neuron.gain={g}", f"model.neuron.levels={d}"] for g in (1.5, 2, 4) for d in (4, 8, 16)
    },
    "margin0.5": ["model.neuron.surrogate_margin=0.5"],
    "tail0.1": probe(tail=0.1),
    "learnt": probe(learnt="true"),
    **{f"fine{g}_d{d}": probe(gain=g, levels=d, rescaled="true") for g, d in ((2, 4), (2, 8), (4, 16), (1.5, 6))},
    **{f"late{share}": probe(late=share) for share in (0.3, 0.5, 0.7, 0.9)},
    **{f"ramp{share}": probe(late=share, ramp="true") for share in (0.5, 0.7, 0.9)},
    "late0.7_free": probe(late=0.7, ceiling="false"),
}
ARMS |= {
    f"ends{factor}_{name}": [*ARMS[name], f"model.fine_ends={factor}"] for factor in (2, 4) for name in ("ilif", "relu")
}
ARMS |= {
    f"branch{b}_{name}": [*arm, f"model.branch_scale={b}"] for b in (0, 0.1, 0.2, 0.5) for name, arm in ARMS.items()
}


def composed(overrides: list[str]) -> Any:
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(HERE.parents[1] / "conf"), version_base=None):
        return compose("train", [f"hydra.searchpath=[file://{HERE / 'conf'}]", "data=etram_like", *overrides])


@dataclass
class Trained:
    """What came of a training: the averaged weights, the data, and loss and gradient norm of every update."""

    weights: Detector
    data: Any
    evaluator: Any
    losses: list[float]
    norms: list[float]

    def held_out(self) -> dict[str, float]:
        """Figures on the recordings of ``val`` and ``test`` together."""
        loaders = (self.data.val_loader(), self.data.test_loader())
        batches = (batch for loader in loaders for batch in loader.epoch(0))
        return dict(self.evaluator.evaluate(self.weights, batches, device=torch.device("cpu")))

    def seen(self) -> dict[str, float]:
        """Figures on the first 30 batches of the training windows, without augmentation."""
        batches = itertools.islice(self.data.train_loader(augmentation=None, seed=0).epoch(0), 30)
        return dict(self.evaluator.evaluate(self.weights, batches, device=torch.device("cpu")))


def fit(arm: str, seed: int, steps: int, more: list[str]) -> Trained:
    """Train one arm."""
    config = composed([*more, *ARMS[arm], f"seed={seed}"])
    torch.manual_seed(seed)
    data = schema.build(config.data)
    detector = schema.build(config.model, num_classes=len(data.classes), in_channels=data.encoder.channels)
    loader = data.train_loader(augmentation=schema.build(config.augment), seed=seed)
    average = WeightAverage(decay=0.98)
    weights = average.start(detector)
    optimizer = build_optimizer(schema.build(config.optimizer, _partial_=True), detector)
    schedule = schema.build(config.scheduler)
    base = float(optimizer.defaults["lr"])
    step = TrainStep(detector, run=detector, loss=schema.build(config.loss), optimizer=optimizer, average=average,
                     precision="float32", clip_gradient=10.0)  # fmt: skip
    detector.train()
    losses: list[float] = []
    norms: list[float] = []
    epoch = 0
    while len(losses) < steps:
        for batch in loader.epoch(epoch):
            if len(losses) == steps:
                break
            step.set_factor(schedule.factor(len(losses) / steps, base_lr=base, max_epochs=max(steps // len(loader), 1)))
            for unit in detector.modules():
                if hasattr(unit, "progress"):
                    unit.progress = len(losses) / steps
            loss, _ = step.gradients(batch)
            norms.append(float(step.clip()))
            step.update()
            losses.append(float(loss))
        epoch += 1
    return Trained(weights, data, schema.build(config.evaluator, classes=data.classes), losses, norms)


def measure(arm: str, seed: int, steps: int, more: list[str]) -> dict[str, Any]:
    """One arm's figures."""
    started = time.process_time()
    done = fit(arm, seed, steps, more)
    seconds = time.process_time() - started
    heard = Silence(done.weights)
    held_out = done.held_out()
    rate, silent = heard.figures()
    known = done.seen()
    losses, norms = done.losses, done.norms
    tail = losses[-max(steps // 10, 1) :]
    return {
        "arm": arm, "seed": seed, "steps": steps, "overrides": more, "map": held_out["map"], "map50": held_out["map50"],
        "train_map": known["map"], "train_map50": known["map50"], "loss": sum(tail) / len(tail),
        "curve": [round(sum(losses[i : i + 50]) / len(losses[i : i + 50]), 3) for i in range(0, steps, 50)],
        "gradient": sum(norms) / len(norms), "rate": rate, "silent": silent, "cpu_s": round(seconds),
    }  # fmt: skip


class Silence:
    """Mean output of all neurons, and the share of zeros."""

    def __init__(self, detector: torch.nn.Module) -> None:
        self.values = self.spikes = self.zeros = 0.0
        for unit in detector.modules():
            if isinstance(unit, SpikingConv) and unit.neuron is not None:
                unit.neuron.register_forward_hook(self.count)

    def count(self, module: torch.nn.Module, inputs: Any, output: Any) -> None:
        spikes = output[0]
        self.values += spikes.numel()
        self.spikes += float(spikes.sum())
        self.zeros += float((spikes == 0).sum())

    def figures(self) -> tuple[float, float]:
        return self.spikes / self.values, self.zeros / self.values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arms", nargs="+", default=["ilif", "relu"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--out", type=Path, default=Path("equal_steps.jsonl"))
    parser.add_argument("overrides", nargs="*", help="of every arm", default=[])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = [json.loads(line) for line in asked.out.read_text().splitlines()] if asked.out.exists() else []
    done = {(row["arm"], row["seed"], row["steps"], *row["overrides"]) for row in found}
    for seed in asked.seeds:
        for arm in asked.arms:
            if (arm, seed, asked.steps, *asked.overrides) not in done:
                row = measure(arm, seed, asked.steps, asked.overrides)
                with asked.out.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print({k: v for k, v in row.items() if k != "overrides"}, flush=True)


if __name__ == "__main__":
    main()
