"""norse's neurons for the network: LIF, LIFBox with a soft reset, and a LIFBox whose decay is learnt.

norse keeps parameters in tuples, which the state dict does not hold and ``.to()`` does not move. Here they are floats,
or a registered parameter where learnt, and the tuple is made at each call; states are float32 (float64 for float64).
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from annotated_types import Gt, Interval
from torch import Tensor, nn

from spikeyolo.errors import ConfigError
from spikeyolo.model.neuron.ilif import Neuron
from spikeyolo.model.neuron.norse_parts import (
    LIFBoxFeedForwardState,
    LIFBoxParameters,
    LIFFeedForwardState,
    LIFParameters,
    lif_box_feed_forward_step,
    lif_feed_forward_step,
)
from spikeyolo.model.neuron.sequence import check_state, membrane_dtype

STEP_S = 0.001  # one time step in norse's seconds; only the products with the inverse time constants matter

Surrogate = Literal["super", "triangle", "tanh", "circ", "heavi_erfc"]


def _soft_reset(spikes: Tensor, membrane: Tensor, reset: Tensor, threshold: Tensor) -> Tensor:
    return membrane - spikes.detach()


def _constant(value: float, like: Tensor) -> Tensor:
    return torch.tensor(value, dtype=like.dtype, device=like.device)


class _NorseNeuron(Neuron):
    """Runs a norse step in the membrane's precision and gives spikes in the currents' own."""

    levels = 1

    def __init__(self, activation: object, *, threshold: float, surrogate: Surrogate, alpha: float) -> None:
        if not threshold > 0 or not alpha > 0:
            raise ConfigError(f"neuron.threshold and neuron.alpha must be above 0, found {threshold} and {alpha}")
        super().__init__(activation=activation, state_fallback=self.initial_state, p=None, dt=STEP_S)
        self.threshold = float(threshold)
        self.surrogate: Surrogate = surrogate
        self.alpha = float(alpha)

    def initial_state(self, currents: Tensor) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def parameters_for(self, currents: Tensor) -> object:
        """norse's parameter tuple on the currents' device."""
        raise NotImplementedError

    def forward(
        self, currents: Tensor, state: tuple[Tensor, ...] | None = None, keep: bool = True
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run T steps of ``[T, ...]``; spikes are 0 or 1."""
        wide = currents.to(membrane_dtype(currents.dtype))
        fresh = self.initial_state(wide)
        state = fresh if state is None else state
        if type(state) is not type(fresh):
            found, expected = type(state).__name__, type(fresh).__name__
            raise ConfigError(f"the state carried along is a {found}, expected a {expected} of this network")
        for values in state:
            check_state(values, wide[0])
        parameters = self.parameters_for(wide)
        spikes = []
        for current in wide:
            fired, state = self.activation(current, state, parameters, STEP_S)
            spikes.append(fired)
        return torch.stack(spikes).to(currents.dtype), state

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, surrogate={self.surrogate!r}"


class Lif(_NorseNeuron):
    """norse's leaky integrate-and-fire: a synaptic current that decays, a membrane that follows it, a hard reset to 0.

    Args:
        membrane_rate: share of the way the membrane goes towards the current in a step (dt · τ_mem⁻¹).
        synapse_rate: share of the synaptic current that is lost in a step (dt · τ_syn⁻¹).
        threshold: of the membrane, above which a spike is fired.
        surrogate: norse's name of the surrogate gradient.
        alpha: its steepness, where it has one (``super`` has none).
    """

    def __init__(
        self,
        *,
        membrane_rate: Annotated[float, Interval(gt=0, le=1)] = 0.75,
        synapse_rate: Annotated[float, Interval(gt=0, le=1)] = 0.5,
        threshold: Annotated[float, Gt(0)] = 0.5,
        surrogate: Surrogate = "super",
        alpha: Annotated[float, Gt(0)] = 1.0,
    ) -> None:
        for name, rate in (("membrane_rate", membrane_rate), ("synapse_rate", synapse_rate)):
            if not 0 < rate <= 1:
                raise ConfigError(f"neuron.{name} is {rate}, expected a value above 0 and at most 1")
        super().__init__(lif_feed_forward_step, threshold=threshold, surrogate=surrogate, alpha=alpha)
        self.membrane_rate = float(membrane_rate)
        self.synapse_rate = float(synapse_rate)

    def initial_state(self, currents: Tensor) -> LIFFeedForwardState:
        """Membrane and synaptic current at 0, ``[...]`` each."""
        return LIFFeedForwardState(v=torch.zeros_like(currents[0]), i=torch.zeros_like(currents[0]))

    def parameters_for(self, currents: Tensor) -> LIFParameters:
        return LIFParameters(
            tau_syn_inv=_constant(self.synapse_rate / STEP_S, currents),
            tau_mem_inv=_constant(self.membrane_rate / STEP_S, currents),
            v_leak=_constant(0.0, currents),
            v_th=_constant(self.threshold, currents),
            v_reset=_constant(0.0, currents),
            method=self.surrogate,
            alpha=_constant(self.alpha, currents),
        )


class LifBox(_NorseNeuron):
    """norse's LIF without synaptic current, and a soft reset by the detached spike.

    Args:
        membrane_rate: share of the way the membrane goes towards the input in a step (dt · τ_mem⁻¹).
        threshold, surrogate, alpha: as in :class:`Lif`.
    """

    def __init__(
        self,
        *,
        membrane_rate: Annotated[float, Interval(gt=0, le=1)] = 0.75,
        threshold: Annotated[float, Gt(0)] = 0.5,
        surrogate: Surrogate = "super",
        alpha: Annotated[float, Gt(0)] = 1.0,
    ) -> None:
        if not 0 < membrane_rate <= 1:
            raise ConfigError(f"neuron.membrane_rate is {membrane_rate}, expected a value above 0 and at most 1")
        super().__init__(lif_box_feed_forward_step, threshold=threshold, surrogate=surrogate, alpha=alpha)
        self.membrane_rate = float(membrane_rate)

    def initial_state(self, currents: Tensor) -> LIFBoxFeedForwardState:
        """Membrane at 0, ``[...]``."""
        return LIFBoxFeedForwardState(v=torch.zeros_like(currents[0]))

    def rate(self, currents: Tensor) -> Tensor:
        """dt · τ_mem⁻¹ as a scalar tensor."""
        return _constant(self.membrane_rate, currents)

    def parameters_for(self, currents: Tensor) -> LIFBoxParameters:
        return LIFBoxParameters(
            tau_mem_inv=self.rate(currents) / STEP_S,
            v_leak=_constant(0.0, currents),
            v_th=_constant(self.threshold, currents),
            v_reset=_constant(0.0, currents),
            method=self.surrogate,
            alpha=_constant(self.alpha, currents),
            reset_method=_soft_reset,
        )


class ParametricLif(LifBox):
    """LifBox whose membrane rate is learnt, one a layer, as the sigmoid of a free parameter (arXiv 2007.05785).

    Args:
        membrane_rate: start value.
        threshold, surrogate, alpha: as in :class:`Lif`.
    """

    def __init__(
        self,
        *,
        membrane_rate: Annotated[float, Interval(gt=0, lt=1)] = 0.75,
        threshold: Annotated[float, Gt(0)] = 0.5,
        surrogate: Surrogate = "super",
        alpha: Annotated[float, Gt(0)] = 1.0,
    ) -> None:
        if not 0 < membrane_rate < 1:
            raise ConfigError(f"neuron.membrane_rate is {membrane_rate}, expected a value between 0 and 1")
        super().__init__(membrane_rate=membrane_rate, threshold=threshold, surrogate=surrogate, alpha=alpha)
        self.rate_logit = nn.Parameter(torch.logit(torch.tensor(float(membrane_rate))))

    def rate(self, currents: Tensor) -> Tensor:
        return self.rate_logit.to(currents.dtype).sigmoid()
