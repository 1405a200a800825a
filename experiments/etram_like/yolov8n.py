"""YOLOv8n from scratch on the images of yolo.py, with its own defaults, in an environment of its own (a peer, AGPL).

VENV/bin/python yolov8n.py --images FOLDER --minutes 10 --seed 0 --out RUN

``--epochs N`` in place of ``--minutes`` trains that many passes at whatever speed, on a machine that is not quiet.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from ultralytics import YOLO


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    if (asked.minutes is None) == (asked.epochs is None):
        parser.error("expected either --minutes or --epochs")
    if asked.threads:
        torch.set_num_threads(asked.threads)
    length = {"time": asked.minutes / 60} if asked.minutes else {"epochs": asked.epochs}
    model = YOLO("yolov8n.yaml")
    model.train(
        data=str(asked.images / "data.yaml"), **length, imgsz=320, device="cpu", workers=0,
        seed=asked.seed, project=str(asked.out.parent.resolve()), name=asked.out.name, exist_ok=True, plots=False,
    )  # fmt: skip
    best = YOLO(asked.out / "weights" / "best.pt")
    found = {}
    for path in sorted((asked.images / "images" / "test").glob("*.png")):
        boxes = best.predict(path, imgsz=320, conf=0.001, iou=0.65, max_det=100, device="cpu", verbose=False)[0].boxes
        found[path.stem] = boxes.data[:, :6].tolist()  # left, top, right, bottom, score, class
    (asked.out / "detections.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
