"""Neurons with one property of I-LIF at a time, in plain torch operators: what of it slows learning down?

``_target_: experiments.etram_like.neurons.Probe`` as ``model.neuron``. With the default values a ``Probe`` is I-LIF,
value and gradient; rounding off, memory off and no ceiling make it the ReLU twin.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from spikeyolo.model.neuron import Neuron


class Probe(Neuron):
    """I-LIF with parts that can be exchanged.

    Args:
        levels: D.
        decay: share of the residual that is left after a step; 0 is no memory.
        gain: what currents are multiplied by: thresholds are 1/gain.
        rounding: ``even`` is I-LIF's; ``none`` passes the clamped membrane; ``noise`` rounds at
            random in training, right on average.
        ceiling: clamp at D.
        surrogate_margin: how far beyond 0 and D the surrogate gradient is 1.
        tail: the surrogate gradient beyond that.
        learnt: a step size a layer, as in LSQ (arXiv 1902.08153), started at 1 / gain.
        late: share of the training in which the clamped membrane passes unrounded (as in delayed
            quantisation, arXiv 1806.08342); rounding is on afterwards and in evaluation.
        rescaled: outputs are divided by the gain: a finer step at the same scale.
        ramp: the rounded share of each value rises from 0 to 1 over that time, instead of at its end.
    """

    progress = 1.0  # of the training, set from outside

    def __init__(
        self, *, levels: int = 4, decay: float = 0.25, gain: float = 1.0,
        rounding: Literal["even", "none", "noise"] = "even", ceiling: bool = True,
        surrogate_margin: float = 0.0, tail: float = 0.0, learnt: bool = False,
        late: float = 0.0, ramp: bool = False, rescaled: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(activation=_unused, state_fallback=_unused, p=None, dt=1.0)
        self.levels = levels if rounding == "even" else None
        self.top, self.decay, self.gain, self.rounding = levels, decay, gain, rounding
        self.ceiling, self.margin, self.tail = ceiling, surrogate_margin, tail
        self.late, self.ramp, self.rescaled = late, ramp, rescaled
        self.step = nn.Parameter(torch.tensor(1.0 / gain)) if learnt else None

    def forward(self, currents: Tensor, state: Any = None, keep: bool = True) -> tuple[Tensor, Any]:
        residual: Tensor | float = 0.0 if state is None or state == () else state[0]
        gain: Tensor | float = self.gain
        if self.step is not None:
            scale = (currents[0].numel() * self.top) ** -0.5  # of the step's gradient, as LSQ has it
            step = (self.step * scale + (self.step * (1 - scale)).detach()).clamp_min(1e-3)
            gain = 1.0 / step
        share = 1.0
        if self.training and self.progress < self.late:
            share = self.progress / self.late if self.ramp else 0.0
        out = []
        for current in currents:
            membrane = self.decay * residual + gain * current
            clamped = membrane.clamp(0, self.top) if self.ceiling else membrane.clamp_min(0)
            value = clamped.detach()
            if self.rounding == "even":
                value = value + share * (value.round() - value)
            elif self.rounding == "noise" and self.training:
                value = (value + torch.rand_like(value)).floor()
            high = self.top + self.margin if self.ceiling else float("inf")
            passing = membrane.clamp(-self.margin, high)
            if self.tail:
                passing = passing + self.tail * (membrane - passing)
            spikes = passing + (value - passing).detach()
            residual = membrane - spikes.detach()
            out.append(spikes)
        spikes = torch.stack(out)
        if self.step is not None:
            spikes = spikes * step
        elif self.rescaled:
            spikes = spikes / self.gain
        return spikes, (residual,)


def _unused(*arguments: Any) -> Any:
    raise NotImplementedError
