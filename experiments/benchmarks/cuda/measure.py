"""One part of what is measured on a CUDA device; ``run.sh`` runs them all, each in a process of its own.

    python experiments/benchmarks/cuda/measure.py tests|steps|highfreq|sweep|report --out FOLDER [--device cpu --quick]

Writes ``FOLDER/PART.json``; ``report`` prints all that are there as one JSON object.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
PARTS = ("tests", "steps", "highfreq", "sweep")
BATCH, CHANNELS = 4, 2


def tests(device: str, quick: bool, out: Path) -> dict[str, Any]:
    """The tests marked ``cuda``: how many passed, and the names of those that did not."""
    report = out / "tests.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-m", "cuda", "tests/test_cuda.py", f"--junitxml={report}"]
    if quick:
        command += ["-k", "femto or not step_of_every_size", "-m", "cuda and not slow"]
    run = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"SPIKEYOLO_TEST_DEVICE": device}, capture_output=True, text=True
    )
    if not report.is_file():
        raise SystemExit(run.stdout + run.stderr)
    cases = list(ElementTree.parse(report).iter("testcase"))
    failed = [
        str(case.get("name")) for case in cases if case.find("failure") is not None or case.find("error") is not None
    ]
    skipped = [str(case.get("name")) for case in cases if case.find("skipped") is not None]
    passed = len(cases) - len(failed) - len(skipped)
    if not passed and not failed:
        raise SystemExit(f"no test ran on {device}: {', '.join(skipped)}")
    return {"passed": passed, "failed": failed, "skipped": skipped}


def spikingjelly_neuron(backend: str) -> Callable[[], Any] | None:
    """spikingjelly's integrate-and-fire neuron with a leak, as the network asks for one; None where it is absent."""
    try:
        from spikingjelly.activation_based import neuron, surrogate
    except ImportError:
        return None
    from spikeyolo.model.neuron import Relu

    class Peer(Relu):  # which has no state of its own
        levels = 1

        def __init__(self) -> None:
            super().__init__()
            self.node = neuron.LIFNode(step_mode="m", backend=backend, surrogate_function=surrogate.ATan())

        def forward(self, currents: Any, state: Any = None, keep: bool = True) -> Any:
            self.node.reset()
            return self.node(currents), ()

    return Peer


def loop_neuron() -> Any:
    """I-LIF as a plain loop of torch operations."""
    import torch

    from spikeyolo.model.neuron import Ilif

    class Loop(Ilif):
        def forward(self, currents: Any, state: Any = None, keep: bool = True) -> Any:
            left, spikes = torch.zeros_like(currents[0]), []
            for current in currents:
                membrane = 0.25 * left + current
                clamped = membrane.clamp(0, 4)
                fired = clamped + (clamped.round() - clamped).detach()
                left = membrane - fired.detach()
                spikes.append(fired)
            return torch.stack(spikes), None

    return Loop()


def step_cases(quick: bool) -> list[tuple[str, int, str]]:
    """Size, T and variant of each step that is timed, the most telling first."""
    if quick:
        return [("femto", T, variant) for T in (1, 2) for variant in ("eager", "bfloat16", "contiguous", "loop")]
    sizes, times = ("t", "s", "m"), (1, 4, 8)
    cases = [(size, T, "eager") for T in times for size in sizes]
    cases += [(size, 4, variant) for size in sizes for variant in ("bfloat16", "contiguous", "relu", "loop")]
    cases += [("t", 4, "compiled"), ("s", 4, "compiled"), ("t", 1, "compiled")]
    return [*cases, ("t", 4, "spikingjelly-cupy"), ("t", 4, "spikingjelly-torch")]


def time_step(device_name: str, size: str, steps: int, variant: str, quick: bool) -> dict[str, Any] | None:
    """Milliseconds of a training step: on the clock, on the host alone, and the sum of its kernels."""
    import torch
    from omegaconf import OmegaConf

    from spikeyolo.engine.update.execution import arrange
    from spikeyolo.entry import config_directory
    from spikeyolo.model import Detector
    from spikeyolo.model.neuron import Ilif, Relu

    neuron: Any = {"relu": Relu, "loop": loop_neuron}.get(variant, Ilif)
    if variant.startswith("spikingjelly"):
        neuron = spikingjelly_neuron(variant.partition("-")[2])
        if neuron is None:
            return None
    torch.manual_seed(0)
    device = torch.device(device_name)
    written = OmegaConf.load(config_directory() / "model" / f"{size}.yaml")
    scale: dict[str, Any] = {name: written[name] for name in ("depth", "width", "p5_ratio")}
    network = Detector(num_classes=3, neuron=neuron, **scale).train().to(device)
    arrange(network, channels_last=variant != "contiguous", gradient_checkpointing=False)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4, fused=True)
    shape = (steps, 2 if quick else BATCH, CHANNELS, 64 if quick else 384, 64 if quick else 640)
    frames = torch.poisson(torch.full(shape, 0.1)).to(torch.uint8).to(device)
    call: Any = torch.compile(network, mode="reduce-overhead") if variant == "compiled" else network
    on_cuda = device.type == "cuda"

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=variant == "bfloat16"):
            predictions = call(frames)
        loss = predictions.box_logits.float().square().mean() + predictions.class_logits.float().square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    def wait() -> None:
        if on_cuda:
            torch.cuda.synchronize(device)

    began = time.perf_counter()
    step()
    wait()
    first = time.perf_counter() - began
    for _ in range(1 if quick else 4):
        step()
    repeats = 2 if quick else 10
    walls, hosts = [], []
    for _ in range(repeats):
        wait()
        began = time.perf_counter()
        step()
        hosts.append(time.perf_counter() - began)
        wait()
        walls.append(time.perf_counter() - began)
    result: dict[str, Any] = {"step_ms": 1e3 * sorted(walls)[repeats // 2], "first_ms": 1e3 * first}
    if on_cuda:
        result["host_ms"] = 1e3 * sorted(hosts)[repeats // 2]
        result["peak_gib"] = torch.cuda.max_memory_allocated(device) / 2**30
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
            step()
            wait()
        kernels = [event for event in profiler.events() if event.device_type == torch.autograd.DeviceType.CUDA]
        result["kernels"] = len(kernels)
        result["kernels_ms"] = sum(event.device_time_total for event in kernels) / 1e3
        result["step_over_kernels"] = result["step_ms"] / result["kernels_ms"]
    result["parameters"] = sum(parameter.numel() for parameter in network.parameters())
    return result


def steps(device: str, quick: bool, out: Path) -> list[dict[str, Any]]:
    """Each case in turn; those that are done are kept where the part is cut short, and not done again."""
    import torch

    partial = out / "steps.partial.jsonl"
    done = [json.loads(line) for line in partial.read_text().splitlines()] if partial.is_file() else []
    known = {(row["size"], row["time_steps"], row["variant"]) for row in done}
    for size, count, variant in step_cases(quick):
        if (size, count, variant) in known:
            continue
        row: dict[str, Any] = {"size": size, "time_steps": count, "variant": variant}
        try:
            found = time_step(device, size, count, variant, quick)
            row |= {"absent": True} if found is None else found
        except Exception as error:  # one that does not fit or compile is a finding too
            row["failed"] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        gc.collect()
        if device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        done.append(row)
        with partial.open("a") as file:
            file.write(json.dumps(row) + "\n")
    return done


class Busy:
    """Share of the device that is busy, as ``nvidia-smi`` samples it; None where it is not there."""

    def __enter__(self) -> Busy:
        query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "200"]
        found = shutil.which("nvidia-smi")
        self._process = subprocess.Popen(query, stdout=subprocess.PIPE, text=True) if found else None
        return self

    def __exit__(self, *error: object) -> None:
        self.share: float | None = None
        if self._process is not None:
            self._process.terminate()
            text, _ = self._process.communicate()
            values = [float(line) for line in text.split() if line.strip().isdigit()]
            self.share = sum(values) / len(values) / 100 if values else None


def trained(arguments: list[str], folder: Path) -> float:
    """Seconds of a training; its files are in ``folder``."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "spikeyolo.train", *arguments]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(run.stderr[-2000:])
    assert folder.is_dir()
    return time.perf_counter() - began


def highfreq(device: str, quick: bool, out: Path) -> dict[str, Any]:
    """``+experiment=highfreq`` from end to end: windows a second, waiting for data, the device's busy share."""
    run = out / "highfreq"
    shutil.rmtree(run, ignore_errors=True)
    few = ["model=femto", "data.dataset.train_sequences=8", "data.dataset.val_sequences=2", "trainer.max_epochs=1"]
    some = few if quick else ["trainer.max_epochs=3"]
    store = out / "recordings"
    common = [
        "+experiment=highfreq",
        f"trainer.device={device}",
        "logger=none",
        "trainer.profile=true",
        f"data.store={store}",
    ]
    with Busy() as busy:
        seconds = trained([*common, *some, f"hydra.run.dir={run}"], run)
    figures = json.loads((run / "metrics.json").read_text())
    state = json.loads((run / "checkpoints" / "last" / "state.json").read_text())
    windows = state["settings"]["data"]["samples_per_epoch"]
    return {
        "seconds": seconds,
        "seconds_per_epoch": figures["seconds_per_epoch"],
        "windows_per_second": windows / figures["seconds_per_epoch"],
        "data_wait_share": figures["data_wait_share"],
        "busy_share": busy.share,
        "step": (run / "profile" / "steps.txt").read_text().splitlines(),
    }


def sweep(device: str, quick: bool, out: Path) -> dict[str, Any]:
    """Two trials one after another and side by side on one device, then one a device where there are several."""
    import torch

    count = torch.cuda.device_count() if device == "cuda" else 0
    small = ["data.dataset.train_sequences=4", "data.dataset.val_sequences=2", "data.max_samples_per_file=4"]
    common = ["+experiment=smoke", "hydra/sweeper=optuna", "logger=none", f"data.store={out / 'smoke'}"]
    common += [*(small if quick else []), f"trainer.max_epochs={1 if quick else 4}", f"trainer.device={device}"]
    common += ["hydra.sweeper.n_trials=2", "+hydra.sweeper.params={optimizer.lr: 'interval(0.001,0.003)'}"]
    on_one = ["hydra.sweeper.devices=[0]"] if count else []
    plans = {"one_after_another": ["hydra.sweeper.workers=1", *on_one]}
    plans["side_by_side"] = ["hydra.sweeper.workers=2", *on_one]
    if count > 1:
        plans["one_a_device"] = ["hydra.sweeper.devices=[0,1]"]
    found: dict[str, Any] = {}
    for name, plan in plans.items():
        folder = out / "sweep" / name
        shutil.rmtree(folder, ignore_errors=True)
        found[name] = {"seconds": trained(["-m", *common, *plan, f"hydra.sweep.dir={folder}"], folder)}
    return found


def hardware(device: str) -> dict[str, Any]:
    import torch

    name = torch.cuda.get_device_name() if device == "cuda" and torch.cuda.is_available() else "cpu"
    return {"device": name, "torch": torch.__version__, "cores": os.cpu_count(), "load": os.getloadavg()[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=[*PARTS, "report"])
    parser.add_argument("--device", default="cuda", help="cuda or cpu")
    parser.add_argument("--quick", action="store_true", help="small sizes and few steps: that the script works")
    parser.add_argument("--out", type=Path, help="folder of the results")
    arguments = parser.parse_args()
    device, quick = arguments.device, arguments.quick
    if arguments.part == "report":
        paths = {part: arguments.out / f"{part}.json" for part in PARTS}
        print(
            json.dumps({part: json.loads(path.read_text()) for part, path in paths.items() if path.is_file()}, indent=2)
        )
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    out = arguments.out.resolve()
    part: Any = globals()[arguments.part]
    began = time.perf_counter()
    found = part(device, quick, out)
    whole = {"on": hardware(device), "quick": quick, "took_s": round(time.perf_counter() - began, 1), "found": found}
    from spikeyolo.detections.files import whole_file

    with whole_file(out / f"{arguments.part}.json") as file:
        file.write_text(json.dumps(whole, indent=2))


if __name__ == "__main__":
    main()
