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
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir

from experiments.equal_updates import Trained, fit
from experiments.etram_like.neurons import Probe
from spikeyolo.model.detector import Detector
from spikeyolo.model.neuron import Neuron

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


def fit_arm(arm: str, seed: int, steps: int, more: list[str]) -> Trained:
    """Train one arm; a :class:`Probe` hears how much of the training is done."""

    def tell(detector: Detector, share: float) -> None:
        for unit in detector.modules():
            if isinstance(unit, Probe):
                unit.progress = share

    return fit(composed([*more, *ARMS[arm], f"seed={seed}"]), steps, before=tell)


def held_out(trained: Trained) -> dict[str, float]:
    """Figures on the recordings of ``val`` and ``test`` together."""
    loaders = (trained.data.val_loader(), trained.data.test_loader())
    batches = (batch for loader in loaders for batch in loader.epoch(0))
    return dict(trained.evaluator.evaluate(trained.weights, batches, device=torch.device("cpu")))


def seen(trained: Trained) -> dict[str, float]:
    """Figures on the first 30 batches of the training windows, without augmentation."""
    batches = itertools.islice(trained.data.train_loader(augmentation=None, seed=0).epoch(0), 30)
    return dict(trained.evaluator.evaluate(trained.weights, batches, device=torch.device("cpu")))


def measure(arm: str, seed: int, steps: int, more: list[str]) -> dict[str, Any]:
    """One arm's figures."""
    started = time.process_time()
    trained = fit_arm(arm, seed, steps, more)
    seconds = time.process_time() - started
    unseen, known = held_out(trained), seen(trained)
    rate, silent = outputs(trained)
    losses, norms = trained.losses, trained.norms
    tail = losses[-max(steps // 10, 1) :]
    return {
        "arm": arm, "seed": seed, "steps": steps, "overrides": more, "map": unseen["map"], "map50": unseen["map50"],
        "train_map": known["map"], "train_map50": known["map50"], "loss": sum(tail) / len(tail),
        "curve": [round(sum(losses[i : i + 50]) / len(losses[i : i + 50]), 3) for i in range(0, steps, 50)],
        "gradient": sum(norms) / len(norms), "rate": rate, "silent": silent, "cpu_s": round(seconds),
    }  # fmt: skip


def outputs(trained: Trained) -> tuple[float, float]:
    """Mean output of all neurons on the validation windows, and the share of zeros."""
    values = total = zeros = 0.0

    def count(module: torch.nn.Module, inputs: Any, output: Any) -> None:
        nonlocal values, total, zeros
        values += output[0].numel()
        total += float(output[0].sum())
        zeros += float((output[0] == 0).sum())

    network = trained.weights.eval()
    hooks = [unit.register_forward_hook(count) for unit in network.modules() if isinstance(unit, Neuron)]
    with torch.inference_mode():
        for batch in trained.data.val_loader().epoch(0):
            network(batch.frames)
    for hook in hooks:
        hook.remove()
    return total / values, zeros / values


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
