"""Training and inference of the network: milliseconds, memory, and share of the machine's matrix-multiplication peak.

    python experiments/benchmarks/network/measure.py steps      # SGD steps of size t, and variants
    python experiments/benchmarks/network/measure.py scaling    # cost against T, B and pixels
    python experiments/benchmarks/network/measure.py folded     # inference of size n, unfolded and folded
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

    from spikeyolo.engine.execution import arrange
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


def compare_forms(threads: int, turns: int) -> None:
    """Inference of size n in every form, in turns in one process, so that other load strikes all alike."""
    import torch

    from spikeyolo.model.detector import Detector
    from spikeyolo.model.inference.fold import fold, macs
    from spikeyolo.model.neuron import Ilif

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    detector = Detector(num_classes=3, depth=0.33, width=SIZES["n"], neuron=Ilif)
    frames = torch.poisson(torch.full((1, 1, 2, 256, 320), 0.1)).to(torch.uint8)
    detector(frames)  # statistics of norms that are not those of a fresh network
    detector.eval()
    unfolded, autocast = "unfolded", "unfolded, bfloat16 autocast"
    networks = {
        unfolded: detector,
        autocast: detector,
        "fold(detector)": fold(detector),
        "fold(detector, dtype=torch.bfloat16)": fold(detector, dtype=torch.bfloat16),
        'fold(detector, synapses="single")': fold(detector, synapses="single"),
    }
    times: dict[str, list[float]] = {name: [] for name in networks}
    with torch.no_grad():
        for _ in range(turns):
            for name, network in networks.items():
                with torch.autocast("cpu", torch.bfloat16, enabled=name == autocast):
                    for repeat in range(3):
                        start = time.perf_counter()
                        network(frames)
                        if repeat:  # memory and caches are this form's again
                            times[name].append(time.perf_counter() - start)
    peak = peak_gflops()
    print(f"n, T 1, B 1, 256×320, {threads} threads, peak {peak:.0f} GFLOP/s\n")
    print("| form | best ms | median ms | times as fast | GFLOP/s | of matmul peak |\n|---|---|---|---|---|---|")
    for name, network in networks.items():
        taken = sorted(times[name])
        plain = network if "single" in name else detector
        gflops = 2 * macs(plain, frames) / taken[0] / 1e9
        print(
            f"| {name} | {taken[0] * 1e3:.0f} | {taken[len(taken) // 2] * 1e3:.0f} | "
            f"{min(times[unfolded]) / taken[0]:.2f} | {gflops:.0f} | {gflops / peak:.0%} |"
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
    options = parser.parse_args()
    if options.what == "case":
        print(json.dumps(measure(json.loads(options.case))))
        return
    if options.what == "folded":
        compare_forms(options.threads, 10 * options.repeats)
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
