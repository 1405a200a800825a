"""How the processes of a training find one another, and end together."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.connection import Listener

import torch
from torch import distributed
from torch._C._distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from spikeyolo.engine.ranks.lifeline import Lifeline
from spikeyolo.engine.ranks.ranks import Ranks
from spikeyolo.errors import ConfigError, TrainingError
from spikeyolo.launch import Place, fallen, place

JOIN_S = 300.0
# The lifeline ends a training whose process died; one may wait long for another that converts a data set.
_PATIENCE = timedelta(days=1)


@contextmanager
def joined(device: str, *, ends: Sequence[type[BaseException]] = ()) -> Iterator[Ranks]:
    """The processes that the launcher started, as one training; alone where it started none.

    Args:
        device: ``trainer.device``.
        ends: exceptions that are no errors, to which all processes come.

    Raises:
        ConfigError: the device cannot be shared out.
        TrainingError: processes are missing, or one failed.
    """
    here = place()
    if here is None:
        yield Ranks()
        return
    if here.rank:
        _be_silent()
    line = Lifeline(here.rank, here.world)
    ranks = Ranks(here, line)
    store = _meet(here, line)
    try:
        with ranks.watched(ends=tuple(ends)):
            backend = "cpu:gloo,cuda:nccl" if _choose_device(device, here, store) else "gloo"
            distributed.init_process_group(
                backend, store=store, rank=here.rank, world_size=here.world, timeout=_PATIENCE
            )
            yield ranks
    finally:
        line.leave()
        if line.failure is None and distributed.is_initialized():  # what waits for one that is gone, waits for ever
            distributed.destroy_process_group()


def _meet(here: Place, line: Lifeline) -> Store:
    """Wait until all processes are there, and hold the line between them."""
    os.environ |= {"MASTER_ADDR": here.address, "MASTER_PORT": str(here.port)}
    # Told of a world of one, the store of process 0 does not wait for the others, of whom some may never come.
    url = f"env://?rank={here.rank}&world_size=1"
    try:
        found, _, _ = next(iter(rendezvous(url, timeout=timedelta(seconds=JOIN_S))))
    except RuntimeError as error:
        raise TrainingError(
            f"process {here.rank} of {here.world}: no answer from process 0 at {here.address}:{here.port} "
            f"({' '.join(str(error).split())[:200]}); expected all processes of a training to be started together"
        ) from error
    store = PrefixStore("spikeyolo", found)
    store.set(f"here/{here.rank}", "")
    missing = list(range(here.world))
    deadline = time.monotonic() + JOIN_S
    while missing:
        missing = [rank for rank in missing if not store.check([f"here/{rank}"])]
        gone = fallen() if missing else None
        if gone is not None:
            raise TrainingError(f"{gone} before the training began; what it said stands above")
        if missing and time.monotonic() > deadline:
            raise TrainingError(
                f"process {', '.join(map(str, missing))} of {here.world} did not come within {JOIN_S:.0f} s; expected "
                "all processes of a training to be started together"
            )
        time.sleep(0.05 if missing else 0.0)
    if here.rank == 0:
        key = secrets.token_bytes(16)
        listener = Listener(("0.0.0.0", 0), backlog=here.world, authkey=key)
        store.set("line", f"{listener.address[1]} {key.hex()}")
        line.listen(listener)
    else:
        port, key_text = store.get("line").decode().split()
        line.call(here.address, int(port), bytes.fromhex(key_text))
    return store


def _choose_device(device: str, here: Place, store: Store) -> bool:
    """Make one GPU this process's own; False where all train on the CPU.

    Raises:
        ConfigError: there are more processes than GPUs, or some have none.
    """
    if device.startswith("cuda:"):
        raise ConfigError(
            f"trainer.device: found {device!r} for {here.world} processes, of which each takes a device of its own; "
            "expected auto, cpu or cuda"
        )
    on_gpu = device != "cpu" and torch.cuda.is_available()
    own = "cpu"
    if on_gpu:
        count = torch.cuda.device_count()
        # SLURM may show each task a device of its own.
        torch.cuda.set_device(min(here.local, count - 1))
        own = str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid)
    store.set(f"device/{here.rank}", own)
    found = [store.get(f"device/{rank}").decode() for rank in range(here.world)]
    gpus = [name for name in found if name != "cpu"]
    if gpus and (len(gpus) < len(found) or len(set(gpus)) < len(gpus)):
        raise ConfigError(
            f"trainer.device: found {len(set(gpus))} CUDA devices for {here.world} processes; expected a device each, "
            "or trainer.device=cpu"
        )
    return on_gpu


def _be_silent() -> None:
    """Process 0 speaks for all; the others only say why they end."""
    root = logging.getLogger()
    root.setLevel(logging.ERROR)
    for handler in [handler for handler in root.handlers if isinstance(handler, logging.FileHandler)]:
        root.removeHandler(handler)
        handler.close()
