"""Started by a test: children that save without a pause, or train, are killed at random moments; says what went wrong.

python killed.py FOLDER KILLS SEED
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import nn

from spikeyolo.engine.checkpoints import checkpoint


def network(value: int) -> nn.Module:
    module = nn.Linear(64, 64)
    nn.init.constant_(module.weight, value)
    return module


def save(folder: Path, number: int) -> None:
    module = network(number)
    training = {"module": module.state_dict(), "number": number}
    checkpoint.save(folder, weights=module, training=training, state={"number": number})


def save_for_ever(folder: Path, first: int, done: int) -> None:
    """Save ever larger numbers; each that is saved is told to the pipe ``done``."""
    for number in range(first, sys.maxsize):
        save(folder, number)
        os.write(done, number.to_bytes(8, "little"))


def number_of(folder: Path) -> int:
    """Of a checkpoint whose files belong together."""
    module = network(-1)
    checkpoint.load_weights(folder, module)
    state, training = checkpoint.read_state(folder), checkpoint.load_training(folder, module)
    found = {state["number"], training["number"], int(module.weight[0, 0])}  # type: ignore[index]
    assert len(found) == 1, f"files of different saves: {found}"
    return int(found.pop())


def main(folder: Path, kills: int, seed: int) -> None:
    torch.set_num_threads(1)
    draw = random.Random(seed)
    last = folder / "last"
    took = []
    for number in range(-20, 1):
        began = time.monotonic()
        save(last, number)
        took.append(time.monotonic() - began)
    usual = statistics.median(took)
    told = caught = 0
    for _ in range(kills):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            os.write(write, told.to_bytes(8, "little"))
            save_for_ever(last, told + 1, write)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            saved = pipe.read(8)  # it has begun
            time.sleep(draw.uniform(0, 2.5 * usual))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            saved += pipe.read()
        told = max(int.from_bytes(saved[i : i + 8], "little") for i in range(0, len(saved), 8))
        found = number_of(last)
        assert found in (told, told + 1), f"found {found}, though {told} was saved"
        caught += len(list(last.iterdir())) != 3
        told = found
    print(f"{kills} kills, {caught} in the middle of a save, {told} saves")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
