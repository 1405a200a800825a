"""The peer's side of the table: windows as images with labels, and detections in images judged as ours are.

python -m experiments.etram_like.yolo images FOLDER     # 80 ms of events an image, at the sensor's resolution
python -m experiments.etram_like.yolo score FOLDER RUN  # RUN/detections.json of yolov8n.py → RUN.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from experiments.etram_like.equal_steps import composed
from spikeyolo import schema
from spikeyolo.events.types import Boxes, Detections
from spikeyolo.metrics import DetectionMetrics

SPLITS = ("train", "val", "test")
BRIGHTNESS = 32  # of one event, of 255


def write_images(folder: Path, overrides: Sequence[str] = ()) -> None:
    """PNG files (red ON, green OFF, blue both) and YOLO's label files, one an image; overrides are of training."""
    windows = ["data.time_steps=1", "data.slice_duration_us=80000", "data.encoder.downsample=1"]
    config = composed([*overrides, *windows])
    data = schema.build(config.data)
    loaders = data.train_loader(augmentation=None, seed=0), data.val_loader(), data.test_loader()
    for split, loader in zip(SPLITS, loaders, strict=True):
        images, labels = folder / "images" / split, folder / "labels" / split
        for place in (images, labels):
            place.mkdir(parents=True, exist_ok=True)
        dataset = loader.dataset
        for index in range(len(dataset)):
            sample = dataset[(0, index)]
            off, on = sample.frames[0].astype(np.int64) * BRIGHTNESS
            pixels = np.stack([on, off, (on + off) // 2], axis=-1).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(images / f"{index:05d}.png")
            height, width = pixels.shape[:2]
            lines = []
            for class_id, (x0, y0, x1, y1) in zip(sample.boxes.class_id, sample.boxes.xyxy, strict=True):
                centre = (x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height
                lines.append(f"{class_id} " + " ".join(f"{value:.6f}" for value in centre))
            (labels / f"{index:05d}.txt").write_text("\n".join(lines) + "\n")
    names = "".join(f"  {index}: {name}\n" for index, name in enumerate(data.classes))
    paths = "".join(f"{split}: images/{split}\n" for split in SPLITS)
    (folder / "data.yaml").write_text(f"path: {folder.resolve()}\n{paths}names:\n{names}")


def score(folder: Path, run: Path) -> dict[str, float]:
    """COCO's figures of detections in the test images."""
    found: dict[str, list[Any]] = json.loads((run / "detections.json").read_text())
    names = ["pedestrian", "car", "bicycle"]
    metrics = DetectionMetrics(classes=names)
    for path in sorted((folder / "images" / "test").glob("*.png")):
        width, height = Image.open(path).size
        rows = np.loadtxt(folder / "labels" / "test" / f"{path.stem}.txt", ndmin=2).reshape(-1, 5)
        half = rows[:, 3:] / 2
        xyxy = np.concatenate([rows[:, 1:3] - half, rows[:, 1:3] + half], axis=1) * [width, height, width, height]
        count = len(rows)
        truth = Boxes(
            np.zeros(count, np.int64), xyxy.astype(np.float32), rows[:, 0].astype(np.int64), np.full(count, -1),
            np.ones(count, np.float32),
        )  # fmt: skip
        boxes = np.array(found.get(path.stem, []), np.float64).reshape(-1, 6)
        detections = Detections(
            step=np.zeros(len(boxes), np.int32), xyxy=boxes[:, :4].astype(np.float32),
            score=boxes[:, 4].astype(np.float32), class_id=boxes[:, 5].astype(np.int64),
        )  # fmt: skip
        metrics.add(detections, truth)
    return metrics.compute()


def main() -> None:
    if sys.argv[1] == "images":
        write_images(Path(sys.argv[2]), sys.argv[3:])
    else:
        run = Path(sys.argv[3])
        figures = score(Path(sys.argv[2]), run)
        run.with_suffix(".json").write_text(json.dumps({name: figures[name] for name in ("map", "map50")}) + "\n")
        print(run, f"mAP {figures['map']:.3f}  mAP50 {figures['map50']:.3f}")


if __name__ == "__main__":
    main()
