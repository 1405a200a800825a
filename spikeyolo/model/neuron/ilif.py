"""Neurons of the network: integer leaky integrate-and-fire (the published one) and the real-valued ANN twin.

A neuron follows norse's shape: a plain step ``(currents, state, parameters, dt) → (spikes, state)`` under a thin
``SNN`` module, whose forward takes ``[T, ...]`` and returns the spikes and the state left behind. The network builds
its neurons from a factory without arguments, one for each layer that spikes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

import torch
from annotated_types import Ge, Gt, Interval
from torch import Tensor, nn

from spikeyolo.errors import ConfigError
from spikeyolo.model.neuron import sequence as kernel
from spikeyolo.model.neuron.norse_parts import SNN


class IlifParameters(NamedTuple):
    """D levels a step, the share of the residual left after a step, how far the surrogate reaches past 0 and D, and the
    factor of the currents."""

    levels: int = 4
    decay: float = 0.25
    surrogate_margin: float = 0.0
    gain: float = 1.0


class IlifState(NamedTuple):
    """Membrane minus spikes after the last step, ``[...]`` in float32 or float64; empty before the first."""

    residual: Tensor


class _IntegerSpike(torch.autograd.Function):
    """``round(clamp(v, 0, D))``, half to even, with gradient 1 inside the window and 0 outside."""

    @staticmethod
    def forward(ctx: Any, membrane: Tensor, levels: int, margin: float) -> Tensor:
        ctx.save_for_backward((membrane >= -margin) & (membrane <= levels + margin))
        return membrane.clamp(0, levels).round()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (window,) = ctx.saved_tensors
        return grad * window, None, None


def ilif_step(
    currents: Tensor, state: IlifState, parameters: IlifParameters, dt: float = 1.0
) -> tuple[Tensor, IlifState]:
    """One time step: ``v = decay · residual + gain · x``, ``s = round(clamp(v, 0, D))``, ``residual = v − s``.

    The ``s`` that is taken off is detached.

    Args:
        currents: ``[...]`` floating.
        state: what the step before left, or ``IlifState(empty)``.
        parameters: D, decay, surrogate margin and gain.
        dt: unused; the decay is per step (norse's activations carry it).

    Returns:
        spikes ``[...]`` of the currents' dtype, integers from 0 to D, and the new state.
    """
    membrane = parameters.gain * currents.to(kernel.membrane_dtype(currents.dtype))
    if state.residual.numel():
        kernel.check_state(state.residual, currents)
        membrane = parameters.decay * state.residual + membrane
    spikes: Tensor = _IntegerSpike.apply(membrane, parameters.levels, parameters.surrogate_margin)
    return spikes.to(currents.dtype), IlifState(membrane - spikes.detach())


class Neuron(SNN):  # type: ignore[misc]
    """What the network asks of a neuron: ``forward([T, ...], state) → (spikes [T, ...], state)``.

    Attributes:
        levels: the most spikes of one step; None where the output is real-valued.
    """

    levels: int | None = 1

    def forward(self, currents: Tensor, state: Any = None, keep: bool = True) -> tuple[Tensor, Any]:
        """Run T steps; ``keep=False`` allows a neuron not to compute the state left behind.

        Raises:
            ConfigError: the state belongs to another kind of neuron, or to maps of another shape.
        """
        spikes, state = super().forward(currents, state)
        return spikes, state

    def refine(self, factor: int) -> float:
        """Count more finely, in place; returns how many times larger the output has become.

        Raises:
            ConfigError: it cannot.
        """
        if factor == 1 or self.levels is None:  # real values are as fine as can be
            return 1.0
        raise ConfigError(
            f"model.fine_ends is {factor}, which needs neurons that count spikes (model/neuron=ilif), or real values; "
            f"found {type(self).__name__}: expected 1"
        )


class Ilif(Neuron):
    """Integer leaky integrate-and-fire (arXiv 2407.20708): up to D spikes a step, soft reset, rectangular surrogate.

    Args:
        levels: D.
        decay: share of the residual that is left after a step.
        surrogate_margin: how far past 0 and D the surrogate gradient is 1.
        gain: what currents are multiplied by as they reach the membrane: a spike stands for a current of 1 / gain, as
            if thresholds were so much lower. 1 is the published neuron.

    Attributes:
        overwrites: when spikes take the place of the currents in memory, which nothing else may read then: in passes
            ``recorded`` for a backward pass, ``always``, or ``never``.
    """

    p: IlifParameters

    def __init__(
        self,
        *,
        levels: Annotated[int, Interval(ge=1, le=127)] = 4,
        decay: Annotated[float, Interval(ge=0, le=1)] = 0.25,
        surrogate_margin: Annotated[float, Ge(0)] = 0.0,
        gain: Annotated[float, Gt(0)] = 1.0,
    ) -> None:
        if not 1 <= levels <= 127:  # a count and a flag share a byte
            raise ConfigError(f"neuron.levels is {levels}, expected a value from 1 to 127")
        if not 0 <= decay <= 1:
            raise ConfigError(f"neuron.decay is {decay}, expected a value from 0 to 1")
        if not surrogate_margin >= 0:
            raise ConfigError(f"neuron.surrogate_margin is {surrogate_margin}, expected at least 0")
        if not gain > 0:
            raise ConfigError(f"neuron.gain is {gain}, expected a value above 0")
        super().__init__(
            activation=ilif_step,
            state_fallback=_empty_ilif_state,
            p=IlifParameters(int(levels), float(decay), float(surrogate_margin), float(gain)),
            dt=1.0,
        )
        self.levels = int(levels)
        self.overwrites: Literal["never", "recorded", "always"] = "never"

    def refine(self, factor: int) -> float:
        """A spike stands for a current ``factor`` times as small, and as many more may fire.

        Raises:
            ConfigError: more than 127 spikes a step.
        """
        levels = self.p.levels * factor
        if levels > 127:
            raise ConfigError(
                f"model.fine_ends is {factor}, which asks for {levels} levels with neuron.levels={self.p.levels}; "
                "expected at most 127"
            )
        self.p = self.p._replace(levels=levels, gain=self.p.gain * factor)
        self.levels = levels
        return float(factor)

    def forward(self, currents: Tensor, state: IlifState | None = None, keep: bool = True) -> tuple[Tensor, IlifState]:
        """All steps in one fused pass; equal to the step in a loop, values and gradients.

        Args:
            currents: ``[T, ...]`` floating.
            state: what an earlier part of the sequence left, or None for a fresh start.
            keep: return the state left behind (else an empty one, which saves its memory).
        """
        residual = resumed(state, currents).residual
        record = torch.is_grad_enabled() and (currents.requires_grad or residual.requires_grad)
        overwrite = self.overwrites == "always" or (record and self.overwrites == "recorded")
        levels, decay, margin, gain = self.p
        spikes, _, rest = kernel.ilif_pass(
            currents, residual, levels, decay, margin, record, keep, overwrite=overwrite, gain=gain
        )
        return spikes, IlifState(rest)


def resumed(state: object, currents: Tensor) -> IlifState:
    """The state that ``[T, ...]`` currents go on from, empty for a fresh start.

    Raises:
        ConfigError: it is another neuron's, or of other maps.
    """
    if state is None:
        return _empty_ilif_state(currents)
    if not isinstance(state, IlifState):
        raise ConfigError(f"the state carried along is a {type(state).__name__}, expected an IlifState of this network")
    if state.residual.numel():
        kernel.check_state(state.residual, currents[0])
    return state


def _empty_ilif_state(currents: Tensor) -> IlifState:
    return IlifState(currents.new_empty(0, dtype=kernel.membrane_dtype(currents.dtype)))


class Relu(Neuron):
    """Rectified linear unit: no spikes and no memory, the ANN twin that shows what spikes cost."""

    levels = None

    def __init__(self) -> None:
        super().__init__(activation=_relu_step, state_fallback=_no_state, p=None, dt=1.0)

    def forward(self, currents: Tensor, state: tuple[()] | None = None, keep: bool = True) -> tuple[Tensor, tuple[()]]:
        """Rectify every step by itself; the state is empty."""
        return nn.functional.relu(currents), ()


def _relu_step(currents: Tensor, state: tuple[()], parameters: None, dt: float) -> tuple[Tensor, tuple[()]]:
    return nn.functional.relu(currents), state


def _no_state(currents: Tensor) -> tuple[()]:
    return ()
