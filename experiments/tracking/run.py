"""Trackers side by side on simulated scenes: ``python experiments/tracking/run.py --peers VENV/bin/python``."""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from scenes import DURATION_S, KINDS, NOISE, Scene, simulate

from spikeyolo.detections import DetectionTable, GroundTruth
from spikeyolo.metrics.tracking import track_scores
from spikeyolo.tracking import ByteTrack, IouTracker, track_table

SEEDS = (101,)  # reported; defaults were chosen on seed 1
OURS = {"spikeyolo bytetrack": ByteTrack(), "spikeyolo iou": IouTracker()}
PEERS = {"bytetrack": "trackers ByteTrack", "ocsort": "trackers OC-SORT", "motpy": "motpy"}


def table(t_us: Any, xywh: Any, track: Any, score: Any) -> DetectionTable:
    """A table of one recording and class."""
    count = len(t_us)
    zeros, none = np.zeros(count, np.int64), np.full(count, -1, np.int64)
    return DetectionTable(
        ("scene",),
        ("object",),
        zeros,
        np.asarray(t_us, np.int64),
        none,
        zeros,
        np.asarray(score, np.float32),
        np.asarray(xywh, np.float32),
        np.asarray(track, np.int64),
    )


def judged(scene: Scene, tracked: DetectionTable) -> dict[str, float]:
    truth = table(scene.truth_t_us, scene.truth_xywh, scene.truth_track, np.ones(len(scene.truth_t_us)))
    return dict(track_scores(tracked, GroundTruth.of(truth)).figures)


def ours(name: str, scene: Scene, tracker: Any) -> tuple[dict[str, float], float]:
    found = table(scene.t_us, scene.xywh, np.full(len(scene.t_us), -1), scene.score)
    start = time.process_time()
    tracked = track_table(found, tracker, step_us=round(1e6 / scene.rate_hz))
    steps = round(DURATION_S[scene.rate_hz] * scene.rate_hz)
    spent = 1e3 * (time.process_time() - start) / steps
    return judged(scene, tracked[tracked.track_id >= 0]), spent


def theirs(python: str, scenes: dict[str, Scene]) -> list[dict[str, Any]]:
    """Each peer with its own scores and with ours; the better of the two by HOTA counts."""
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "scenes.npz", Path(folder) / "tracks.npz"
        columns: dict[str, Any] = {}
        for name, scene in scenes.items():
            steps = round(DURATION_S[scene.rate_hz] * scene.rate_hz)
            times = np.round(np.arange(1, steps + 1) * 1e6 / scene.rate_hz).astype(np.int64)
            columns |= {f"{name}/rate": scene.rate_hz, f"{name}/times": times, f"{name}/t_us": scene.t_us}
            columns |= {f"{name}/xywh": scene.xywh, f"{name}/score": scene.score}
        np.savez(given, **columns)
        subprocess.run([python, str(Path(__file__).with_name("peers.py")), str(given), str(made)], check=True)
        found = np.load(made)
        rows = []
        for key in sorted({entry.rpartition("/")[0] for entry in found.files}):
            name, peer, told = key.split("|")
            xyxy = found[f"{key}/xyxy"]
            xywh = np.column_stack((xyxy[:, :2], np.maximum(xyxy[:, 2:] - xyxy[:, :2], 0)))
            tracked = table(found[f"{key}/t_us"], xywh, found[f"{key}/track"], np.ones(len(xywh)))
            figures = judged(scenes[name], tracked)
            rows.append(
                {"scene": name, "tracker": PEERS[peer], "told": told, "ms": float(found[f"{key}/ms"]), **figures}
            )
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        place = (row["scene"], row["tracker"])
        if place not in best or row["hota"] > best[place]["hota"]:
            best[place] = row
    return list(best.values())


def summary(rows: list[dict[str, Any]]) -> str:
    """Mean HOTA, IDF1, switches and ms a step by tracker and rate, then by noise and by kind of scene."""
    trackers = list(dict.fromkeys(row["tracker"] for row in rows))
    lines = []
    for title, part in (("rate, Hz", 1), ("noise", 2), ("scene", 0)):
        values = list(dict.fromkeys(row["scene"].split("-")[part] for row in rows))
        lines += ["", f"| HOTA / IDF1 by {title} | " + " | ".join(values) + " |", "|---" * (len(values) + 1) + "|"]
        for tracker in trackers:
            cells = []
            for value in values:
                some = [row for row in rows if row["tracker"] == tracker and row["scene"].split("-")[part] == value]
                cells.append(" / ".join(f"{np.mean([row[name] for row in some]):.3f}" for name in ("hota", "idf1")))
            lines.append(f"| {tracker} | " + " | ".join(cells) + " |")
    rates = list(dict.fromkeys(row["scene"].split("-")[1] for row in rows))
    lines += ["", "| switches a scene / ms a step | " + " | ".join(rates) + " |", "|---" * (len(rates) + 1) + "|"]
    for tracker in trackers:
        cells = []
        for rate in rates:
            some = [row for row in rows if row["tracker"] == tracker and row["scene"].split("-")[1] == rate]
            cells.append(f"{np.mean([r['id_switches'] for r in some]):.1f} / {np.mean([r['ms'] for r in some]):.2f}")
        lines.append(f"| {tracker} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cost() -> str:
    """Milliseconds of processor time a step, by number of objects; a fifth of them is missed at each step."""
    lines = ["| objects | ms a step |", "|---|---|"]
    for count, steps in ((1, 2000), (20, 2000), (200, 300), (2000, 30), (10_000, 10)):
        rng = np.random.default_rng(0)
        centre, speed = rng.uniform(0, 30 * np.sqrt(count), (count, 2)), rng.normal(0, 100, (count, 2))
        tracks, spent = ByteTrack(confirm_us=0).start(), 0.0
        for step in range(steps):
            seen = rng.random(count) < 0.8
            centres = (centre + speed * step * 1e-4)[seen] + rng.normal(0, 1, (seen.sum(), 2))
            xywh = np.column_stack((centres - 10, np.full((len(centres), 2), 20.0)))
            score, kind = np.full(len(xywh), 0.9), np.zeros(len(xywh), np.int64)
            start = time.process_time()
            tracks.update(100 * (step + 1), xywh, score, kind)
            spent += time.process_time() - start
        lines.append(f"| {count} | {1e3 * spent / steps:.2f} |")
    return "\n".join(lines)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """HOTA over the rate, a panel for each noise."""
    import matplotlib.pyplot as plt

    trackers = list(dict.fromkeys(row["tracker"] for row in rows))
    figure, panels = plt.subplots(1, len(NOISE), figsize=(11, 3.4), sharey=True, layout="constrained")
    for panel, noise in zip(panels, NOISE):
        for tracker in trackers:
            values = [
                np.mean([r["hota"] for r in rows if r["tracker"] == tracker and f"-{rate}-{noise}-" in r["scene"]])
                for rate in DURATION_S
            ]
            panel.semilogx(list(DURATION_S), values, "o-", label=tracker, linewidth=1.6 + ("bytetrack" in tracker))
        panel.set(title=f"{noise} noise", xlabel="steps a second", ylim=(0, 1))
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("HOTA")
    panels[0].legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", help="Python of the environment with trackers and motpy; none leaves them out")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--rates", type=int, nargs="+", default=list(DURATION_S))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--cost", action="store_true", help="only measure milliseconds a step by number of objects")
    options = parser.parse_args()
    if options.cost:
        print(cost())
        return
    scenes = {
        f"{kind}-{rate}-{noise}-{seed}": simulate(kind, noise, rate, seed)
        for kind in KINDS
        for rate in options.rates
        for noise in NOISE
        for seed in options.seeds
    }
    rows: list[dict[str, Any]] = []
    for tracker, settings in OURS.items():
        for name, scene in scenes.items():
            figures, spent = ours(tracker, scene, settings)
            rows.append({"scene": name, "tracker": tracker, "told": "", "ms": spent, **figures})
    if options.peers:
        rows += theirs(options.peers, scenes)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.json").write_text(json.dumps(rows, indent=0) + "\n")
    print(summary(rows))
    if options.rates == list(DURATION_S):
        draw(rows, options.out / "hota.png")


if __name__ == "__main__":
    main()
