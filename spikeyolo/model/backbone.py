"""The backbone: frames in, membrane maps of strides 8, 16 and 32 out (layers 1 to 10 of the published network)."""

from __future__ import annotations

from torch import Tensor, nn

from spikeyolo.model.blocks import Block, Chain, NeuronFactory, SpatialPyramid, spiking_conv
from spikeyolo.model.streaming import Memory


def channels_of(channels: int, width: float) -> int:
    """Published channels times width, even and at least 2."""
    return max(2 * round(channels * width / 2), 2)


def repeats_of(repeats: int, depth: float) -> int:
    """Published repeats times depth, round half to even, at least 1."""
    return max(round(repeats * depth), 1)


class Backbone(nn.Module):
    """Four down-sampling stages of residual blocks, a spatial pyramid and a 1×1 reduction.

    Attributes:
        channels: of the three maps that leave, strides 8, 16 and 32.
    """

    def __init__(self, *, in_channels: int, depth: float, width: float, neuron: NeuronFactory) -> None:
        super().__init__()
        c1, c2, c3, c4 = (channels_of(c, width) for c in (128, 256, 512, 1024))

        def stage(channels: int, repeats: int, ratio: int, rep: bool) -> Chain:
            count = repeats_of(repeats, depth)
            return Chain(*(Block(channels, ratio, rep=rep, neuron=neuron) for _ in range(count)))

        self.down1 = spiking_conv(None, in_channels, c1, 7, 4, padding=2, bias=True)
        self.stage1 = stage(c1, 3, 4, rep=False)
        self.down2 = spiking_conv(neuron, c1, c2, 3, 2, bias=True)
        self.stage2 = stage(c2, 6, 4, rep=False)
        self.down3 = spiking_conv(neuron, c2, c3, 3, 2, bias=True)
        self.stage3 = stage(c3, 9, 3, rep=True)
        self.down4 = spiking_conv(neuron, c3, c4, 3, 2, bias=True)
        self.stage4 = stage(c4, 3, 2, rep=True)
        self.pyramid = SpatialPyramid(c4, neuron)
        self.reduce = spiking_conv(neuron, c4, c3, 1)
        self.channels = (c2, c3, c3)

    def forward(self, frames: Tensor, memory: Memory | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """``[T, B, C, H, W]`` floating → maps ``[T, B, C', H/s, W/s]`` for s = 8, 16, 32."""
        stride8 = self.stage2(self.down2(self.stage1(self.down1(frames, memory), memory), memory), memory)
        stride16 = self.stage3(self.down3(stride8, memory), memory)
        stride32 = self.stage4(self.down4(stride16, memory), memory)
        return stride8, stride16, self.reduce(self.pyramid(stride32, memory), memory)
