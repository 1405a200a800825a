"""What the network is built of: neuron → synapse → normalisation, and the two residual blocks made from it.

Between blocks travel membrane (real-valued) maps ``[T, B, C, H, W]``; spikes live only inside, from a neuron to the
synapse behind it. Time is folded into the batch for every convolution and normalisation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikeyolo.model.layout import as_batch, as_steps
from spikeyolo.model.memory.recompute import recomputed
from spikeyolo.model.memory.saving import ComputedAgain, SpikesAsCounts, others_say_what_is_kept
from spikeyolo.model.neuron import Ilif, Neuron
from spikeyolo.model.neuron.sequence import spike_counts
from spikeyolo.model.norm import Norm, taken_off
from spikeyolo.model.quantisation import rounded
from spikeyolo.model.streaming import Memory

NeuronFactory = Callable[[], Neuron]


class ScaledConv(nn.Conv2d):
    """A convolution that takes a neighbouring norm's scale into its weight and a constant behind it."""

    def forward(self, maps: Tensor, scale: Tensor | None = None, constant: Tensor | None = None) -> Tensor:
        """``scale`` is broadcast to the weight, ``constant`` is ``[O]``."""
        weight = self.weight if scale is None else self.weight * scale
        return F.conv2d(maps, weight, constant, self.stride, self.padding, self.dilation, self.groups)

    def again(self, maps: Tensor, scale: Tensor, constant: Tensor, dtype: torch.dtype) -> Tensor:
        """What :meth:`forward` gave, where autocast (if it was on) is off by now and had chosen ``dtype``."""
        weight = (self.weight * scale).to(dtype)
        return F.conv2d(
            maps.to(dtype), weight, constant.to(dtype), self.stride, self.padding, self.dilation, self.groups
        )


class RepConv(nn.Module):
    """1×1 → norm → depthwise 3×3 → 1×1 → norm, linear at inference and then equal to one 3×3 convolution.

    The border the depthwise convolution sees is the norm's value for zero, as if the zero padding had come first; so
    the norm's scale goes into the depthwise weights and its shift into a constant behind them, borders included.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(inputs, inputs, 1, bias=False)
        self.enter_norm = Norm(inputs)
        self.depthwise = ScaledConv(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.leave = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.leave_norm = Norm(outputs)

    def forward(self, spikes: Tensor) -> Tensor:
        return self.leave_norm(self.linear(spikes))  # type: ignore[no-any-return]

    def kernel(self, scale: Tensor) -> Tensor:
        """The one 3×3 convolution ``[O, I, 3, 3]`` that all but the last norm are, for this scale of the first."""
        depthwise = self.depthwise.weight.flatten(1) * scale.view(-1, 1)
        inner = depthwise[:, None] * self.enter.weight.flatten(1)[:, :, None]  # [C, I, 9]
        whole = torch.einsum("oc,cik->oik", self.leave.weight.flatten(1), inner)
        return whole.view(*whole.shape[:2], 3, 3)

    def linear(self, spikes: Tensor, bits: int | None = None) -> Tensor:
        """All but the last norm; with weight ``bits`` as one convolution."""
        maps = self.enter(spikes)
        if bits is not None:
            scale, shift = self.enter_norm.scale_and_shift(maps)
            constant = self.leave.weight.flatten(1) @ (shift * self.depthwise.weight.sum(dim=(1, 2, 3)))
            constant = taken_off(constant, bias=self.enter_norm.bias, norm=self.leave_norm)
            return F.conv2d(spikes, rounded(self.kernel(scale), bits), constant, padding=1)
        scale, shift = self.enter_norm.scale_and_shift(maps)
        constant = shift * self.depthwise.weight.sum(dim=(1, 2, 3))
        constant = taken_off(constant, bias=self.enter_norm.bias, norm=self.leave_norm)
        scale = scale.view(-1, 1, 1, 1)
        mixed = self.depthwise(maps, scale, constant)
        if torch.compiler.is_compiling() or not mixed.requires_grad or others_say_what_is_kept():
            return self.leave(mixed)  # type: ignore[no-any-return]
        again = partial(self.depthwise.again, maps.detach(), scale.detach(), constant.detach(), mixed.dtype)
        with ComputedAgain(mixed, again):
            return self.leave(mixed)  # type: ignore[no-any-return]


class SepRepConv(nn.Module):
    """Norm → 1×1 → depthwise 3×3, linear at inference; the border is what the norm makes of zero, as in RepConv."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm = Norm(inputs)
        self.project = ScaledConv(inputs, outputs, 1, bias=False)
        self.depthwise = ScaledConv(outputs, outputs, 3, padding=1, groups=outputs, bias=False)

    def kernel(self, scale: Tensor) -> Tensor:
        """The one 3×3 convolution ``[O, I, 3, 3]`` that it is for this scale of its norm."""
        project = self.project.weight.flatten(1) * scale
        return (self.depthwise.weight.flatten(1)[:, None] * project[:, :, None]).view(*project.shape, 3, 3)

    def forward(self, spikes: Tensor, bits: int | None = None, norm: Norm | None = None) -> Tensor:
        """With weight ``bits`` as one convolution; ``norm`` is the one behind it."""
        scale, shift = self.norm.scale_and_shift(spikes)
        constant = (self.project.weight.flatten(1) @ shift) * self.depthwise.weight.sum(dim=(1, 2, 3))
        if norm is not None:
            constant = taken_off(constant, bias=self.norm.bias, norm=norm)
        if bits is not None:
            return F.conv2d(spikes, rounded(self.kernel(scale), bits), constant, padding=1)
        maps = self.project(spikes, scale.view(1, -1, 1, 1))
        return self.depthwise(maps, None, constant)  # type: ignore[no-any-return]


class SpikingConv(nn.Module):
    """Neuron → synapse → norm on ``[T, B, C, H, W]``: the only place where spikes arise and are used up.

    Args:
        neuron: None for the first layer, which sees the frames themselves.
        synapse: a convolution, RepConv or SepRepConv.
        norm: None for the head's last convolutions.
        alone: nothing but this unit reads the maps that it is given, so in training an I-LIF neuron writes its spikes
            over them (less memory, fewer cache misses); a hook that keeps such maps must clone them.

    Attributes:
        weight_bits: of the folded weights, see :mod:`spikeyolo.model.quantisation`; None for floating ones.
        spike_value: what a spike counts in a synapse without norm (where there is one, the norm takes any factor off):
            below 1 where the neuron counts more finely than others, so that its outputs and gradients stay in scale.
    """

    spike_value = 1.0
    needs_single_synapse = False  # whether the folded form must be one convolution

    def __init__(self, neuron: Neuron | None, synapse: nn.Module, norm: Norm | None, *, alone: bool = False) -> None:
        super().__init__()
        self.neuron = neuron
        self.synapse = synapse
        self.norm = norm
        self.alone = alone
        self.weight_bits: int | None = None
        if alone and isinstance(neuron, Ilif):
            neuron.overwrites = "recorded"

    @property
    def first_norm(self) -> Norm | None:
        """The norm whose statistics are in units of what the neuron sends; those behind it no longer are."""
        if isinstance(self.synapse, RepConv):
            return self.synapse.enter_norm
        return self.synapse.norm if isinstance(self.synapse, SepRepConv) else self.norm

    def forward(self, maps: Tensor, memory: Memory | None = None) -> Tensor:
        if self.neuron is not None:
            if memory is None:
                maps, _ = self.neuron(maps, None, False)
            else:
                maps, state = self.neuron(maps, memory.recall(), True)
                memory.keep(state)
        counts = None if torch.compiler.is_compiling() or others_say_what_is_kept() else spike_counts(maps)
        batch = as_batch(maps)
        if counts is None:
            return as_steps(self.transmit(batch), like=maps)
        with SpikesAsCounts(batch, as_batch(counts)):
            return as_steps(self.transmit(batch), like=maps)

    def transmit(self, maps: Tensor) -> Tensor:
        """Synapse and norm on ``[N, C, H, W]``."""
        synapse, bits = self.synapse, self.weight_bits
        if bits is not None and not self.training:  # the very integers that are folded and exported
            from spikeyolo.model.inference.fold import folded_kernel  # it takes units itself

            return folded_kernel(self)(maps)  # type: ignore[no-any-return]
        if isinstance(synapse, RepConv) and self.norm is not None:
            return self.norm(synapse.linear(maps, bits), synapse.leave_norm)  # type: ignore[no-any-return]
        if isinstance(synapse, nn.Conv2d):
            maps = self._convolved(maps, synapse)
        elif isinstance(synapse, SepRepConv):
            maps = synapse(maps, bits, self.norm)
        else:
            maps = synapse(maps) if bits is None else synapse(maps, bits)
        return maps if self.norm is None else self.norm(maps)

    def _convolved(self, maps: Tensor, synapse: nn.Conv2d) -> Tensor:
        bits, value = self.weight_bits, self.spike_value if self.norm is None else 1.0
        settled = synapse.bias is None or self.norm is None or not self.norm.training
        if bits is None and value == 1.0 and settled:
            return synapse(maps)  # type: ignore[no-any-return]
        weight = synapse.weight if bits is None else rounded(synapse.weight, bits)
        weight = weight if value == 1.0 else weight * value
        bias = synapse.bias
        if bias is not None and self.norm is not None:
            bias = taken_off(bias, bias=bias, norm=self.norm)
        return F.conv2d(maps, weight, bias, synapse.stride, synapse.padding, synapse.dilation, synapse.groups)


def spiking_conv(
    neuron: NeuronFactory | None, inputs: int, outputs: int, kernel: int, stride: int = 1,
    *, padding: int | None = None, groups: int = 1, bias: bool = False, norm: bool = True, alone: bool = False,
) -> SpikingConv:  # fmt: skip
    """Neuron (unless None) → one convolution → norm (unless ``norm`` is False); padding keeps the size at stride 1."""
    padding = kernel // 2 if padding is None else padding
    return SpikingConv(
        neuron() if neuron is not None else None,
        nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=bias),
        Norm(outputs) if norm else None,
        alone=alone,
    )


class SepConv(nn.Module):
    """Separable spiking convolution with expansion 2: 1×1 → depthwise 7×7 → SepRepConv, a neuron before each."""

    def __init__(self, channels: int, neuron: NeuronFactory) -> None:
        super().__init__()
        wide = 2 * channels
        self.expand = spiking_conv(neuron, channels, wide, 1)
        self.mix = spiking_conv(neuron, wide, wide, 7, groups=wide, alone=True)
        self.project = SpikingConv(neuron(), SepRepConv(wide, channels), Norm(channels), alone=True)

    def forward(self, maps: Tensor, memory: Memory | None = None) -> Tensor:
        return self.project(self.mix(self.expand(maps, memory), memory), memory)  # type: ignore[no-any-return]


class Block(nn.Module):
    """Two residual branches on the membrane map: a separable one, then one of two 3×3 synapses widened by ``ratio``.

    Args:
        channels: C, in and out.
        ratio: hidden channels of the second branch over C.
        rep: SNN-Block-2, its 3×3 synapses are RepConv; else SNN-Block-1, plain convolutions.
        neuron: factory.

    Attributes:
        recompute: forget the inner maps in training, and compute them again in the backward pass (less memory).
        neurons: layers that spike.
    """

    neurons = 5

    def __init__(self, channels: int, ratio: int, *, rep: bool, neuron: NeuronFactory) -> None:
        super().__init__()
        self.recompute = False
        wide = ratio * channels
        self.separable = SepConv(channels, neuron)
        if rep:
            self.widen = SpikingConv(neuron(), RepConv(channels, wide), Norm(wide))
            self.narrow = SpikingConv(neuron(), RepConv(wide, channels), Norm(channels), alone=True)
        else:
            self.widen = spiking_conv(neuron, channels, wide, 3)
            self.narrow = spiking_conv(neuron, wide, channels, 3, alone=True)

    def start_at(self, scale: float) -> None:
        """Set the scale of the last norm of both branches, before training."""
        for unit in (self.separable.project, self.narrow):
            assert unit.norm is not None
            nn.init.constant_(unit.norm.weight, scale)

    def forward(self, maps: Tensor, memory: Memory | None = None) -> Tensor:
        if not (self.recompute and torch.is_grad_enabled()):
            return self._branches(maps, memory)
        if memory is None:
            return recomputed(self._branches, maps, self)
        states, left = memory.ahead(self.neurons), list[Memory]()  # of the first pass, then of the one in the backward

        def run(maps: Tensor) -> Tensor:
            left.append(Memory(states))
            return self._branches(maps, left[-1])

        maps = recomputed(run, maps, self)
        for state in left[0].states():
            memory.keep(state)
        return maps

    def _branches(self, maps: Tensor, memory: Memory | None = None) -> Tensor:
        maps = maps + self.separable(maps, memory)
        return maps + self.narrow(self.widen(maps, memory), memory)  # type: ignore[no-any-return]


class Chain(nn.Module):
    """Layers one behind the other, all on the same memory."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, maps: Tensor, memory: Memory | None = None) -> Tensor:
        for layer in self.layers:
            maps = layer(maps, memory)
        return maps


class SpatialPyramid(nn.Module):
    """SPPF: 1×1 to half the channels, three chained 5×5 max-pools on the real-valued map, all four joined by a 1×1."""

    def __init__(self, channels: int, neuron: NeuronFactory) -> None:
        super().__init__()
        self.reduce = spiking_conv(neuron, channels, channels // 2, 1)
        self.join = spiking_conv(neuron, 4 * (channels // 2), channels, 1, alone=True)

    def forward(self, maps: Tensor, memory: Memory | None = None) -> Tensor:
        maps = self.reduce(maps, memory)
        scales = [as_batch(maps)]
        for _ in range(3):
            scales.append(F.max_pool2d(scales[-1], 5, stride=1, padding=2))
        return self.join(as_steps(torch.cat(scales, dim=1), like=maps), memory)  # type: ignore[no-any-return]
