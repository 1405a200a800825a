"""Which process of a training this is, as torchrun or SLURM tell it, and the processes that a sweep's trial starts for
its devices. Nothing heavy is imported for the question."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from spikeyolo.errors import ConfigError

PROCESSES_VARIABLE = "SPIKEYOLO_PROCESSES"  # how many processes a sweep's trial is to train in, one a device
END_S = 30.0
FIRST_S = 5.0

_partners: list[subprocess.Popen[bytes]] = []  # that this process has started


@dataclass(frozen=True)
class Place:
    """One of the processes that train together.

    Attributes:
        rank: from 0; process 0 saves, logs and speaks.
        world: how many there are, on all machines.
        local, local_world: the same on this machine.
        address, port: where process 0 is to be found.
    """

    rank: int
    world: int
    local: int
    local_world: int
    address: str
    port: int


def place(environment: Mapping[str, str] | None = None) -> Place | None:
    """This process's place; None where it trains alone.

    torchrun (or any launcher that sets its variables) comes before SLURM, of which a step of several tasks counts: a
    batch script itself is no such step.

    Raises:
        ConfigError: variables contradict one another.
    """
    environment = os.environ if environment is None else environment
    if "RANK" in environment and "WORLD_SIZE" in environment:
        found = _of_torchrun(environment)
    elif "SLURM_STEP_NUM_TASKS" in environment:
        found = _of_slurm(environment)
    else:
        return None
    if not 0 <= found.rank < found.world or not 0 <= found.local < found.local_world:
        raise ConfigError(
            f"the launcher calls this process {found.rank} of {found.world}, on this machine {found.local} of "
            f"{found.local_world}; expected numbers from 0 below how many there are"
        )
    return found if found.world > 1 else None


def give_way() -> None:
    """Let process 0 say why all end, where it does: what started them ends this one before it says the same.

    Whoever alone has something to say waits in vain and says it then.
    """
    try:
        here = place()
    except ConfigError:
        return
    if here is not None and here.rank:
        time.sleep(FIRST_S)


def launcher(environment: Mapping[str, str] | None = None) -> str:
    """What a command line for the same processes begins with."""
    environment = os.environ if environment is None else environment
    here = place(environment)
    if here is None or PROCESSES_VARIABLE in environment:  # a trial starts its other processes itself
        return "python"
    if "RANK" not in environment:
        return "srun python"
    nodes = f"--nnodes={here.world // here.local_world} " if here.world > here.local_world else ""
    return f"torchrun {nodes}--nproc-per-node={here.local_world}"


def _of_torchrun(environment: Mapping[str, str]) -> Place:
    rank, world = _number(environment, "RANK"), _number(environment, "WORLD_SIZE")
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in environment]
    if world > 1 and missing:
        raise ConfigError(f"WORLD_SIZE is {world}, but {missing[0]} is not set; expected torchrun to start training")
    return Place(
        rank,
        world,
        _number(environment, "LOCAL_RANK", rank),
        _number(environment, "LOCAL_WORLD_SIZE", world),
        environment.get("MASTER_ADDR", "localhost"),
        _number(environment, "MASTER_PORT", 0),
    )


def _of_slurm(environment: Mapping[str, str]) -> Place:
    world = _number(environment, "SLURM_STEP_NUM_TASKS")
    job, step = _number(environment, "SLURM_JOB_ID", 0), _number(environment, "SLURM_STEP_ID", 0)
    tasks = _tasks_of_nodes(environment.get("SLURM_STEP_TASKS_PER_NODE", str(world)))
    node = _number(environment, "SLURM_NODEID", 0)
    return Place(
        _number(environment, "SLURM_PROCID"),
        world,
        _number(environment, "SLURM_LOCALID"),
        tasks[node] if node < len(tasks) else world,
        environment.get("MASTER_ADDR") or first_node(environment.get("SLURM_STEP_NODELIST", "localhost")),
        # Steps that run side by side on one node must not meet.
        _number(environment, "MASTER_PORT", 20_000 + (31 * job + step) % 20_000),
    )


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environment.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.isdigit():
        raise ConfigError(f"{name}: found {text!r} in the environment; expected a number, as a launcher sets it")
    return int(text)


def _tasks_of_nodes(text: str) -> list[int]:
    """``2(x3),1`` are 2, 2, 2 and 1 tasks."""
    found = re.findall(r"(\d+)(?:\(x(\d+)\))?", text)
    return [int(tasks) for tasks, times in found for _ in range(int(times or 1))]


def first_node(nodes: str) -> str:
    """The first name of SLURM's short form: ``gpu[03-05,7],cpu1`` begins with ``gpu03``."""
    match = re.match(r"([^,\[]+)(?:\[(\d+)[^\]]*\]([^,]*))?", nodes)
    if match is None:
        raise ConfigError(f"SLURM_STEP_NODELIST: found {nodes!r} in the environment; expected names of nodes")
    return "".join(part or "" for part in match.groups())


def arguments_of(here: Place, arguments: Sequence[str]) -> list[str]:
    """What Hydra is to be told in one of several processes: all but the first make no folder and no log file.

    Raises:
        ConfigError: a multirun, which every process would start.
    """
    if any(argument == "--multirun" or re.fullmatch(r"-[a-z]*m[a-z]*", argument) for argument in arguments):
        raise ConfigError(
            f"-m (--multirun): found in each of {here.world} processes, of which all would start it; expected the "
            "command without torchrun, with hydra.sweeper.devices=[[0,1],[2,3]] for several devices a trial"
        )
    if not here.rank:
        return list(arguments)
    return [
        *arguments,
        "hydra.run.dir=.",
        "hydra.output_subdir=null",
        f"hydra.job_logging.handlers.file.filename={os.devnull}",
    ]


@contextmanager
def partners(run_folder: Path) -> Iterator[None]:
    """Where a sweep gave this trial several devices: start the other processes, with this one as the first.

    They compose the configuration that Hydra has saved in the run's folder, so that it is this trial's.

    Args:
        run_folder: of the trial.
    """
    world = int(os.environ.get(PROCESSES_VARIABLE, "1"))
    if world < 2 or "RANK" in os.environ:
        yield
        return
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port = door.getsockname()[1]
    shared = {"WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    places = [{key: str(value) for key, value in {**shared, "RANK": i, "LOCAL_RANK": i}.items()} for i in range(world)]
    command = [sys.executable, "-m", "spikeyolo.train", f"--config-dir={run_folder / '.hydra'}", "--config-name=config"]
    others = [subprocess.Popen(command, env={**os.environ, **place}, stdin=subprocess.DEVNULL) for place in places[1:]]
    _partners[:] = others
    os.environ.update(places[0])
    try:
        yield
    finally:
        _partners.clear()
        for name in places[0]:
            os.environ.pop(name, None)
        for process in others:
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def fallen() -> str | None:
    """Which of a trial's partners has ended already; None where all that were started live."""
    for rank, process in enumerate(_partners, start=1):
        code = process.poll()
        if code is not None:
            return f"process {rank} of {len(_partners) + 1} ended with exit code {code}"
    return None
