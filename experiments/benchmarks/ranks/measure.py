"""Windows a second of one and of several processes of one thread, on the same batches; prints a line of JSON.

python experiments/benchmarks/ranks/measure.py [--processes 2] [--steps 20] [--model pico] [--batch 8] [--apart]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import torch


def worker(steps: int, batch: int, model: str, apart: bool) -> None:
    """One process: the median time of a training step on its share of ``batch`` windows; process 0 prints it."""
    torch.set_num_threads(1)
    from hydra import compose, initialize_config_dir

    from spikeyolo import schema
    from spikeyolo.engine.ranks import joined
    from spikeyolo.entry import config_directory
    from spikeyolo.windows.batch import Batch, Targets

    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        config = compose("train", [f"model={model}"])
    torch.manual_seed(0)
    detector = schema.build(config.model, num_classes=3, in_channels=2).to(memory_format=torch.channels_last)
    loss = schema.build(config.loss)
    with joined("cpu") as ranks:
        windows = batch // ranks.world
        draw = torch.Generator().manual_seed(ranks.rank)
        boxes, time_steps = 4 * windows, 8
        corner = torch.rand(boxes, 2, generator=draw) * 60
        none = torch.zeros(boxes, dtype=torch.int64)
        targets = Targets(
            batch_index=torch.arange(boxes) % windows,
            time_step=torch.full((boxes,), time_steps - 1),
            xyxy=torch.cat((corner, corner + 24), 1),
            class_id=none,
            track_id=none - 1,
            recording=none,
            supervised=torch.ones(time_steps, windows, dtype=torch.bool),
        )
        frames = torch.randint(0, 3, (time_steps, windows, 2, 96, 128), generator=draw, dtype=torch.uint8)
        given = Batch(frames=frames, targets=targets, windows=())
        run = ranks.spread(detector, detector, loss=loss, synchronise_norms=not apart)
        optimizer = torch.optim.SGD(detector.parameters(), lr=1e-4)
        taken = []
        for _ in range(steps + 3):
            began = time.perf_counter()
            optimizer.zero_grad()
            loss(run(given.frames), given.targets).total.backward()
            optimizer.step()
            taken.append(time.perf_counter() - began)
        if ranks.is_main:
            print(json.dumps({"processes": ranks.world, "step_s": statistics.median(taken[3:])}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--model", default="pico")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--apart", action="store_true", help="norms take each process's own windows")
    parser.add_argument("--worker", action="store_true")
    given = parser.parse_args()
    if given.worker:
        worker(given.steps, given.batch, given.model, given.apart)
        return
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    seconds = {}
    for processes in (1, given.processes):
        # Weak scaling: each process has as many windows as the one alone has.
        command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}", __file__, "--worker"]
        command += [f"--steps={given.steps}", f"--model={given.model}", f"--batch={given.batch * processes}"]
        command += ["--apart"] * given.apart
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        seconds[processes] = json.loads(done.stdout.splitlines()[-1])["step_s"]
    rates = {count: given.batch * count / step for count, step in seconds.items()}
    gain = rates[given.processes] / rates[1]
    print(json.dumps({"windows_per_s": rates, "gain": gain, "goal": 1.7, "model": given.model, "batch": given.batch}))


if __name__ == "__main__":
    main()
