"""What I-LIF does to activations and gradients, layer by layer, beside its ANN twin, before and after some steps.

    python -m experiments.etram_like.diagnose --arms ilif relu branch0.2_ilif branch0.2_relu --steps 0 100

For each arm: the norm of the gradient of all weights; how well it predicts what a small step against it does to the
loss (``step efficiency``: 1 for a true gradient and an infinitely small step, 0 for a direction that has nothing to do
with the loss, below 0 for one that raises it); and for each neuron the deviation of its currents, the shares of its
outputs that are 0 and that are D, and the norm of the gradient of its currents.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch import nn

from experiments.etram_like.equal_steps import ARMS, composed
from spikeyolo import schema
from spikeyolo.engine.update.optimizer import build_optimizer
from spikeyolo.engine.update.step import TrainStep
from spikeyolo.model.blocks import SpikingConv

RELATIVE_STEPS = (1e-5, 1e-4, 1e-3)  # of the norm of all weights


def measure(detector: nn.Module, loss: Any, batch: Any) -> tuple[float, float, list[float], list[list[Any]]]:
    """Loss, gradient norm, step efficiencies, and a row a neuron."""
    rows: list[list[Any]] = []
    handles = []
    for name, unit in detector.named_modules():
        if isinstance(unit, SpikingConv) and unit.neuron is not None:
            if hasattr(unit.neuron, "overwrites"):
                unit.neuron.overwrites = "never"

            def watch(neuron: Any, inputs: Any, outputs: Any, name: str = name) -> None:
                currents, spikes = inputs[0], outputs[0].detach()
                top = getattr(neuron, "levels", None) or float("inf")
                row = [name, float(currents.std()), float((spikes == 0).float().mean()),
                       float((spikes >= top).float().mean()), 0.0]  # fmt: skip
                rows.append(row)
                currents.register_hook(lambda gradient: row.__setitem__(4, float(gradient.norm())))

            handles.append(unit.neuron.register_forward_hook(watch))
    detector.zero_grad()
    total = loss(detector(batch.frames), batch.targets).total
    total.backward()
    for handle in handles:
        handle.remove()
    parameters = [p for p in detector.parameters() if p.grad is not None]
    norm = float(torch.stack([p.grad.norm() for p in parameters]).norm())  # type: ignore[union-attr]
    size = float(torch.stack([p.detach().norm() for p in parameters]).norm())
    efficiencies = []
    with torch.no_grad():
        for share in RELATIVE_STEPS:
            length = share * size
            torch._foreach_add_(parameters, [p.grad for p in parameters], alpha=-length / norm)  # type: ignore[misc]
            lower = float(loss(detector(batch.frames), batch.targets).total)
            torch._foreach_add_(parameters, [p.grad for p in parameters], alpha=2 * length / norm)  # type: ignore[misc]
            higher = float(loss(detector(batch.frames), batch.targets).total)
            torch._foreach_add_(parameters, [p.grad for p in parameters], alpha=-length / norm)  # type: ignore[misc]
            efficiencies.append((higher - lower) / (2 * length * norm))
    return float(total.detach()), norm, efficiencies, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--arms", nargs="+", default=["ilif", "relu", "branch0.2_ilif", "branch0.2_relu"], metavar="ARM"
    )
    parser.add_argument("--steps", nargs="+", type=int, default=[0, 100], help="after so many updates")
    parser.add_argument("--layers", action="store_true", help="a row a neuron as well")
    parser.add_argument("overrides", nargs="*", default=[])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for arm in asked.arms:
        config = composed([*asked.overrides, *ARMS[arm]])
        torch.manual_seed(0)
        data = schema.build(config.data)
        detector = schema.build(config.model, num_classes=len(data.classes), in_channels=data.encoder.channels).train()
        loss = schema.build(config.loss)
        batches = data.train_loader(augmentation=None, seed=0)
        fixed = next(batches.epoch(0))
        optimizer = build_optimizer(schema.build(config.optimizer, _partial_=True), detector)
        step = TrainStep(
            detector, run=detector, loss=loss, optimizer=optimizer, average=None, precision="float32",
            clip_gradient=10.0,
        )  # fmt: skip
        done = 0
        for steps in sorted(asked.steps):
            while done < steps:
                for batch in batches.epoch(done):
                    if done == steps:
                        break
                    step.gradients(batch)
                    step.clip()
                    step.update()
                    done += 1
            total, norm, efficiencies, rows = measure(detector, loss, fixed)
            shares = " ".join(f"{value:6.3f}" for value in efficiencies)
            print(
                f"{arm:20} after {done:4} steps: loss {total:6.3f}  gradient {norm:9.2f}  step efficiency {shares}",
                flush=True,
            )
            for name, deviation, silent, top, gradient in rows if asked.layers else ():
                rates = f"currents {deviation:5.2f}  zero {silent:4.2f}  at D {top:5.3f}"
                print(f"    {name:44} {rates}  gradient {gradient:8.4f}")


if __name__ == "__main__":
    main()
