"""What each form of a trained network gives and takes on its own validation windows.

    python experiments/benchmarks/network/forms.py RUN [--checkpoint best] [--threads 2]

RUN is a folder that `python -m spikeyolo.train` wrote, started from where that was started. Prints mAP50, mAP and
milliseconds a window (one at a time, as a camera gives them) of the network as trained and of its forms and backends.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from spikeyolo import schema
from spikeyolo.engine.checkpoints.restore import restore_detector
from spikeyolo.metrics.speed import window_latency
from spikeyolo.model import InferenceDetector, fold


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--checkpoint", default="best")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    composed: Any = OmegaConf.to_container(OmegaConf.load(options.run / ".hydra" / "config.yaml"), resolve=True)
    config = OmegaConf.create({name: composed[name] for name in ("data", "evaluator")})
    schema.check(config, groups=("data", "evaluator"))
    data = schema.build(config.data)
    evaluator = schema.build(config.evaluator, classes=data.classes)
    loader = data.val_loader(pin_memory=False)
    detector, _ = restore_detector(options.run / "checkpoints" / options.checkpoint)

    def windows() -> Iterator[Tensor]:
        for batch in loader.epoch(0):
            yield from (batch.frames[:, index : index + 1].contiguous() for index in range(batch.frames.shape[1]))

    networks: dict[str, nn.Module] = {
        "as trained": detector,
        "torch (folded)": InferenceDetector(detector),
        "torch, bfloat16": InferenceDetector(detector, precision="bfloat16"),
        'fold(detector, synapses="single")': fold(detector, synapses="single"),
        "openvino": InferenceDetector(detector, backend="openvino"),
        "openvino, bfloat16": InferenceDetector(detector, backend="openvino", precision="bfloat16"),
        "onnxruntime": InferenceDetector(detector, backend="onnxruntime"),
    }
    print("| form | mAP50 | mAP | ms a window |\n|---|---|---|---|")
    for name, network in networks.items():
        figures = evaluator.evaluate(network, loader.epoch(0), device=torch.device("cpu"))
        latency = window_latency(network, islice(windows(), 60)).median_ms
        print(f"| {name} | {figures['map50']:.4f} | {figures['map']:.4f} | {latency:.1f} |", flush=True)


if __name__ == "__main__":
    main()
