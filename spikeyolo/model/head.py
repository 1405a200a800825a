"""The detect head: distances to the box sides as distributions, class logits and, optionally, embeddings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikeyolo.model.blocks import Chain, NeuronFactory, spiking_conv
from spikeyolo.model.streaming import Memory

BINS = 16  # bins of one distance, in units of the level's stride
REFERENCE_OBJECTS, REFERENCE_PIXELS = 5, 640  # a frame, and its side, that class scores start for as published


class LevelOutput(NamedTuple):
    """Raw maps of one level: box ``[T, B, 4 · 16, H, W]``, classes ``[T, B, K, H, W]``, embedding or None."""

    box: Tensor
    classes: Tensor
    embedding: Tensor | None


class DetectHead(nn.Module):
    """For each level a box branch and a class branch (and an embedding branch): two spiking 3×3, then a 1×1 with bias.

    Args:
        channels: of P3, P4, P5.
        strides: of the same, px.
        num_classes: K.
        embedding: E, or 0 for no such branch.
        neuron: factory.
        class_prior: probability of each class that all anchor points start at; None is published, see
            :func:`class_start`.
    """

    def __init__(
        self, *, channels: tuple[int, int, int], strides: tuple[int, int, int], num_classes: int, embedding: int,
        neuron: NeuronFactory, class_prior: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.class_prior = class_prior
        box_width = max(16, channels[0] // 4, 4 * BINS)
        class_width = max(channels[0], min(num_classes, 100))

        def branch(inputs: int, hidden: int, outputs: int) -> Chain:
            return Chain(
                spiking_conv(neuron, inputs, hidden, 3),
                spiking_conv(neuron, hidden, hidden, 3, alone=True),
                spiking_conv(neuron, hidden, outputs, 1, bias=True, norm=False, alone=True),
            )

        self.box = nn.ModuleList(branch(c, box_width, 4 * BINS) for c in channels)
        self.classes = nn.ModuleList(branch(c, class_width, num_classes) for c in channels)
        self.embedding = nn.ModuleList(branch(c, max(channels[0], 64), embedding) for c in channels if embedding)
        for stride, box, classes in zip(strides, self.box, self.classes, strict=True):
            nn.init.constant_(_last_bias(box), 1.0)
            nn.init.constant_(_last_bias(classes), class_start(stride, num_classes=num_classes, prior=class_prior))

    def forward(self, maps: tuple[Tensor, Tensor, Tensor], memory: Memory | None = None) -> list[LevelOutput]:
        """P3, P4, P5 ``[T, B, C, H, W]`` → raw maps of each, every time step by itself."""
        outputs = []
        for index, level in enumerate(maps):
            embedding = None
            box, classes = self.box[index](level, memory), self.classes[index](level, memory)
            if len(self.embedding):
                embedding = F.normalize(self.embedding[index](level, memory), dim=2)
            outputs.append(LevelOutput(box, classes, embedding))
        return outputs


def class_start(stride: float, *, num_classes: int, prior: float | None) -> float:
    """The class logit that anchor points start at.

    Args:
        stride: of the level, px.
        num_classes: K.
        prior: the probability that the logit stands for (arXiv 1708.02002, section 4.1). None is the published start:
            as if 5 objects of any class lay in 640 × 640 px.
    """
    if prior is None:
        return math.log(REFERENCE_OBJECTS / num_classes / (REFERENCE_PIXELS / stride) ** 2)
    return math.log(prior / (1 - prior))


def _last_bias(branch: nn.Module) -> Tensor:
    bias: Tensor = branch.layers[-1].synapse.bias  # type: ignore[index, union-attr]
    return bias


def anchor_points(
    sizes: Sequence[Sequence[int]], strides: Sequence[int], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Anchor points of all levels, row by row: the centres x, y of the cells in px.

    Args:
        sizes: height and width of each level's maps.
        strides: of the levels, px.

    Returns:
        points ``[A, 2]`` and strides ``[A]``, float32.
    """
    points, lengths = [], []
    for (height, width), stride in zip(sizes, strides, strict=True):
        y, x = torch.meshgrid(
            torch.arange(height, dtype=torch.float32, device=device),
            torch.arange(width, dtype=torch.float32, device=device),
            indexing="ij",
        )
        points.append((torch.stack((x, y), dim=-1).view(-1, 2) + 0.5) * stride)
        lengths.append(torch.full((height * width,), float(stride), device=device))
    return torch.cat(points), torch.cat(lengths)
