"""A whole training of one number, on a clock of its own: what the engine's tests are made of."""

from __future__ import annotations

import signal
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from spikeyolo.engine.task import Task
from spikeyolo.engine.trainer import Trainer
from spikeyolo.engine.update.optimizer import Sgd
from spikeyolo.engine.update.schedule import CosineSchedule
from spikeyolo.report.silent import SilentLogger


@dataclass
class World:
    """A training of one number, whose batches take as long as they are told to.

    Attributes:
        batch_s, validation_batch_s: how long each takes on the clock.
        first_s: the first training batch takes so much longer.
        train, val: batches an epoch, and of a validation.
        bad_steps: the calls of the loss in which it is not a number.
        dtypes, judged: of the predictions of each batch, and the weights that each validation judged.
        stop_at: the update after which the user presses Ctrl-C (or ``stop_signal`` comes).
    """

    batch_s: float = 1.0
    validation_batch_s: float = 1.0
    train: int = 4
    val: int = 2
    bad_steps: Container[int] = ()
    stop_at: int | None = None
    stop_signal: signal.Signals = signal.SIGINT
    figures: tuple[float, ...] = (0.5,)
    first_s: float = 0.0
    described: dict[str, Any] = field(default_factory=dict)
    now: float = 1000.0
    validated_at: list[float] = field(default_factory=list)
    rates: list[tuple[float, float]] = field(default_factory=list)
    dtypes: list[torch.dtype] = field(default_factory=list)
    judged: list[torch.Tensor] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    steps: int = 0
    frames: torch.Tensor = field(default_factory=lambda: torch.ones(3))

    def clock(self) -> float:
        return self.now

    def batches(self, count: int, seconds: float, first: int) -> Iterator[Any]:
        for _ in range(first, count):
            self.now += seconds
            if not self.steps and seconds == self.batch_s:
                self.now += self.first_s
            batch = SimpleNamespace(frames=self.frames, targets=SimpleNamespace(), follows=())
            batch.to = lambda device, batch=batch: batch
            yield batch

    def loader(self, count: int, seconds: float) -> Any:
        class Loader:
            sampler = SimpleNamespace(batch_size=8)

            def __len__(self) -> int:
                return count

            def epoch(loader, epoch: int, *, first_batch: int = 0) -> Iterator[Any]:  # noqa: N805
                return self.batches(count, seconds, first_batch)

        return Loader()

    def loss(self, predictions: torch.Tensor, targets: Any) -> Any:
        self.steps += 1
        self.dtypes.append(predictions.dtype)
        if self.steps == self.stop_at:
            signal.raise_signal(self.stop_signal)
        total = (predictions**2).mean()
        box = dfl = total.detach() * 0.5
        if self.steps in self.bad_steps:
            dfl = dfl * float("nan")
            total = total + dfl
        named = {"box": box, "dfl": dfl}
        return SimpleNamespace(total=total, num_positives=torch.tensor(1), named=lambda: named)

    def evaluate(self, detector: nn.Module, batches: Iterable[Any], *, device: torch.device) -> dict[str, float]:
        seen = sum(1 for _ in batches)
        if seen:
            self.validated_at.append(self.now)
            self.judged.append(detector.weight.detach().clone())  # type: ignore[operator, union-attr]
        return {"map50": self.figures[min(len(self.validated_at), len(self.figures)) - 1], "map": 0.25}

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Any]:
        yield self.said.append

    def fit(
        self, folder: Path, *, pruner: Any = None, optimizer: Any = None, schedule: Any = None, teacher: Any = None,
        **trainer: Any,
    ) -> dict[str, float]:  # fmt: skip
        """Train; arguments beyond those of the task are the trainer's."""
        task = self.task(folder, pruner=pruner, optimizer=optimizer, schedule=schedule, teacher=teacher)
        return Trainer(device="cpu", clock=self.clock, **trainer).fit(task)

    def task(
        self, folder: Path, *, pruner: Any = None, optimizer: Any = None, schedule: Any = None, teacher: Any = None
    ) -> Task:
        world = self

        class Cosine(CosineSchedule):
            def factor(self, progress: float, **known: Any) -> float:
                world.rates.append((progress, world.now))
                return super().factor(progress, **known)

        torch.manual_seed(0)
        return Task(
            detector=nn.Linear(3, 1),
            loss=self.loss,  # type: ignore[arg-type]
            optimizer=optimizer or partial(Sgd, lr=0.01),
            schedule=schedule or Cosine(),
            train=self.loader(self.train, self.batch_s),
            val=self.loader(self.val, self.validation_batch_s),
            evaluator=self,
            logger=SilentLogger(),
            console=self,
            folder=folder,
            description={"classes": ["car"], **self.described},
            pruner=pruner,
            teacher=teacher,
        )
