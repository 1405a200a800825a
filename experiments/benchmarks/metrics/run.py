"""How long COCO's evaluation takes beside its peers, and the scoring of a stored table; all in one run."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from spikeyolo.detections import DetectionTable, GroundTruth, Looks
from spikeyolo.metrics import ResampledPrecision, paired_difference, score
from spikeyolo.metrics.coco import BoxColumns, CocoEvaluation, ThresholdCurve
from spikeyolo.metrics.protocols import Coco, PropheseeOneMegapixel
from spikeyolo.metrics.score import judge

CLASSES = ("pedestrian", "two_wheeler", "car")
PEERS = ("hotcoco", "faster-coco-eval", "pycocotools")


def made(images: int, boxes: int, *, seed: int = 0) -> tuple[BoxColumns, BoxColumns]:
    """Truth, and a detector that finds four of five, blurs and mistakes some, and invents as many as it misses."""
    rng = np.random.default_rng(seed)
    count = images * boxes
    image = np.repeat(np.arange(images), boxes)
    class_id = rng.integers(0, len(CLASSES), count)
    xywh = np.column_stack((rng.uniform(0, 1100, count), rng.uniform(0, 600, count), rng.uniform(8, 160, (count, 2))))
    truth = BoxColumns(image, class_id, xywh, np.ones(count))
    near = xywh + rng.normal(0, 3, xywh.shape).clip(-4, 4)
    lost = rng.random(count) < 0.2
    near[lost, :2] = rng.uniform(0, 600, (int(lost.sum()), 2))
    mistaken = np.where(rng.random(count) < 0.1, (class_id + 1) % len(CLASSES), class_id)
    return truth, BoxColumns(image, mistaken, near, rng.random(count))


def ours(truth: BoxColumns, found: BoxColumns, images: int) -> list[float]:
    figures = CocoEvaluation(truth, found, classes=CLASSES, images=images).figures()
    return [figures[name] for name in ("map", "map50", "map75", "map_small", "map_medium", "map_large")]


def ours_with_f1(truth: BoxColumns, found: BoxColumns, images: int) -> list[float]:
    evaluation = CocoEvaluation(truth, found, classes=CLASSES, images=images)
    figures = evaluation.figures()
    ThresholdCurve.of(evaluation.matched, found.score, len(truth)).best()
    return [figures[name] for name in ("map", "map50", "map75", "map_small", "map_medium", "map_large")]


def peer(coco_class: Any, evaluation_class: Any) -> Callable[[BoxColumns, BoxColumns, int], list[float]]:
    """The same by a library with pycocotools' interface, from its own in-memory form on."""

    def run(truth: BoxColumns, found: BoxColumns, images: int) -> list[float]:
        sets = []
        for boxes in (truth, found):
            columns = (boxes.image.tolist(), boxes.class_id.tolist(), boxes.xywh.tolist(), boxes.score.tolist())
            annotations = [
                {
                    "id": i,
                    "image_id": im + 1,
                    "category_id": k,
                    "bbox": b,
                    "area": b[2] * b[3],
                    "iscrowd": 0,
                    "score": s,
                }
                for i, (im, k, b, s) in enumerate(zip(*columns), start=1)
            ]
            dataset = coco_class()
            dataset.dataset = {
                "info": {},
                "images": [{"id": i} for i in range(1, images + 1)],
                "categories": [{"id": k, "name": name} for k, name in enumerate(CLASSES)],
                "annotations": annotations,
            }
            dataset.createIndex()
            sets.append(dataset)
        evaluation = evaluation_class(*sets, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        return [float(value) for value in evaluation.stats[:6]]

    return run


def installed_peers() -> dict[str, Callable[[BoxColumns, BoxColumns, int], list[float]]]:
    found = {}
    with contextlib.suppress(ImportError):
        from faster_coco_eval import COCO, COCOeval_faster

        found["faster-coco-eval"] = peer(COCO, COCOeval_faster)
    with contextlib.suppress(ImportError):
        from pycocotools.coco import COCO as COCO_PLAIN
        from pycocotools.cocoeval import COCOeval

        found["pycocotools"] = peer(COCO_PLAIN, COCOeval)
    return found


def timed(task: Callable[[], Any]) -> tuple[Any, float, float]:
    """What it gives, seconds on the clock and of the processor."""
    begun, processor = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        result = task()
    return result, time.perf_counter() - begun, time.process_time() - processor


def tables(rows: int, recordings: int, per_look: int = 20) -> tuple[DetectionTable, GroundTruth]:
    looks = rows // per_look
    truth, found = made(looks, per_look)
    of_look = np.arange(looks) % recordings
    names = tuple(f"drive_{n:03d}" for n in range(recordings))
    t_us = 600_000 + (np.arange(looks) // recordings) * 100_000

    def table(boxes: BoxColumns) -> DetectionTable:
        unknown = np.full(len(boxes), -1)
        xywh, scores = boxes.xywh.astype(np.float32), boxes.score.astype(np.float32)
        xywh[:, 2:] = np.maximum(xywh[:, 2:], 1)
        place = of_look[boxes.image], t_us[boxes.image]
        return DetectionTable(names, CLASSES, *place, unknown, boxes.class_id, scores, xywh, unknown)

    return table(found), GroundTruth(table(truth), Looks(names, of_look, t_us))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--boxes", type=int, default=20, help="true boxes, and detections, of an image")
    parser.add_argument("--rounds", type=int, default=3, help="the best counts")
    parser.add_argument("--rows", type=int, default=1_000_000, help="detections of the stored table; 0 leaves it out")
    parser.add_argument("--recordings", type=int, default=200)
    parser.add_argument("--without", nargs="*", default=[], help="peers to leave out")
    arguments = parser.parse_args()
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for name in PEERS:
        with contextlib.suppress(PackageNotFoundError):
            print(f"{name} {version(name)}")

    truth, found = made(arguments.images, arguments.boxes)
    runs = {"ours": ours, "ours, with best F1": ours_with_f1}
    runs |= {name: run for name, run in installed_peers().items() if name not in arguments.without}
    print(f"\n| {arguments.images} images × {arguments.boxes} boxes | s, wall | s, CPU time | mAP | differs by |")
    print("|---|---|---|---|---|")
    reference: list[float] | None = None
    for name, run in runs.items():
        rounds = [timed(lambda run=run: run(truth, found, arguments.images)) for _ in range(arguments.rounds)]
        figures = rounds[0][0]
        reference = reference or figures
        differs = max(abs(a - b) for a, b in zip(figures, reference))
        wall, processor = (min(each[i] for each in rounds) for i in (1, 2))
        print(f"| {name} | {wall:.2f} | {processor:.2f} | {figures[0]:.6f} | {differs:.1e} |", flush=True)

    if not arguments.rows:
        return
    print("\n| rows of a stored table | read and score, coco: s, wall | s, CPU time | memory, MiB |")
    print("|---|---|---|---|")
    score(*tables(1000, 2), Coco())  # compiles
    for rows in (arguments.rows // 4, arguments.rows):  # the larger last: a process never says that it shrank
        table, true = tables(rows, arguments.recordings)
        with tempfile.TemporaryDirectory() as folder:
            path = table.write(Path(folder) / "detections.parquet")
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            _, *spent = timed(lambda path=path, true=true: score(DetectionTable.read(path), true, Coco()))
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        print(f"| {len(table):,} | {spent[0]:.2f} | {spent[1]:.2f} | {grown:.0f} |", flush=True)
    print(f"\n| the table of {len(table):,} rows, {len(true.looks):,} looks | s, wall | s, CPU time |")
    print("|---|---|---|")
    _, *spent = timed(lambda: score(table, true, PropheseeOneMegapixel()))
    print(f"| score, prophesee_1mpx | {spent[0]:.2f} | {spent[1]:.2f} |", flush=True)
    paired, *spent = timed(lambda: ResampledPrecision.of(judge(table, true, Coco()), "map50"))
    print(f"| pairs for a comparison, map50 | {spent[0]:.2f} | {spent[1]:.2f} |", flush=True)
    paired_difference(paired, paired, draws=2)  # compiles
    _, *spent = timed(lambda: paired_difference(paired, paired, draws=1000))
    print(f"| comparison, 1000 draws | {spent[0]:.2f} | {spent[1]:.2f} |")


if __name__ == "__main__":
    main()
