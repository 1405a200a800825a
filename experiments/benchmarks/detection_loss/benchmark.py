"""How long the detection loss and the decoder take: ``python experiments/benchmarks/detection_loss/benchmark.py cuda``.

On a GPU, an operation of the loss that waits for the device is an error.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch

from spikeyolo.loss import DetectionLoss
from spikeyolo.model.decode import Decoder
from spikeyolo.model.predictions import Predictions
from spikeyolo.windows.batch import Targets

STEPS, WINDOWS, CLASSES, BINS = 8, 8, 3, 16


def problem(height: int, width: int, boxes: int, device: str) -> tuple[Predictions, Targets]:
    points, strides = [], []
    for stride in (8, 16, 32):
        y, x = torch.meshgrid(torch.arange(0, height, stride), torch.arange(0, width, stride), indexing="ij")
        points.append(torch.stack((x, y), -1).reshape(-1, 2) + stride / 2)
        strides.append(torch.full((len(points[-1]),), float(stride)))
    corner = torch.rand(boxes, 2) * torch.tensor([width * 0.7, height * 0.7])
    targets = Targets(
        batch_index=torch.randint(WINDOWS, (boxes,)),
        time_step=torch.randint(STEPS, (boxes,)),
        xyxy=torch.cat((corner, corner + 8 + 60 * torch.rand(boxes, 2)), 1),
        class_id=torch.randint(CLASSES, (boxes,)),
        track_id=torch.full((boxes,), -1),
        recording=torch.zeros(boxes, dtype=torch.int64),
        supervised=torch.ones(STEPS, WINDOWS, dtype=torch.bool),
    )
    cells = torch.cat(points)
    box_logits = torch.randn(STEPS, WINDOWS, len(cells), 4, BINS, device=device).requires_grad_()
    class_logits = (torch.randn(STEPS, WINDOWS, len(cells), CLASSES, device=device) - 4).requires_grad_()
    return Predictions(box_logits, class_logits, cells.to(device), torch.cat(strides).to(device)), targets.to(device)


def best(run: Callable[[], object], device: str, repeats: int = 7) -> float:
    """The shortest of several runs, ms."""
    durations = []
    for _ in range(repeats):
        if device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        durations.append(time.perf_counter() - start)
    return 1e3 * min(durations)


def main(device: str) -> None:
    loss, decoder = DetectionLoss(), Decoder()
    columns = ("frame", "cells", "boxes", "forward, ms", "with backward, ms", "decoder, ms", "peak, MiB")
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for height, width, boxes in ((96, 128, 64), (128, 128, 128), (256, 320, 256), (480, 640, 256), (480, 640, 1024)):
        torch.manual_seed(0)
        predictions, targets = problem(height, width, boxes, device)

        def both(predictions: Predictions = predictions, targets: Targets = targets) -> None:
            predictions.box_logits.grad = predictions.class_logits.grad = None
            loss(predictions, targets).total.backward()

        peak = float("nan")
        if device == "cuda":
            both()
            torch.cuda.reset_peak_memory_stats()
            torch.cuda.set_sync_debug_mode("error")
            both()
            torch.cuda.set_sync_debug_mode("default")
            peak = torch.cuda.max_memory_allocated() / 2**20
        forward = best(lambda p=predictions, t=targets: loss(p, t), device)
        print(
            f"| {width}x{height} | {len(predictions.strides)} | {boxes} | {forward:.1f} | {best(both, device):.1f} "
            f"| {best(lambda p=predictions: decoder(p), device):.1f} | {peak:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "cpu")
