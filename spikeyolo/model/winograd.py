"""3×3 convolutions for inference on a CPU by minimal filtering, with a quarter of the multiplications."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spikeyolo.model.neuron.cpu import threads_for

CACHE_BYTES = 6 << 20  # transformed inputs and products that are worked on together
MIN_TILES = 6  # with fewer, reading the larger weights costs more than the multiplications that are saved
MIN_CHANNELS = 24  # C · O / (C + O): multiplications saved over values transformed
_PAGE = 4096


class WinogradConv(nn.Conv2d):
    """A convolution with F(4×4, 3×3) (Lavin and Gray, CVPR 2016, arXiv 1509.09308) where that is faster.

    The result differs from the plain convolution's by rounding, about five times as much as a plain convolution
    in float32 differs from one in float64. Maps in training, on another device, of another type or too small, and
    maps that torch traces, go the plain way.

    Args:
        convolution: 3×3, stride 1, padding 1, one group (see :func:`suits`); its weights are shared.

    Attributes:
        filters: ``[36, C, O]`` float32, the transformed weights.
    """

    filters: Tensor

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__(
            convolution.in_channels, convolution.out_channels, 3, padding=1, bias=convolution.bias is not None,
            device="meta",
        )  # fmt: skip
        self.weight, self.bias = convolution.weight, convolution.bias
        from spikeyolo.model.kernel_winograd import WEIGHTS_IN

        into = torch.from_numpy(WEIGHTS_IN).to(convolution.weight.device)
        wide = torch.einsum("ia,ocab,jb->ijco", into, convolution.weight.detach().double(), into)
        self.register_buffer("filters", wide.flatten(0, 1).float().contiguous(), persistent=False)
        self.register_buffer("shift", torch.zeros(self.out_channels) if self.bias is None else None, persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """``[N, C, H, W]`` → ``[N, O, H, W]``."""
        if torch.compiler.is_compiling() or not self._takes(maps):
            return super().forward(maps)
        return self._minimal(maps)

    def _takes(self, maps: Tensor) -> bool:
        recorded = torch.is_grad_enabled() and (maps.requires_grad or self.weight.requires_grad)
        tiles = -(-maps.shape[2] // 4) * -(-maps.shape[3] // 4)
        return (
            type(maps) is Tensor
            and maps.is_cpu
            and maps.dtype == self.weight.dtype == torch.float32
            and not recorded
            and not torch.is_autocast_enabled("cpu")
            and len(maps) > 0
            and tiles >= MIN_TILES
        )

    def _minimal(self, maps: Tensor) -> Tensor:
        from spikeyolo.model import kernel_winograd as kernel

        count, channels, height, width = maps.shape
        rows, columns = -(-height // 4), -(-width // 4)
        bordered = maps.new_zeros(count, 4 * rows + 2, 4 * columns + 2, channels)
        bordered[:, 1 : height + 1, 1 : width + 1] = maps.permute(0, 2, 3, 1)
        padded = bordered.numpy()
        result = torch.empty(count, self.out_channels, height, width, memory_format=torch.channels_last)
        out = result.permute(0, 2, 3, 1).numpy()
        bias = (self.shift if self.bias is None else self.bias.detach()).numpy()  # type: ignore[operator]
        at_once = max(min(CACHE_BYTES // (36 * 4 * (channels + self.out_channels) * columns), rows), 1)
        most = 36 * _spread_in_cache(at_once * columns, channels, self.out_channels)
        entering, leaving = torch.empty(most * channels), torch.empty(most * self.out_channels)
        parallel = threads_for(entering.numel()) > 1
        enter, leave = (kernel.enter_threads, kernel.leave_threads) if parallel else (kernel.enter, kernel.leave)
        for image in range(count):
            for first in range(0, rows, at_once):
                last = min(first + at_once, rows)
                tiles = _spread_in_cache((last - first) * columns, channels, self.out_channels)
                # Dense to the last value: only then the batch is one call, shared by all threads.
                entered = entering[: 36 * tiles * channels].view(36, tiles, channels)
                products = leaving[: 36 * tiles * self.out_channels].view(36, tiles, self.out_channels)
                enter(padded[image : image + 1, 4 * first : 4 * last + 2], entered.numpy(), last - first, columns)
                torch.bmm(entered, self.filters, out=products)
                leave(products.numpy(), bias, out[image : image + 1, 4 * first : 4 * last], last - first, columns)
        return result


def suits(convolution: nn.Conv2d) -> bool:
    """Whether a convolution is of the kind that :class:`WinogradConv` takes the place of."""
    inputs, outputs = convolution.in_channels, convolution.out_channels
    return (
        convolution.kernel_size == (3, 3)
        and convolution.stride == (1, 1)
        and convolution.padding == (1, 1)
        and convolution.dilation == (1, 1)
        and convolution.groups == 1
        and inputs * outputs >= MIN_CHANNELS * (inputs + outputs)
    )


def _spread_in_cache(tiles: int, *channels: int) -> int:
    """The same number of tiles or a few more, such that the 36 parts ``[tiles, channels]`` of a buffer do not all begin
    at the same place of a page: a cache keeps only a few lines of one place."""

    def alike(width: int) -> bool:
        return 4 * tiles * width % _PAGE not in range(256, _PAGE - 255) and 4 * width % _PAGE != 0

    while any(alike(width) for width in channels):
        tiles += 1
    return tiles
