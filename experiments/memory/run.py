"""Does carried state help? Trains arms for an equal number of updates, and scores each at the same label times.

    python -m experiments.memory.run slow_shapes --seeds 0 1 2 --steps 400
    python -m experiments.memory.run davis346_cars --seeds 0 1 2 --steps 400 data.root=PATH
    python -m experiments.memory.run --table

Valid at any load of the machine: one thread, fixed seeds, equal updates of equally many windows. Runs found in
``--out`` are not done again.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from scipy.special import stdtrit

from experiments.equal_updates import fit
from spikeyolo import schema
from spikeyolo.engine.evaluator import DetectionEvaluator, truth_at
from spikeyolo.events import Boxes, Detections
from spikeyolo.metrics.detection import DetectionMetrics

HERE = Path(__file__).resolve().parent
SETS = {
    "slow_shapes": ["+experiment=highfreq", "data=slow_shapes", "data.batch_size=8", "model.class_prior=null"],
    "davis346_cars": ["+experiment=real_cars"],
}
ARMS = {"windows": [], "streaming": ["data.sampling=streaming"], "mixed": ["data.sampling=mixed"]}
QUESTION = ("streaming", "carried")  # held against windows from a fresh state; decided before the first run
Looks = dict[tuple[int, int], tuple[Detections, Boxes]]


def composed(overrides: list[str]) -> Any:
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(HERE.parents[1] / "conf"), version_base=None):
        return compose("train", [f"hydra.searchpath=[file://{HERE / 'conf'}]", *overrides])


def train(overrides: list[str], arm: str, seed: int, steps: int) -> dict[str, Any]:
    """One arm's figures."""
    started = time.process_time()
    config = composed([*overrides, *ARMS[arm], f"seed={seed}"])
    trained = fit(config, steps, whole_batches=True)  # every update is of equally many windows
    weights, evaluator, losses = trained.weights, trained.evaluator, trained.losses
    seconds = time.process_time() - started
    found = {
        "fresh": looks(evaluator, weights, [*overrides, "data.sampling=uniform", "data.max_samples_per_file=null"]),
        "carried": looks(evaluator, weights, [*overrides, "data.sampling=streaming"]),
    }
    common = found["fresh"].keys() & found["carried"].keys()
    assert common, "no label time is scored both ways"
    tail = losses[-max(steps // 10, 1) :]
    return {
        "arm": arm, "seed": seed, "steps": steps, "looks": len(common), "loss": mean(tail), "cpu_s": round(seconds),
        **{way: figures(evaluator.classes, [found[way][key] for key in sorted(common)]) for way in found},
    }  # fmt: skip


def looks(evaluator: DetectionEvaluator, detector: torch.nn.Module, overrides: list[str]) -> Looks:
    """Detections and truth at each label time of validation: of windows before them, or of whole recordings."""
    data = schema.build(composed([*overrides, "data.negative_share=0"]).data)
    loader = data.val_loader()
    labels = [np.unique(part.inside.t) for part in loader.dataset.parts]
    found: Looks = {}
    for batch, step, every in evaluator.detections(detector, loader.epoch(0), device=torch.device("cpu")):
        for row in batch.targets.supervised[step].nonzero().flatten().tolist():
            window, truth = batch.windows[row], truth_at(batch.targets, batch_index=row, step=step)
            end_us = window.start_us + (window.end_us - window.start_us) // len(batch.frames) * (step + 1)
            times = labels[window.recording]
            found[window.recording, int(times[np.searchsorted(times, end_us)])] = (every[row], truth)
    return found


def figures(classes: tuple[str, ...], pairs: list[tuple[Detections, Boxes]]) -> dict[str, float]:
    metrics = DetectionMetrics(classes=classes)
    for pair in pairs:
        metrics.add(*pair)
    computed = metrics.compute()
    return {name: computed[name] for name in ("map50", "map")}


def paired(differences: list[float]) -> str:
    """Mean difference over seeds with half the width of its 95 % interval (Student's t)."""
    if len(differences) < 2:
        return f"{differences[0]:+.3f}"
    half = float(stdtrit(len(differences) - 1, 0.975)) * stdev(differences) / math.sqrt(len(differences))
    return f"{mean(differences):+.3f} ± {half:.3f}"


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: each arm, scored both ways, and its difference to windows from a fresh state."""
    lines = [
        "| set | updates | arm | state at the labels | seeds | mAP50 | mAP50:95 | against `windows`, fresh: mAP50:95 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["set"], row["steps"]].append(row)
    for (name, steps), members in groups.items():
        by = {(row["arm"], row["seed"]): row for row in members}
        for arm in ARMS:
            seeds = sorted(seed for which, seed in by if which == arm)
            for way in ("fresh", "carried") if seeds else ():
                values = [by[arm, seed][way] for seed in seeds]
                both = [
                    (by[arm, s][way]["map"] - by["windows", s]["fresh"]["map"]) for s in seeds if ("windows", s) in by
                ]
                against = "" if (arm, way) == ("windows", "fresh") or not both else paired(both)
                mark = "**" if (arm, way) == QUESTION else ""
                lines.append(
                    f"| {name} | {steps} | {mark}{arm}{mark} | {mark}{way}{mark} | {', '.join(map(str, seeds))} "
                    f"| {mean(v['map50'] for v in values):.3f} | {mean(v['map'] for v in values):.3f} | {against} |"
                )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", nargs="?", choices=list(SETS))
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--out", type=Path, default=HERE / "results.jsonl")
    parser.add_argument("--table", action="store_true", help="print what --out holds")
    asked, overrides = parser.parse_known_args()
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in asked.out.read_text().splitlines()] if asked.out.exists() else []
    done = {(row["set"], row["arm"], row["seed"], row["steps"], *row["overrides"]) for row in rows}
    kept = [override for override in overrides if not override.startswith("data.root=")]  # where the files lie
    for seed in asked.seeds if asked.set else ():
        for arm in asked.arms:
            if (asked.set, arm, seed, asked.steps, *kept) in done:
                continue
            row = {"set": asked.set, "overrides": kept, **train([*SETS[asked.set], *overrides], arm, seed, asked.steps)}
            rows.append(row)
            with asked.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
