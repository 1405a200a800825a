"""Time and memory of spiking neurons, forward and backward over a whole sequence, side by side.

    python experiments/benchmarks/neuron/measure.py [--threads 2] [--shape 8 4 64 32 32] [--repeats 60]

Prints a table: best and median milliseconds (implementations take turns, so that other load on the machine strikes
all alike), and MiB that autograd keeps for the backward pass.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

warnings.filterwarnings("ignore")

Run = Callable[[Tensor], Tensor]
FUSED = "spikeyolo Ilif, fused"
BYTES = 4 + 4 + 1 + 4 + 1 + 4  # an element: currents, spikes, the byte written; gradient, the byte read, gradient out
OPERATIONS = 7 + 2  # leak, integrate, clamp (2), round (2), reset; select, leak-and-add
TURN = 10  # runs of one implementation before the next has its turn


def implementations() -> dict[str, Run]:
    """Name → function of currents [T, ...] that gives spikes."""
    from norse.torch import LIF, LIFBoxCell, LIFBoxParameters, Lift
    from norse.torch.module.snn import SNN

    from spikeyolo.model.neuron import Ilif

    fused, looped = Ilif(), Ilif()
    box = Lift(LIFBoxCell(LIFBoxParameters(tau_mem_inv=torch.tensor(750.0), v_th=torch.tensor(0.5))))
    lif = LIF()

    def eager(currents: Tensor) -> Tensor:
        """I-LIF as a plain loop of torch operations, a straight-through estimate of the rounding."""
        left, spikes = torch.zeros_like(currents[0]), []
        for current in currents:
            membrane = 0.25 * left + current
            clamped = membrane.clamp(0, 4)
            fired = clamped + (clamped.round() - clamped).detach()
            left = membrane - fired.detach()
            spikes.append(fired)
        return torch.stack(spikes)

    runs: dict[str, Run] = {
        FUSED: lambda x: fused(x, None, False)[0],
        "spikeyolo Ilif, norse SNN loop over the step": lambda x: SNN.forward(looped, x)[0],
        "I-LIF, plain torch loop": eager,
        "norse Lift(LIFBoxCell)": lambda x: box(x)[0],
        "norse LIF": lambda x: lif(x)[0],
    }
    try:
        from spikingjelly.activation_based import functional, neuron, surrogate
    except ImportError:
        print("spikingjelly is not installed: left out")
        return runs
    node = neuron.LIFNode(tau=2.0, surrogate_function=surrogate.Sigmoid(), detach_reset=True, step_mode="m")

    def jelly(currents: Tensor) -> Tensor:
        functional.reset_net(node)
        return node(currents)

    return runs | {"spikingjelly LIFNode, multi-step": jelly}


def saved_bytes(run: Run, currents: Tensor) -> int:
    """Bytes of distinct memory that autograd keeps."""
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = run(currents)
        kept = sum(size for at, size in seen.items() if at != currents.untyped_storage().data_ptr())
    del output
    return kept


def bounds(currents: Tensor, seconds: float) -> str:
    """How near the fused pass is to what the processor and its memory can do, in words."""
    a, b, other = torch.randn(2048, 2048), torch.randn(2048, 2048), torch.empty_like(currents)

    def least(run: Callable[[], object]) -> float:
        taken = []
        for _ in range(20):
            start = time.perf_counter()
            run()
            taken.append(time.perf_counter() - start)
        return min(taken)

    count = currents.numel()
    copied = 8 * count / least(lambda: other.copy_(currents)) / 1e9
    peak = 2 * 2048**3 / least(lambda: a @ b) / 1e9
    return (
        f"\nfused: {BYTES * count / seconds / 1e9:.0f} GB/s where a copy of the currents moves {copied:.0f}; "
        f"{OPERATIONS * count / seconds / 1e9:.0f} GFLOP/s of the matrix product's {peak:.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shape", type=int, nargs="+", default=[8, 4, 64, 32, 32])
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    currents = (torch.randn(options.shape, device=options.device) * 2).requires_grad_()
    weights = torch.randn(options.shape, device=options.device)
    runs = implementations()
    times: dict[str, list[float]] = {name: [] for name in runs}

    def wait() -> float:
        if options.device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter()

    for _ in range(max(options.repeats // TURN, 1)):
        for name, run in runs.items():
            for repeat in range(TURN + 2):
                start = wait()
                torch.autograd.grad(run(currents), currents, weights)
                if repeat >= 2:  # memory and caches are this implementation's again
                    times[name].append(wait() - start)
    print(f"shape {options.shape}, {options.threads} threads, torch {torch.__version__}, {options.device}\n")
    print("| implementation | best ms | median ms | MiB saved |\n|---|---|---|---|")
    for name, run in runs.items():
        taken = sorted(times[name])
        kept = saved_bytes(run, currents) / 2**20
        print(f"| {name} | {taken[0] * 1e3:.2f} | {taken[len(taken) // 2] * 1e3:.2f} | {kept:.1f} |")
    if options.device == "cpu":
        print(bounds(currents.detach(), min(times[FUSED])))


if __name__ == "__main__":
    main()
