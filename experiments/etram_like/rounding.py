"""Which layers' rounding costs accuracy: a network trained with membranes that are not rounded is then rounded in part.

    python -m experiments.etram_like.rounding --steps 500 model=femto data.time_steps=1 data.slice_duration_us=80000 \\
        scheduler=cyclic scheduler.max_lr=0.005

The arm ``branch0.2_clamp`` is trained as in ``equal_steps``; nothing is trained after the rounding. One line for all
neurons with finer and finer thresholds, and one for each part of the network alone at the published ones.
"""

from __future__ import annotations

import argparse

import torch

from experiments.equal_updates import Trained
from experiments.etram_like.equal_steps import fit_arm, held_out
from experiments.etram_like.neurons import Probe


def scored(trained: Trained, prefix: str, gain: float, levels: int) -> dict[str, float]:
    """Figures with the neurons below ``prefix`` rounded to steps of 1 / gain."""
    for name, unit in trained.weights.named_modules():
        if isinstance(unit, Probe):
            rounds = name.startswith(prefix)
            unit.rounding, unit.rescaled = ("even" if rounds else "none"), True
            unit.gain, unit.top = (gain, levels) if rounds else (1.0, 4)
    return held_out(trained)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("overrides", nargs="*", default=[])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    trained = fit_arm("branch0.2_clamp", asked.seed, asked.steps, asked.overrides)
    units = [name for name, unit in trained.weights.named_modules() if isinstance(unit, Probe)]
    parts = list(dict.fromkeys(".".join(name.split(".")[:2]) + "." for name in units))
    rows = [("none", "-", 1.0, 4)]
    rows += [("all", "", gain, levels) for gain, levels in ((1.0, 4), (1.5, 6), (2.0, 8), (2.0, 4), (4.0, 16))]
    rows += [(part, part, 1.0, 4) for part in parts]
    for label, prefix, gain, levels in rows:
        figures = scored(trained, prefix, gain, levels)
        print(
            f"{label:24} gain {gain:g} D {levels:2}  mAP {figures['map']:.3f}  mAP50 {figures['map50']:.3f}", flush=True
        )


if __name__ == "__main__":
    main()
