"""YOLOv8n from scratch on the images of yolo.py, with its own defaults, in an environment of its own (a peer, AGPL).

VENV/bin/python yolov8n.py --images FOLDER --minutes 10 --seed 0 --out RUN

``--epochs N`` in place of ``--minutes`` trains that many passes at whatever speed, on a machine that is not quiet.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode
from ultralytics import YOLO

MAC_PJ = 4.6  # as spikeyolo counts a multiply-accumulate


def energy_mj(network: torch.nn.Module, height: int, width: int) -> float:
    """Of one image, by the multiply-accumulates of its convolutions."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(torch.zeros(1, 3, height, width))
    return counter.get_total_flops() / 2 * MAC_PJ * 1e-9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--threads", type=int, help="all cores, unless given")
    parser.add_argument("--size", type=int, default=320, help="of an image's longer side, px")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    if (asked.minutes is None) == (asked.epochs is None):
        parser.error("expected either --minutes or --epochs")
    threads = asked.threads or os.cpu_count() or 1
    seen: list[int] = []

    def use_threads(trainer: object) -> None:
        """The trainer sets threads of its own: one fewer than there are cores."""
        seen.append(torch.get_num_threads())
        torch.set_num_threads(threads)

    length = {"time": asked.minutes / 60} if asked.minutes else {"epochs": asked.epochs}
    model = YOLO("yolov8n.yaml")
    for event in ("on_train_start", "on_train_epoch_start", "on_train_batch_start", "on_val_start"):
        model.add_callback(event, use_threads)
    model.train(
        data=str(asked.images / "data.yaml"), **length, imgsz=asked.size, device="cpu", workers=0,
        seed=asked.seed, project=str(asked.out.parent.resolve()), name=asked.out.name, exist_ok=True, plots=False,
    )  # fmt: skip
    print(f"threads: found {sorted(set(seen))}, set to {threads}")
    best = YOLO(asked.out / "weights" / "best.pt")
    found = {}
    for path in sorted((asked.images / "images" / "test").glob("*.png")):
        boxes = best.predict(path, imgsz=asked.size, conf=0.001, iou=0.65, max_det=100, device="cpu", verbose=False)[
            0
        ].boxes
        found[path.stem] = boxes.data[:, :6].tolist()  # left, top, right, bottom, score, class
    (asked.out / "detections.json").write_text(json.dumps(found))
    # Images of 304 × 240 are padded to a multiple of 32 below the longer side.
    height = math.ceil(asked.size * 240 / 304 / 32) * 32
    costs = {"energy/window_mj": energy_mj(best.model.float().cpu(), height, asked.size)}
    (asked.out / "costs.json").write_text(json.dumps(costs) + "\n")


if __name__ == "__main__":
    main()
