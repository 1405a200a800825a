"""Started by tests: forks processes that train together, over and over, so that packages are imported, configurations
composed and kernels of windows loaded once.

python shared_training.py FOLDER, then a case a line: {"case": NAME, "world": N, …}; answers a line when it is done.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partialmethod
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from spikeyolo import schema
from spikeyolo.engine.callbacks import Callback, Outcome, Run
from spikeyolo.engine.checkpoints import checkpoint
from spikeyolo.engine.checkpoints.files import Files
from spikeyolo.engine.evaluator import DetectionEvaluator, truth_at
from spikeyolo.engine.ranks import Ranks, joined
from spikeyolo.engine.task import Stopped, Task
from spikeyolo.engine.trainer import Trainer
from spikeyolo.engine.update.average import WeightAverage
from spikeyolo.engine.update.build import build_step
from spikeyolo.engine.update.parts import train_mode
from spikeyolo.engine.update.teacher import Teacher
from spikeyolo.entry import config_directory
from spikeyolo.errors import SpikeyoloError
from spikeyolo.events import Detections
from spikeyolo.report.silent import SilentLogger

COMPILER = "torch._dynamo"
LOADS_COMPILER = COMPILER in sys.modules  # by the imports above

# 7 windows: a batch of 6 and one of a single window, which all processes but one have nothing of.
TINY = (
    "+experiment=smoke",
    "model.depth=0.1",  # a quarter fewer norms, each of which waits for all processes
    "data.dataset.train_sequences=2",
    "data.dataset.val_sequences=2",
    "data.dataset.duration_us=30000",
    "data.time_steps=2",
    "data.max_samples_per_file=4",
    "data.samples_per_epoch=7",
    "data.batch_size=6",
)


class Quiet:
    """A console."""

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Any]:
        yield lambda text: None


class KillAt(Callback):
    """Kills a process, or stops this one, after ``step`` updates and in mid-epoch, with a checkpoint of that moment.

    Args:
        batch: of the epoch, at which alone it does so; None: at any.
    """

    def __init__(self, step: int, pid: int | None, number: int, *, batch: int | None = None) -> None:
        self.step, self.pid, self.number, self.batch = step, pid, number, batch

    def after_batch(self, run: Run) -> Outcome:
        batch = run.position.batch
        if run.position.step == self.step and batch and batch == (self.batch or batch):
            run.save("last")
            os.kill(self.pid or os.getpid(), self.number)
        return Outcome.CONTINUE


class Jittered(DetectionEvaluator):
    """Detects what is there, more or less, so that figures lie between 0 and 1."""

    def detections(self, detector: Any, batches: Any, *, device: Any) -> Iterator[Any]:
        for batch in batches:
            found, step = [], batch.frames.shape[0] - 1
            for index, window in enumerate(batch.windows):
                truth = truth_at(batch.targets, batch_index=index, step=step)
                draw = np.random.default_rng([window.recording, window.end_us])
                xyxy = truth.xyxy + draw.normal(0, 1.5, truth.xyxy.shape).astype(np.float32)
                score = draw.random(len(xyxy)).astype(np.float32)
                found.append(Detections(truth.t, xyxy, score, truth.class_id, None))
            yield batch, step, found


@cache
def composed(folder: Path, overrides: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        return compose("train", [*TINY, f"data.store={folder / 'store'}", *overrides])


def configured(case: dict[str, Any], folder: Path) -> DictConfig:
    """The configuration of a case: each process gets it from the one that forks, which composes it once."""
    return composed(folder, tuple(case.get("overrides", ())))


def built(config: DictConfig, ranks: Ranks, folder: Path, dtype: torch.dtype = torch.float32) -> Task:
    torch.manual_seed(0)
    data = schema.build(config.data)
    detector = schema.build(config.model, num_classes=len(data.classes), in_channels=2).to(dtype)
    with ranks.first_alone():
        train = data.train_loader(augmentation=schema.build(config.augment), seed=0)
        val = data.val_loader()
    for loader in (train, val):
        loader.share(ranks.rank, ranks.world)
    loss = schema.build(config.loss)
    return Task(
        detector=detector,
        loss=loss,
        optimizer=schema.build(config.optimizer, _partial_=True),
        schedule=schema.build(config.scheduler),
        train=train,
        val=val,
        evaluator=schema.build(config.evaluator, classes=data.classes, ranks=ranks),
        logger=SilentLogger(),
        console=Quiet(),
        folder=folder,
        description={
            "classes": list(data.classes),
            "in_channels": 2,
            "model": dict(config.model) | {"neuron": dict(config.model.neuron)},
            "encoder": dict(config.data.encoder),
        },
        firing_rate=loss.firing_rate if loss.firing_rate.weight else None,
        ranks=ranks,
    )


def gradients(case: dict[str, Any], ranks: Ranks, folder: Path) -> None:
    """Two batches of an epoch: terms, gradients, weights and statistics after each, in float64."""
    config = configured(case, folder)
    task = built(config, ranks, folder, torch.float64)
    if case.get("teacher"):
        torch.manual_seed(1)
        master = schema.build(config.model, num_classes=len(task.description["classes"]), in_channels=2)
        if ranks.is_main:
            checkpoint.save(folder / "teacher", weights=master, training=None, state=task.description)
        ranks.barrier()
        teacher = Teacher(folder / "teacher", task.detector, task.loss.distillation, task.description)
        teacher._network.double()
        task = Task(**{**vars(task), "teacher": teacher})
    trainer = Trainer(
        device="cpu",
        clip_gradient=1.0,
        gradient_checkpointing=bool(case.get("recomputed")),
        accumulate_batches=case.get("accumulate", 1),
    )
    step = build_step(trainer, task, average=None)
    train_mode(step.module)
    found = []
    for number, batch in enumerate(task.train.epoch(0)):
        total, terms = step.gradients(batch)
        raw = {name: p.grad.clone() for name, p in step.module.named_parameters() if p.grad is not None}
        if step.is_due(last=number == 1):
            terms["gradient"] = step.clip()
            step.update()
        found.append({"total": total, "terms": terms, "gradients": raw, "state": _copied(step.module.state_dict())})
    torch.save(found, folder / f"{case['name']}-{ranks.rank}.pt")


def _copied(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in state.items()}


def figures(case: dict[str, Any], ranks: Ranks, folder: Path) -> None:
    """mAP of detections that are nearly right."""
    task = built(configured(case, folder), ranks, folder)
    evaluator = Jittered(classes=task.description["classes"], ranks=ranks)
    found = evaluator.evaluate(task.detector, task.val.epoch(0), device=torch.device("cpu"))
    torch.save(found, folder / f"{case['name']}-{ranks.rank}.pt")


def windows(case: dict[str, Any], ranks: Ranks, folder: Path) -> None:
    """Which windows a process gets, batch by batch, in training and in validation."""
    task = built(configured(case, folder), ranks, folder)
    loaders = (task.train, task.val)
    found = [[[vars(window) for window in batch.windows] for batch in loader.epoch(1)] for loader in loaders]
    torch.save(found, folder / f"{case['name']}-{ranks.rank}.pt")


def imported(case: dict[str, Any], ranks: Ranks, folder: Path) -> None:
    """Whether importing all that trains loads torch's compiler."""
    torch.save(LOADS_COMPILER, folder / f"{case['name']}-{ranks.rank}.pt")


def training(case: dict[str, Any], ranks: Ranks, folder: Path) -> None:
    """A whole training of two epochs.

    With ``kill`` one process is killed in the middle of the second; the checkpoint called ``full`` finds no room.
    """
    own = folder / case["name"]
    task = built(configured(case, folder), ranks, own, getattr(torch, case.get("dtype", "float32")))
    if "full" in case:
        Files.write = partialmethod(_without_room, Files.write, case["full"])  # type: ignore[method-assign]
    pids = ranks.gather(os.getpid())
    callbacks: dict[str, Callback] = {}
    if "kill" in case and ranks.is_main:
        number = case.get("signal", signal.SIGKILL)
        callbacks["kill"] = KillAt(case.get("after", 3), pids[case["kill"]], number, batch=case.get("batch"))
    last = own / "checkpoints" / "last"
    trainer = Trainer(
        max_epochs=2,
        average=WeightAverage(decay=0.9),
        device="cpu",
        threads=1,
        resume=str(last) if case.get("resume") else None,
        select_by="map",
        callbacks=callbacks,
        **case.get("trainer", {}),
    )
    trainer.fit(task)


def _without_room(
    files: Files, write: Callable[[Files, Path, bytes], None], name: str, path: Path, data: bytes
) -> None:
    if name in path.parts:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    write(files, path, data)


def failing(case: dict[str, Any], ranks: Ranks, folder: Path) -> None:
    """One process meets an error that the others wait for."""
    if ranks.rank == case["who"]:
        raise SpikeyoloError("/data/train: is not there")
    ranks.barrier()


def differing(case: dict[str, Any], ranks: Ranks, folder: Path) -> None:
    """Processes that were told different things."""
    ranks.same("configuration", {"seed": 0, "optimizer.lr": 0.01 * (1 + (ranks.rank == case["who"]))})
    ranks.barrier()


CASES: dict[str, Callable[[dict[str, Any], Ranks, Path], None]] = {
    case.__name__: case for case in (gradients, figures, windows, imported, training, failing, differing)
}


def run(case: dict[str, Any], rank: int, port: int, folder: Path) -> int:
    """One process of a case; returns its exit code."""
    torch.set_num_threads(1)
    world = case["world"]
    os.environ |= {
        "RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    with (folder / f"{case['name']}-{rank}.log").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            with joined("cpu") as ranks:
                try:
                    CASES[case["case"]](case, ranks, folder)
                except Stopped as stop:
                    print(stop)
                    sys.exit(stop.exit_code)
        except SpikeyoloError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            return 2
        except SystemExit as end:
            return int(end.code or 0)
        except Exception:
            traceback.print_exc()
            return 1
    return 0


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


def warm(folder: Path) -> None:
    """Load what every process needs. Not the neurons' kernels: their threads would not outlive a fork."""
    import_module(COMPILER)  # optimizers and DDP load it when they are made
    data = schema.build(configured({}, folder).data)
    for _ in zip(range(1), data.val_loader().epoch(0), strict=False):
        break


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    warm(folder)
    for line in sys.stdin:
        case = json.loads(line)
        configured(case, folder)
        port, pids = free_port(), []
        for rank in range(case["world"]):
            pid = os.fork()
            if pid == 0:
                os._exit(run(case, rank, port, folder))
            pids.append(pid)
        print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
