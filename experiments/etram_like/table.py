"""The table and the curve of a finished ``run.sh``.

python -m experiments.etram_like.table multirun/etram_like_10min --minutes 10
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections import defaultdict
from itertools import accumulate
from pathlib import Path
from statistics import mean, stdev

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from scipy.stats import t

ENERGY = "energy/window_mj"
#: Arms of half of the time, and the share of it after which they begin.
HALVES = {"twin_half": 0.0, "twin_first": 0.5, "distilled": 0.5}


def interval(values: list[float]) -> str:
    """Mean and half the width of its 95 % interval over seeds (Student's t)."""
    if len(values) < 2:
        return f"{values[0]:.3f}"
    half = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return f"{mean(values):.3f} ± {half:.3f}"


def passed(arm: str, seconds: list[float], counted: bool, minutes: float) -> list[float]:
    """Minutes at the end of each epoch; of a run that counted its windows, the share of its windows in its minutes."""
    begin = HALVES.get(arm, 0.0) * minutes
    if counted:
        own = minutes / 2 if arm in HALVES else minutes
        return [begin + own * (number + 1) / len(seconds) for number in range(len(seconds))]
    return [begin + taken / 60 for taken in accumulate(seconds)]


def summarise(folder: Path, minutes: float = 10) -> str:
    """Write ``table.md`` and ``curve.png`` into the folder of all runs of so many minutes; returns the table."""
    figures: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    curves: dict[str, list[list[tuple[float, float]]]] = defaultdict(list)
    for run in sorted(folder.glob("*_s[0-9]*")):
        arm = run.name.rpartition("_s")[0]
        judged = sorted((run / "evaluation").glob("best_test_*"), key=lambda path: path.stat().st_mtime)
        if not judged:
            continue  # the rest of the table is of use without it
        scores = json.loads(next(judged[-1].rglob("scores.json")).read_text())
        for name in ("map", "map50"):
            figures[arm][name].append(_find(scores, name))
        costs = json.loads((judged[-1] / "costs.json").read_text())
        figures[arm]["mJ a window"].append(costs[ENERGY])
        state = json.loads((run / "checkpoints" / "last" / "state.json").read_text())
        figures[arm]["seen"].append(state["position"]["step"] * state["settings"]["data"]["batch_size"])
        with (run / "metrics.csv").open() as file:
            rows = list(csv.DictReader(file))
        counted = state["settings"]["trainer"].get("max_minutes") is None
        ends = passed(arm, [float(row["seconds"]) for row in rows], counted, minutes)
        curves[arm].append([(at, float(row["val/map"] or "nan")) for at, row in zip(ends, rows, strict=True)])
    images = len(list((folder / "yolov8n" / "images" / "images" / "train").glob("*.png")))
    for path in sorted((folder / "yolov8n").glob("s[0-9]*.json")):
        for name, value in json.loads(path.read_text()).items():
            figures["yolov8n"][name].append(value)
        with (path.with_suffix("") / "results.csv").open() as file:
            rows = [{key.strip(): value for key, value in row.items()} for row in csv.DictReader(file)]
        figures["yolov8n"]["mJ a window"].append(json.loads((path.with_suffix("") / "costs.json").read_text())[ENERGY])
        figures["yolov8n"]["seen"].append(images * len(rows))
        curves["yolov8n"].append([(float(row["time"]) / 60, float(row["metrics/mAP50-95(B)"])) for row in rows])
    columns = ["map", "map50", "mJ a window"]
    lines = [
        "| arm | seeds | mAP50:95 on the test recordings | mAP50 | energy of a window, mJ | windows or images seen |",
        "|---|---|---|---|---|---|",
    ]
    for arm, found in sorted(figures.items(), key=lambda item: -mean(item[1]["map"] or [math.nan])):
        cells = [interval(found[name]) if found.get(name) else "" for name in columns]
        seen = f"{mean(found['seen']):,.0f}"
        lines.append(f"| {arm} | {len(found['map'])} | " + " | ".join([*cells, seen]) + " |")
    (folder / "table.md").write_text("\n".join(lines) + "\n")
    figure, axes = plt.subplots(figsize=(8, 5))
    for number, (arm, runs) in enumerate(sorted(curves.items())):
        for seed, points in enumerate(runs):
            axes.plot(*zip(*points, strict=True), color=f"C{number}", alpha=0.7, label=arm if seed == 0 else None)
    axes.set(xlabel="minutes", ylabel="mAP50:95 on the validation recordings", ylim=(0, None))
    axes.legend()
    figure.savefig(folder / "curve.png", dpi=120, bbox_inches="tight")
    plt.close(figure)
    return "\n".join(lines)


def _find(tree: object, name: str) -> float:
    """The first value of that name in nested figures."""
    if isinstance(tree, dict):
        if isinstance(tree.get(name), int | float):
            return float(tree[name])
        for child in tree.values():
            found = _find(child, name)
            if not math.isnan(found):
                return found
    return math.nan


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=10, help="each run's time, or what its windows stand for")
    arguments = parser.parse_args()
    print(summarise(arguments.folder, arguments.minutes))
