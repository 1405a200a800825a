"""The processes that train together: what each is asked, and how they agree. Alone, every answer is one's own."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.connection import Listener
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch._C._distributed_c10d import GradBucket, PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from spikeyolo.engine.lifeline import Lifeline
from spikeyolo.errors import ConfigError, SpikeyoloError, TrainingError
from spikeyolo.launch import Place, place
from spikeyolo.loss.detection import DetectionLoss
from spikeyolo.model.norm import Norm

T = TypeVar("T")

JOIN_S = 300.0
# The lifeline ends a training whose process died; one may wait long for another that converts a data set.
_PATIENCE = timedelta(days=1)


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
        return value if self.world == 1 else _Sum.apply(value)

    def sums(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The sum of each scalar."""
        if self.world == 1:
            return dict(terms)
        joint = torch.stack([value.detach().double() for value in terms.values()])
        distributed.all_reduce(joint)
        return dict(zip(terms, joint.unbind(), strict=True))

    def rows(self, value: Tensor) -> Tensor:
        """The rows ``[M, ...]`` of all processes, in their order; differentiable, and M may be another in each."""
        return value if self.world == 1 else _Rows.apply(value, self.rank, self.world)

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

    def check_batch(self, batch_size: int) -> None:
        """Refuse a batch that cannot be shared equally.

        Raises:
            ConfigError: names both numbers.
        """
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
        loss.sharing = loss.distillation.sharing = self
        for norm in module.modules():
            if isinstance(norm, Norm):
                norm.synchronised = synchronise_norms
        assert isinstance(run, nn.Module)
        parallel = DistributedDataParallel(run, forward_sync_buffers=False)
        on_gpu = next(module.parameters()).is_cuda
        hook = _summed if on_gpu else _summed_in_order
        # DDP looks at annotations, and takes none that are texts.
        parallel.register_comm_hook(None, lambda _, bucket: hook(bucket))
        return parallel

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
    url = f"env://?rank={here.rank}&world_size={here.world}"
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


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        joint = value.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(joint)
        return joint

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Sum.apply(gradient)  # type: ignore[no-any-return]


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, rank: int, world: int) -> Tensor:
        counts = torch.zeros(world, dtype=torch.int64)
        counts[rank] = len(value)
        distributed.all_reduce(counts)
        sizes = counts.tolist()
        longest = max(sizes)
        own = value.new_zeros((longest, *value.shape[1:]))
        own[: len(value)] = value
        plain = own.to(torch.uint8) if own.dtype == torch.bool else own
        each = plain.new_empty((world * longest, *value.shape[1:]))
        if longest:
            distributed.all_gather_single(each, plain)
        ctx.begin, ctx.size = sum(sizes[:rank]), len(value)
        parts = [each[at * longest : at * longest + size] for at, size in enumerate(sizes)]
        return torch.cat(parts).to(value.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        joint = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(joint)
        return joint[ctx.begin : ctx.begin + ctx.size], None, None


def _summed(bucket: GradBucket) -> Future[Tensor]:
    """DDP's mean would be wrong: each process's gradient is its share of the whole batch's."""
    work = distributed.all_reduce(bucket.buffer(), async_op=True)
    return work.get_future().then(lambda done: done.value()[0])


def _summed_in_order(bucket: GradBucket) -> Future[Tensor]:
    """The sum in the order of processes, whatever lies beside a gradient in its bucket: DDP sorts its buckets anew
    after the first step, and a training that goes on shall have the digits of one that never stopped."""
    own = bucket.buffer()
    each = own.new_empty(distributed.get_world_size() * len(own))
    work = distributed.all_gather_single(each, own, async_op=True)

    def total(_: Any) -> Tensor:
        first, *others = each.view(-1, len(own)).unbind()
        joint = first.clone()
        for part in others:
            joint += part
        return joint

    assert work is not None
    return work.get_future().then(total)
