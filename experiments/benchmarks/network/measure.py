"""Training and inference of the network: milliseconds, memory, and share of the machine's matrix-multiplication peak.

    python experiments/benchmarks/network/measure.py steps      # SGD steps of size t, and variants
    python experiments/benchmarks/network/measure.py scaling    # cost against T, B and pixels
    python experiments/benchmarks/network/measure.py folded     # inference in every form and backend, size n or --size
    python experiments/benchmarks/network/measure.py macs       # where the published 101.2 GMAC are

Every case of ``steps`` and ``scaling`` runs in a process of its own, so that its peak of resident memory is its own (it
holds torch itself, about 0.75 GiB here). Times are the best of a few steps, wall clock, and beside them processor
seconds over all threads: on a machine that others use at the same time, the latter tell what the step costs.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

SIZES = {"femto": 0.0625, "pico": 0.125, "t": 0.25, "n": 0.375}
STEP: dict[str, Any] = {"kind": "step", "size": "t", "shape": [4, 4, 2, 256, 320], "variant": "default"}


def best(run: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Least wall seconds and least processor seconds of a call, after two to warm up."""
    walls, processors = [], []
    for repeat in range(repeats + 2):
        wall, processor = time.perf_counter(), time.process_time()
        run()
        if repeat >= 2:
            walls.append(time.perf_counter() - wall)
            processors.append(time.process_time() - processor)
    return min(walls), min(processors)


def peak_gflops() -> float:
    """GFLOP/s of a large float32 matrix product, the yardstick."""
    import torch

    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    return 2 * 2048**3 / best(lambda: a @ b, 8)[0] / 1e9


def peak_memory() -> float:
    """GiB of resident memory at this process's peak so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(case: dict[str, Any]) -> dict[str, float]:
    """One case, in this process."""
    import torch

    from spikeyolo.engine.update.execution import arrange
    from spikeyolo.model.detector import Detector
    from spikeyolo.model.inference.fold import macs
    from spikeyolo.model.neuron import Ilif, Relu

    torch.set_num_threads(case["threads"])
    torch.manual_seed(0)
    variant = case["variant"]
    neuron = Relu if variant == "relu" else Ilif
    detector = Detector(num_classes=3, depth=0.33, width=SIZES[case["size"]], neuron=neuron)
    frames = torch.poisson(torch.full(case["shape"], 0.1)).to(torch.uint8)
    result = {"peak_gflops": peak_gflops()}
    optimizer = torch.optim.SGD(detector.parameters(), 1e-4, momentum=0.9)
    run: Any = torch.compile(detector) if variant == "compile" else detector
    arrange(detector, channels_last=variant != "contiguous", gradient_checkpointing=variant == "checkpoint")

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=variant == "bfloat16"):
            predictions = run(frames)
        loss = predictions.box_logits.float().square().mean() + predictions.class_logits.float().square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    result["wall"], result["processor"] = best(step, case["repeats"])
    result["rss_gib"] = peak_memory()
    flops = 3 * 2 * macs(detector.eval(), frames)
    result["gflops"] = flops / result["wall"] / 1e9
    return result


def calibrate(detector: Any, frames: Any) -> None:
    """Norms take the statistics of these frames, so that a fresh network spikes as a trained one does."""
    import torch

    from spikeyolo.model.norm import Norm

    norms = [module for module in detector.modules() if isinstance(module, Norm)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        detector.train()(frames)
    for norm in norms:
        norm.momentum = 0.03
    detector.eval()


def firing(detector: Any, frames: Any) -> tuple[int, int, float]:
    """Neurons that give a spike, all neurons, and the mean spike count of an element."""
    import torch

    from spikeyolo.model.neuron import Neuron

    rates: list[float] = []
    neurons = [module for module in detector.modules() if isinstance(module, Neuron)]
    hooks = [n.register_forward_hook(lambda _, __, out: rates.append(float(out[0].float().mean()))) for n in neurons]
    with torch.no_grad():
        detector(frames)
    for hook in hooks:
        hook.remove()
    return sum(rate > 0 for rate in rates), len(rates), sum(rates) / len(rates)


def distance(network: Any, detector: Any, autocast: bool = False) -> float:
    """Root mean square of the logits' difference over that of the logits: median of five windows of 64×64 px.

    On so small a window rounding in float32 seldom moves a membrane over a tie. At full size it always does somewhere,
    and a network that was never trained makes much of one spike more or less.
    """
    import torch

    distances = []
    for seed in range(5):
        draw = torch.Generator().manual_seed(seed)
        frames = torch.poisson(torch.full((1, 1, detector.in_channels, 64, 64), 0.1), generator=draw).to(torch.uint8)
        with torch.no_grad():
            expected = detector(frames)
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                found = network(frames)
        pairs = [(found.box_logits, expected.box_logits), (found.class_logits, expected.class_logits)]
        distances.append(
            max(float((a.float() - b).square().mean().sqrt() / b.square().mean().sqrt()) for a, b in pairs)
        )
    return sorted(distances)[2]


def compare_forms(size: str, threads: int, turns: int, checkpoint: str | None, compiled: bool) -> None:
    """Inference in every form and backend, in turns in one process, so that other load strikes all alike."""
    from pathlib import Path

    import torch

    from spikeyolo.engine.checkpoints.restore import restore_detector
    from spikeyolo.model import Detector, InferenceDetector
    from spikeyolo.model.inference import fold, macs
    from spikeyolo.model.neuron import Ilif

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    if checkpoint is None:
        detector = Detector(num_classes=3, depth=0.33, width=SIZES[size], neuron=Ilif)
        source = f"size {size}, calibrated"
    else:
        detector, _ = restore_detector(Path(checkpoint))
        source = checkpoint
    frames = torch.poisson(torch.full((1, 1, detector.in_channels, 256, 320), 0.1)).to(torch.uint8)
    if checkpoint is None:
        calibrate(detector, frames)
    spiking, neurons, rate = firing(detector, frames)
    if spiking < 0.9 * neurons:
        raise SystemExit(f"only {spiking} of {neurons} neurons give a spike: no figure of this network means anything")
    unfolded, autocast = "unfolded", "unfolded, bfloat16 autocast"
    networks: dict[str, Any] = {
        unfolded: detector,
        autocast: detector,
        "torch (folded)": InferenceDetector(detector),
        "torch, bfloat16": InferenceDetector(detector, precision="bfloat16"),
        'fold(detector, synapses="single")': fold(detector, synapses="single"),
        "openvino": InferenceDetector(detector, backend="openvino"),
        "openvino, bfloat16": InferenceDetector(detector, backend="openvino", precision="bfloat16"),
        "onnxruntime": InferenceDetector(detector, backend="onnxruntime"),
    }
    if compiled:
        networks["compile"] = InferenceDetector(detector, backend="compile")
        networks["compile, bfloat16"] = InferenceDetector(detector, backend="compile", precision="bfloat16")
    times: dict[str, list[float]] = {name: [] for name in networks}
    distances: dict[str, float] = {}
    with torch.no_grad():
        for name, network in networks.items():  # right first, then fast
            distances[name] = distance(network, detector, name == autocast)
            if distances[name] > (0.5 if "bfloat16" in name else 1e-3):
                raise SystemExit(f"{name}: the logits are {distances[name]:.2g} away from the unfolded network's")
        for _ in range(turns):
            for name, network in networks.items():
                with torch.autocast("cpu", torch.bfloat16, enabled=name == autocast):
                    for repeat in range(3):
                        start = time.perf_counter()
                        network(frames)
                        if repeat:  # memory and caches are this form's again
                            times[name].append(time.perf_counter() - start)
    peak, flops = peak_gflops(), 2 * macs(detector, frames)
    print(f"{source}: {spiking} of {neurons} neurons spike, {rate:.2f} spikes an element and step on average")
    print(f"T 1, B 1, 256×320, {threads} threads, peak {peak:.0f} GFLOP/s\n")
    print("| form | best ms | median ms | times as fast | of matmul peak | distance of the logits |")
    print("|---|---|---|---|---|---|")
    for name in networks:
        taken = sorted(times[name])
        done = 2 * macs(networks[name], frames) if "single" in name else flops
        print(
            f"| {name} | {taken[0] * 1e3:.0f} | {taken[len(taken) // 2] * 1e3:.0f} | "
            f"{min(times[unfolded]) / taken[0]:.2f} | {done / taken[0] / 1e9 / peak:.0%} | {distances[name]:.1e} |"
        )


def count_macs() -> None:
    """GMAC of size s with 80 classes at 640×640 px, by the part of the folded network (one convolution a synapse)."""
    import torch

    from spikeyolo.model.detector import Detector
    from spikeyolo.model.inference.fold import fold
    from spikeyolo.model.neuron import Relu

    detector = Detector(num_classes=80, in_channels=3, depth=0.33, width=0.5, neuron=Relu)
    folded = fold(detector, synapses="single")
    parts: dict[str, float] = {}

    def add(name: str) -> Callable[..., None]:
        def hook(layer: Any, inputs: Any, output: Any) -> None:
            fan_in = layer.weight[0].numel()
            parts[name] = parts.get(name, 0.0) + output.numel() * fan_in * 100 / 1e9  # 64×64 px are a hundredth

        return hook

    for name, module in folded.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(add(".".join(name.split(".")[:2])))
    with torch.no_grad():
        folded(torch.zeros(1, 1, 3, 64, 64))
    total = sum(parts.values())
    print("| part | GMAC |\n|---|---|")
    for name, count in [*parts.items(), ("all", total), ("all but head.classes", total - parts["head.classes"])]:
        print(f"| {name} | {count:.2f} |")


def isolated(case: dict[str, Any]) -> dict[str, float]:
    """One case in a fresh process."""
    command = [sys.executable, __file__, "case", "--case", json.dumps(case)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    if run.returncode != 0:
        raise SystemExit(run.stderr)
    return json.loads(run.stdout.splitlines()[-1])


def table(cases: list[tuple[str, dict[str, Any]]]) -> None:
    """Run the cases and print one line each."""
    print("| case | wall ms | processor ms | peak memory GiB | GFLOP/s | of matmul peak |\n|---|---|---|---|---|---|")
    for title, case in cases:
        got = isolated(case)
        print(
            f"| {title} | {got['wall'] * 1e3:.0f} | {got['processor'] * 1e3:.0f} | {got['rss_gib']:.2f} | "
            f"{got['gflops']:.0f} | {got['gflops'] / got['peak_gflops']:.0%} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["steps", "scaling", "folded", "macs", "case"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--case")
    parser.add_argument("--size", choices=list(SIZES), default="n", help="folded: of the calibrated network")
    parser.add_argument("--checkpoint", help="folded: a trained network in place of a calibrated one")
    parser.add_argument("--compiled", action="store_true", help="folded: torch.compile too (minutes)")
    options = parser.parse_args()
    if options.what == "case":
        print(json.dumps(measure(json.loads(options.case))))
        return
    if options.what == "folded":
        compare_forms(options.size, options.threads, 10 * options.repeats, options.checkpoint, options.compiled)
        return
    if options.what == "macs":
        count_macs()
        return
    common = {"threads": options.threads, "repeats": options.repeats}
    step = STEP | common
    short, small = [1, 4, 2, 256, 320], [8, 8, 2, 96, 128]
    if options.what == "steps":
        variants = ("contiguous", "bfloat16", "checkpoint", "compile", "relu")
        table(
            [
                ("t, T 4, B 4, 256×320", step),
                ("t, T 1, B 4, 256×320", step | {"shape": short}),
                *((f"t, T 1, B 4, 256×320, {name}", step | {"shape": short, "variant": name}) for name in variants),
                ("pico, T 8, B 8, 96×128", step | {"size": "pico", "shape": small}),
                ("femto, T 8, B 8, 96×128", step | {"size": "femto", "shape": small}),
            ]
        )
    else:
        shapes = [[1, 2, 2, 128, 160], [2, 2, 2, 128, 160], [4, 2, 2, 128, 160], [8, 2, 2, 128, 160]]
        shapes += [[2, 4, 2, 128, 160], [2, 8, 2, 128, 160], [2, 2, 2, 256, 160], [2, 2, 2, 256, 320]]
        table([("t, T {}, B {}, {}×{}".format(*s[:2], *s[3:]), step | {"shape": s}) for s in shapes])


if __name__ == "__main__":
    main()
