"""Hidden channels of a network, which are read in one place only: silenced while training goes on, then removed.

Hidden are the wide channels of both branches of a block, the inner channels of the head's branches and of the spatial
pyramid: most weights lie around them, and no residual map has them. A channel is silent where the norms that make it
have scale and shift 0: its neuron gets no current and never spikes, so that without it the network gives the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn

from spikeyolo.model.blocks import Block, Chain, RepConv, SepConv, SepRepConv, SpatialPyramid, SpikingConv
from spikeyolo.model.norm import Norm

Convolution = TypeVar("Convolution", bound=nn.Conv2d)


@dataclass(frozen=True)
class Hidden:
    """Channels between a unit that makes them and the one that reads them.

    Attributes:
        name: of the unit that makes them, in the network.
        makes: it.
        reads: the next but for ``mixes``.
        mixes: a depthwise unit in between, on the same channels.
        repeats: how often ``reads`` gets them, one copy of all behind the other.
    """

    name: str
    makes: SpikingConv
    reads: SpikingConv
    mixes: SpikingConv | None = None
    repeats: int = 1

    @property
    def norms(self) -> list[Norm]:
        """Whose scales and shifts silence a channel."""
        norms = [self.makes.norm, None if self.mixes is None else self.mixes.norm]
        if isinstance(self.reads.synapse, SepRepConv):  # would make a constant of a silent channel
            norms.append(self.reads.synapse.norm)
        return [norm for norm in norms if norm is not None]

    @property
    def entry(self) -> Tensor:
        """The weight ``[O, I, …]`` whose inputs the channels are."""
        synapse = self.reads.synapse
        if isinstance(synapse, RepConv):
            return synapse.enter.weight
        convolution = synapse.project if isinstance(synapse, SepRepConv) else synapse
        assert isinstance(convolution, nn.Conv2d)
        return convolution.weight

    def heard(self) -> Tensor:
        """``[C]`` bool: channels that are not silent."""
        assert self.makes.norm is not None
        return (self.makes.norm.weight != 0) | (self.makes.norm.bias != 0)


def hidden_channels(network: nn.Module) -> Iterator[Hidden]:
    """All that a network has, in the order of its modules."""
    for name, module in network.named_modules():
        if isinstance(module, SepConv):
            yield Hidden(f"{name}.expand", module.expand, module.project, mixes=module.mix)
        elif isinstance(module, Block):
            yield Hidden(f"{name}.widen", module.widen, module.narrow)
        elif isinstance(module, SpatialPyramid):
            yield Hidden(f"{name}.reduce", module.reduce, module.join, repeats=4)
        elif isinstance(module, Chain):
            units = list(module.layers)
            for number, (makes, reads) in enumerate(pairwise(units)):
                if isinstance(makes, SpikingConv) and isinstance(reads, SpikingConv):
                    yield Hidden(f"{name}.layers.{number}", makes, reads)


def silencing(hidden: Hidden, kept: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Parameters, and what to multiply each with so that all but ``kept`` ``[C]`` are silent and nothing reads them."""
    factors = [(values, kept.to(values.dtype)) for norm in hidden.norms for values in (norm.weight, norm.bias)]
    entry = hidden.entry
    return [*factors, (entry, kept.to(entry.dtype).repeat(hidden.repeats).view(1, -1, *[1] * (entry.dim() - 2)))]


@torch.no_grad()
def remove_silent(network: nn.Module) -> int:
    """Take the silent channels out of a network, in place; returns how many there were.

    In eval mode it gives what it gave. A layer all of whose channels are silent keeps one.
    """
    removed = 0
    for hidden in list(hidden_channels(network)):
        if hidden.makes.norm is None:
            continue  # of a folded network, where they are no longer told apart
        heard = hidden.heard()
        if heard.is_meta or bool(heard.all()):  # without values, none is known to be silent
            continue
        if not bool(heard.any()):
            heard[0] = True
        removed += int((~heard).sum())
        _keep_outputs(hidden.makes, heard)
        if hidden.mixes is not None:
            _keep_outputs(hidden.mixes, heard)
        _keep_inputs(hidden.reads, heard.repeat(hidden.repeats))
    return removed


def _keep_outputs(unit: SpikingConv, kept: Tensor) -> None:
    """Of a unit; a depthwise one reads no others either."""
    synapse = unit.synapse
    if isinstance(synapse, RepConv):
        synapse.leave = _part(synapse.leave, outputs=kept)
        synapse.leave_norm = _part_of_norm(synapse.leave_norm, kept)
    else:
        assert isinstance(synapse, nn.Conv2d)
        unit.synapse = _part(synapse, outputs=kept)
    assert unit.norm is not None
    unit.norm = _part_of_norm(unit.norm, kept)


def _keep_inputs(unit: SpikingConv, kept: Tensor) -> None:
    synapse = unit.synapse
    if isinstance(synapse, RepConv):
        synapse.enter = _part(synapse.enter, inputs=kept)
    elif isinstance(synapse, SepRepConv):
        synapse.norm = _part_of_norm(synapse.norm, kept)
        synapse.project = _part(synapse.project, inputs=kept)
    else:
        assert isinstance(synapse, nn.Conv2d)
        unit.synapse = _part(synapse, inputs=kept)


def _part(convolution: Convolution, *, outputs: Tensor | None = None, inputs: Tensor | None = None) -> Convolution:
    """A convolution of some of the output or input channels, of the same class."""
    weight, bias = convolution.weight, convolution.bias
    groups = convolution.groups
    if outputs is not None:
        weight = weight[outputs]
        bias = None if bias is None else bias[outputs]
        groups = len(weight) if groups > 1 else 1
    if inputs is not None:
        weight = weight[:, inputs]
    part = type(convolution)(
        weight.shape[1] * groups, weight.shape[0], convolution.kernel_size, convolution.stride,  # type: ignore[arg-type]
        convolution.padding, groups=groups, bias=bias is not None, device=weight.device, dtype=weight.dtype,  # type: ignore[arg-type]
    )  # fmt: skip
    part.weight.copy_(weight)
    if bias is not None and part.bias is not None:
        part.bias.copy_(bias)
    part.requires_grad_(convolution.weight.requires_grad)
    return part.to(memory_format=torch.channels_last)


def _part_of_norm(norm: Norm, kept: Tensor) -> Norm:
    part = Norm(int(kept.sum())).to(norm.weight)
    for name, values in norm.state_dict().items():
        getattr(part, name).copy_(values[kept] if values.dim() else values)
    part.requires_grad_(norm.weight.requires_grad)
    return part.train(norm.training)
