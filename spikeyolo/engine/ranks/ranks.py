"""The processes that train together: what each is asked, and how they agree. Alone, every answer is one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from spikeyolo.engine.ranks.lifeline import Lifeline
from spikeyolo.engine.ranks.sums import Rows, Sum, summed, summed_in_order
from spikeyolo.errors import ConfigError, SpikeyoloError, TrainingError
from spikeyolo.launch import Place
from spikeyolo.loss.detection import DetectionLoss
from spikeyolo.model.norm import Norm

T = TypeVar("T")


class Ranks:
    """One process, or one of several that hold a share of every batch each.

    All methods but the properties are collective: every process comes to them, in the same order.

    Args:
        place: of this process; None for one that trains alone.
        line: to the others.
    """

    def __init__(self, place: Place | None = None, line: Lifeline | None = None) -> None:
        self._place = place
        self._line = line

    @property
    def rank(self) -> int:
        return 0 if self._place is None else self._place.rank

    @property
    def world(self) -> int:
        return 1 if self._place is None else self._place.world

    @property
    def local_world(self) -> int:
        """Processes on this machine."""
        return 1 if self._place is None else self._place.local_world

    @property
    def is_main(self) -> bool:
        """Whether this is the process that saves, logs and speaks."""
        return self.rank == 0

    def most(self, *values: float) -> tuple[float, ...]:
        """The largest of each value over all processes."""
        if self.world == 1:
            return values
        joint = torch.tensor(values, dtype=torch.float64)
        distributed.all_reduce(joint, distributed.ReduceOp.MAX)
        return tuple(joint.tolist())

    def any(self, flag: bool) -> bool:
        """Whether it holds in one of them."""
        return bool(self.most(flag)[0])

    def first(self, value: T) -> T:
        """What the first process has."""
        if self.world == 1:
            return value
        told: list[Any] = [value if self.is_main else None]
        distributed.broadcast_object_list(told, src=0)
        return told[0]  # type: ignore[no-any-return]

    def gather(self, value: T) -> list[T]:
        """What all have, in their order; only the first process is given it, the others get nothing."""
        if self.world == 1:
            return [value]
        found: list[Any] | None = [None] * self.world if self.is_main else None
        distributed.gather_object(value, found, dst=0)
        return found or []

    def sum(self, value: Tensor) -> Tensor:
        """The sum over processes of a tensor that has one shape in all; differentiable."""
        return value if self.world == 1 else Sum.apply(value)

    def sums(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The sum of each scalar."""
        if self.world == 1:
            return dict(terms)
        joint = torch.stack([value.detach().double() for value in terms.values()])
        distributed.all_reduce(joint)
        return dict(zip(terms, joint.unbind(), strict=True))

    def rows(self, value: Tensor) -> Tensor:
        """The rows ``[M, ...]`` of all processes, in their order; differentiable, and M may be another in each."""
        return value if self.world == 1 else Rows.apply(value, self.rank, self.world)

    def align(self, module: nn.Module) -> None:
        """Give the buffers of a module (norms' statistics) the first process's values."""
        if self.world > 1:
            for buffer in module.buffers():
                distributed.broadcast(buffer, src=0)

    def barrier(self) -> None:
        """Wait for all."""
        if self.world > 1:
            self.any(False)

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """What each process makes where it is missing, such as converted recordings: the first one makes it."""
        if self.is_main:
            yield
            self.barrier()
        else:
            self.barrier()
            yield

    def same(self, what: str, found: Mapping[str, Any]) -> None:
        """Refuse processes that were not told the same.

        Args:
            what: in the sentence.
            found: flat; compared with the first process's.

        Raises:
            ConfigError: names the key and both values.
        """
        expected = self.first(dict(found))
        for key in [*expected, *(key for key in found if key not in expected)]:
            here, there = found.get(key, "nothing"), expected.get(key, "nothing")
            if here != there:
                raise ConfigError(
                    f"{what} {key}: found {here} in process {self.rank} and {there} in process 0; expected the same "
                    "command, data and version for all processes of a training"
                )

    def check_batch(self, batch_size: int | Literal["auto"]) -> None:
        """Refuse a batch that cannot be shared equally.

        Raises:
            ConfigError: names both numbers; or the size is still to be found, by a process that does not know the
                memory of the others.
        """
        if batch_size == "auto":
            if self.world > 1:
                raise ConfigError(
                    f"data.batch_size: found auto for {self.world} processes; expected a number, of all of them"
                )
            return
        if batch_size % self.world:
            kind = "fewer windows than processes" if batch_size < self.world else "which they cannot share equally"
            near = max(1, round(batch_size / self.world)) * self.world
            raise ConfigError(
                f"data.batch_size: found {batch_size} for {self.world} processes, {kind}; expected a multiple of "
                f"{self.world}, such as {near} (it is the batch of all processes together)"
            )

    def spread(
        self, module: nn.Module, run: Callable[[Tensor], Any], *, loss: DetectionLoss, synchronise_norms: bool
    ) -> Callable[[Tensor], Any]:
        """What is called in place of ``run``: it gives every process the gradients of the whole batch.

        Args:
            module: whose gradients are summed over processes, and whose norms take the whole batch.
            run: the module or its compiled form.
            loss: gives its share of the whole batch's terms from now on.
            synchronise_norms: False lets each process's norms take its own windows.
        """
        if self.world == 1:
            return run
        loss.sharing = loss.distillation.sharing = loss.firing_rate.sharing = self
        for norm in module.modules():
            if isinstance(norm, Norm):
                norm.synchronised = synchronise_norms
        assert isinstance(run, nn.Module)
        parallel = DistributedDataParallel(run, forward_sync_buffers=False)
        on_gpu = next(module.parameters()).is_cuda
        hook = summed if on_gpu else summed_in_order
        # DDP looks at annotations, and takes none that are texts.
        parallel.register_comm_hook(None, lambda _, bucket: hook(bucket))
        return parallel

    @contextmanager
    def added(self, parameters: Iterable[nn.Parameter]) -> Iterator[None]:
        """A backward pass in here adds to the gradients that wait.

        They are sums over all processes already: left in place they would be summed over them once more, since DDP
        reduces all that a gradient holds, and so they are put aside meanwhile.
        """
        waiting = {each: each.grad for each in parameters if each.grad is not None} if self.world > 1 else {}
        for parameter in waiting:
            parameter.grad = None
        yield
        if waiting:
            new = [parameter.grad for parameter in waiting if parameter.grad is not None]
            torch._foreach_add_(new, list(waiting.values()))

    @contextmanager
    def watched(self, *, ends: tuple[type[BaseException], ...] = ()) -> Iterator[None]:
        """Tell the others of an error in here; what is raised because another failed becomes its sentence.

        Args:
            ends: exceptions that are no errors, to which all processes come.

        Raises:
            TrainingError: another process failed.
        """
        try:
            yield
        except ends:
            raise
        except BaseException as error:
            line = self._line
            if line is None or (isinstance(error, SystemExit) and error.code in (0, 130, 143)):
                raise
            if isinstance(error, RuntimeError):
                line.failed.wait(5.0)  # the collective may know of it first
            if line.failure is None:
                line.tell(_sentence(error))
                raise
            if isinstance(error, SystemExit) or line.failure in str(error):
                raise
            if not self.is_main:  # process 0 says it
                raise SystemExit(2) from error
            raise TrainingError(line.failure) from error


def _sentence(error: BaseException) -> str:
    return str(error) if isinstance(error, SpikeyoloError) else f"{type(error).__name__}: {error}"
