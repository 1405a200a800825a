"""One update of the network: forward pass under autocast, loss, backward pass, clipping, optimizer, average."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from spikeyolo.engine.device import Precision
from spikeyolo.engine.ranks import Ranks
from spikeyolo.engine.update.average import Average
from spikeyolo.engine.update.phases import Phases
from spikeyolo.loss.firing_rate import FiringRate
from spikeyolo.model.streaming import Carrier, joined
from spikeyolo.windows.batch import Batch

if TYPE_CHECKING:  # it restores checkpoints, which know this package
    from spikeyolo.engine.update.teacher import Teacher


class TrainStep:
    """Turns batches into updates, one for every ``accumulate_batches`` of them.

    Args:
        module: what is trained.
        run: what is called in its place: itself, or its compiled form; with a memory behind the frames where the
            neurons' states go on from batch to batch.
        loss: of predictions and targets.
        optimizer: of the module's parameters, each group with its ``initial_lr``.
        average: of the weights; None for none.
        precision: of the forward pass; the loss is in float32. For ``float16``, whose least value is 6e-8, the loss is
            scaled before the backward pass and the gradients back before the update; where they overflow, the update is
            left out and the scale halved (arXiv 1710.03740).
        clip_gradient: largest norm of all gradients together; None leaves them.
        accumulate_batches: batches whose mean gradient makes one update.
        teacher: a trained network to learn from beside the labels; None for none.
        firing_rate: the penalty on spikes; None for none.
        ranks: the processes that each give their share of a batch's loss; None for one alone.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        run: Callable[..., Any],
        loss: Callable[..., Any],
        optimizer: torch.optim.Optimizer,
        average: Average | None,
        precision: Precision,
        clip_gradient: float | None,
        accumulate_batches: int = 1,
        teacher: Teacher | None = None,
        firing_rate: FiringRate | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self.module = module
        self.optimizer = optimizer
        self.average = average
        self._run = run
        self._loss = loss
        self._precision = precision
        self._limit = float("inf") if clip_gradient is None else clip_gradient
        self._accumulate_batches = accumulate_batches
        self._teacher = teacher
        self._firing_rate = firing_rate
        self._carrier = Carrier(module)
        self._carried: list[dict[str, Any]] = []  # of all processes, for the checkpoint that is about to be written
        self._ranks = Ranks() if ranks is None else ranks
        self._pending = 0  # batches whose gradients wait for the update
        device = next(module.parameters()).device
        self.phases = Phases(device)
        self._scaler = torch.amp.GradScaler(device.type, enabled=precision == "float16")
        self._unscaled = False  # whether the scaler has looked at the gradients that wait
        self._overflowed = False
        self._finite: Tensor | None = None  # `[]` bool: what was told of the batches that wait
        # A fused Adam leaves an update out by a flag on its device, where a fused SGD's first one would leave momenta
        # that nobody has written; for that and for all others the host looks first.
        fused = isinstance(optimizer, torch.optim.Adam) and getattr(optimizer, "_step_supports_amp_scaling", False)
        self._device_decides = device.type != "cpu" and fused and not self._scaler.is_enabled()
        self._undone = torch.zeros((), dtype=torch.int64, device=device)

    def set_factor(self, factor: float) -> float:
        """Set every group to ``factor`` of its own learning rate; returns that of the optimizer."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        return float(self.optimizer.defaults["lr"]) * factor

    def gradients(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Add a batch's gradients to those that wait; returns the loss and its terms by name, of all processes."""
        device, narrow = batch.frames.device.type, self._precision != "float32"
        dtype = torch.float16 if self._precision == "float16" else torch.bfloat16
        phases = self.phases
        memory, self._carried = self._carrier.memory(batch), []
        with (
            phases("forward"),
            self._watching() as maps,
            self._counting() as spikes,
            torch.autocast(device, dtype, enabled=narrow),
        ):
            predictions = self._run(batch.frames) if memory is None else self._run(batch.frames, memory)
        self._carrier.keep(memory, batch)
        with phases("loss"):
            terms = self._loss(predictions, batch.targets)
            total, named = terms.total, terms.named()
        if self._teacher is not None:
            with phases("teacher"):
                taught = self._teacher(batch.frames, predictions, maps)
            total, named = total + taught.total, named | taught.named()
        if self._firing_rate is not None:
            rate = self._firing_rate(spikes)
            total, named = total + rate, named | {"firing_rate": rate.detach()}
        if not self._pending:
            self.optimizer.zero_grad(set_to_none=True)
        with phases("backward"), self._ranks.added(self.module.parameters()):
            self._scaler.scale(total).backward()
        self._pending += 1
        named = self._ranks.sums({**named, "total": total, "positives": terms.num_positives.double()})
        return named["total"].detach(), named

    def _watching(self) -> AbstractContextManager[list[Tensor]]:
        return nullcontext([]) if self._teacher is None else self._teacher.watching(self.module)

    def _counting(self) -> AbstractContextManager[list[tuple[Tensor, int]]]:
        return nullcontext([]) if self._firing_rate is None else self._firing_rate.watching(self.module)

    def is_due(self, *, last: bool) -> bool:
        """Whether the update comes now; after an epoch's ``last`` batch it always does."""
        return last or self._pending >= self._accumulate_batches

    def clip(self) -> Tensor | None:
        """Take the mean over the batches that wait and bound its norm.

        Returns:
            the norm before; None where float16 gradients overflowed, which a smaller scale mends.
        """
        parameters = [p for p in self.module.parameters() if p.grad is not None]
        if self._scaler.is_enabled():
            self._scaler.unscale_(self.optimizer)
            self._unscaled = True
        if self._pending > 1:
            torch._foreach_div_([p.grad for p in parameters], float(self._pending))  # type: ignore[misc]
        norm = nn.utils.get_total_norm([p.grad for p in parameters], foreach=True)  # type: ignore[misc]
        if norm.device.type != "cpu" or norm > self._limit:  # on a CPU, looking is free and a pass over all is not
            nn.utils.clip_grads_with_norm_(parameters, self._limit, norm, foreach=True)
        self._overflowed = self._scaler.is_enabled() and not bool(torch.isfinite(norm))
        # Where nothing is scaled any more, no smaller scale will help: as in any other precision.
        return None if self._overflowed and self._scaler.get_scale() > 1.0 else norm

    def doubt(self, finite: Tensor) -> None:
        """Leave the coming update out where a batch that waits for it is not finite.

        Weights and the optimizer's state then stay as they are. Norms keep what they found in that forward pass, and
        where the device decides, the average takes the same weights in once more.

        Args:
            finite: ``[]`` bool, on the device: whether the terms of the last batch are.
        """
        self._finite = finite if self._finite is None else self._finite & finite

    def update(self) -> bool:
        """Change the weights and their average; returns whether they changed: not where gradients overflowed.

        Where the device itself leaves an update out, the host is told it changed them, and learns better by
        :meth:`undone`.
        """
        if self._finite is not None and not self._device_decides and not bool(self._finite):
            self.drop()
            return False
        overflowed = self._overflowed
        if self._finite is not None and self._device_decides:
            self._step_unless(~self._finite)
        else:
            self._scaler.step(self.optimizer)  # does nothing where they overflowed
        self._unscaled = True
        if overflowed:
            self._clear()
            return False
        self._done()
        if self.average is not None:
            self.average.update(self.module)
        return True

    def _step_unless(self, bad: Tensor) -> None:
        self.optimizer.found_inf = bad.float()  # type: ignore[attr-defined]
        self.optimizer.step()
        del self.optimizer.found_inf  # type: ignore[attr-defined]
        self._undone = self._undone + bad

    def undone(self) -> int:
        """How many updates the device has left out since this was last asked; the host waits for it."""
        found = int(self._undone)
        self._undone = torch.zeros_like(self._undone)
        return found

    def drop(self) -> None:
        """Forget the gradients that wait, and the states that the neurons were left in."""
        self._carrier.forget()
        self._clear()

    def _clear(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self._done()

    def _done(self) -> None:
        if self._unscaled or not self._scaler.is_enabled():
            self._scaler.update()
        self._pending, self._unscaled, self._overflowed, self._finite = 0, False, False, None

    def gather(self) -> None:
        """Let the first process have what all of them must go on from, before it saves. All come here together."""
        self._carried = self._ranks.gather(self._carrier.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Gradients that wait for their update, by parameter and unscaled (mostly none), the scaler, and the states in
        which neurons were left."""
        waiting = self.module.named_parameters() if self._pending else ()
        scale = self._scaler.get_scale()  # a power of two, so that this loses nothing
        gradients = {name: p.grad / scale if scale != 1.0 else p.grad for name, p in waiting if p.grad is not None}
        return {
            "pending": self._pending,
            "gradients": gradients,
            "scaler": self._scaler.state_dict(),
            "carried": joined(self._carried or [self._carrier.state_dict()]),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._done()  # a scaler that has looked at gradients would not look at others
        self._pending = int(state["pending"])
        self._carrier.load_state_dict(state.get("carried", {}))
        if self._scaler.is_enabled() and state.get("scaler"):
            self._scaler.load_state_dict(state["scaler"])
        scale = self._scaler.get_scale()
        for name, parameter in self.module.named_parameters():
            gradient = state["gradients"].get(name) if parameter.requires_grad else None  # it may be frozen by now
            parameter.grad = None if gradient is None else (gradient * scale).to(parameter.device)
