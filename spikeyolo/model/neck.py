"""The neck: joins the backbone's three maps downwards and upwards again (layers 11 to 25 of the published network)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from spikeyolo.model.backbone import channels_of
from spikeyolo.model.blocks import Block, NeuronFactory, spiking_conv
from spikeyolo.model.layout import as_batch, as_steps, join
from spikeyolo.model.streaming import Memory


class Neck(nn.Module):
    """A feature pyramid with a second, bottom-up path.

    Attributes:
        channels: of P3, P4 and P5.
    """

    def __init__(self, *, channels: tuple[int, int, int], width: float, p5_ratio: int, neuron: NeuronFactory) -> None:
        super().__init__()
        stride8, stride16, stride32 = channels
        c2, c3 = channels_of(256, width), channels_of(512, width)
        self.top = Block(stride32, 3, rep=True, neuron=neuron)
        self.merge16 = spiking_conv(neuron, stride32 + stride16, c2, 1, alone=True)
        self.block16 = Block(c2, 4, rep=False, neuron=neuron)
        self.merge8 = spiking_conv(neuron, c2 + stride8, c2, 1, alone=True)
        self.p3 = Block(c2, 4, rep=False, neuron=neuron)
        self.down8 = spiking_conv(neuron, c2, c2, 3, 2)
        self.p4 = Block(2 * c2, 3, rep=True, neuron=neuron)
        self.down16 = spiking_conv(neuron, 2 * c2, c3, 3, 2)
        self.p5 = Block(c3 + stride32, p5_ratio, rep=True, neuron=neuron)
        self.channels = (c2, 2 * c2, c3 + stride32)

    def forward(
        self, maps: tuple[Tensor, Tensor, Tensor], memory: Memory | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Maps of strides 8, 16, 32 ``[T, B, C, H, W]`` → P3, P4, P5 of the same sizes."""
        stride8, stride16, stride32 = maps
        top = self.top(_twice(stride32), memory)
        merged16 = self.merge16(join((top, stride16)), memory)
        up = self.block16(_twice(merged16), memory)
        p3 = self.p3(self.merge8(join((up, stride8)), memory), memory)
        p4 = self.p4(join((self.down8(p3, memory), merged16)), memory)
        p5 = self.p5(join((self.down16(p4, memory), stride32)), memory)
        return p3, p4, p5


def _twice(maps: Tensor) -> Tensor:
    """Nearest up-sampling by two."""
    return as_steps(F.interpolate(as_batch(maps), scale_factor=2.0, mode="nearest"), like=maps)
