"""A penalty on spikes: the rate at which a network's neurons fire, beyond one that costs nothing.

Spikes are counted where gradients pass through them, so that the penalty acts through the surrogate gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn

from spikeyolo.errors import ConfigError
from spikeyolo.loss.shared import Alone, Sharing
from spikeyolo.model.neuron import Neuron


class FiringRate:
    """``weight`` times the spikes an element (one neuron of one map in one time step) beyond ``target``.

    Where several processes share a batch (``sharing``), rates are those of the whole batch, and each process gives its
    share of the term: terms and gradients are to be summed over processes.

    Args:
        weight: of the term; 0 counts nothing.
        target: spikes an element that cost nothing.
        of: ``network`` holds the mean over all elements of all layers against the target; ``layer`` each layer's own
            mean, and takes the mean over layers of what is beyond.
    """

    def __init__(
        self,
        *,
        weight: Annotated[float, Ge(0)] = 0.0,
        target: Annotated[float, Ge(0)] = 0.0,
        of: Literal["network", "layer"] = "network",
    ) -> None:
        self.weight = weight
        self.target = target
        self.of = of
        self.sharing: Sharing = Alone()

    def check(self, network: nn.Module) -> None:
        """Refuse a penalty on neurons that do not spike.

        Raises:
            ConfigError: names them.
        """
        neurons = [module for module in network.modules() if isinstance(module, Neuron)]
        real = ", ".join(sorted({type(neuron).__name__ for neuron in neurons if neuron.levels is None}))
        if self.weight and real:
            raise ConfigError(
                f"loss.firing_rate.weight: found {self.weight} with neurons that do not spike ({real}); "
                "expected 0, or neurons that do, as model/neuron=ilif"
            )

    @contextmanager
    def watching(self, network: nn.Module) -> Iterator[list[tuple[Tensor, int]]]:
        """Collects the sum of the spikes of each layer of one forward pass, and its number of elements; nothing where
        the weight is 0."""
        counted: list[tuple[Tensor, int]] = []

        def count(module: nn.Module, inputs: tuple[Tensor, ...], output: tuple[Tensor, object]) -> None:
            spikes = output[0]
            if torch.is_grad_enabled():
                exact = torch.promote_types(spikes.dtype, torch.float32)
                counted.append((spikes.sum(dtype=exact), spikes.numel()))

        neurons = [module for module in network.modules() if isinstance(module, Neuron)] if self.weight else []
        # For one pass only: hooks that stay would be copied with the network.
        handles = [neuron.register_forward_hook(count) for neuron in neurons]
        try:
            yield counted
        finally:
            for handle in handles:
                handle.remove()

    def __call__(self, counted: list[tuple[Tensor, int]]) -> Tensor:
        """The weighted term, a scalar to be differentiated."""
        sharing = self.sharing
        sums = sharing.sum(torch.stack([spikes for spikes, _ in counted]))
        sizes = sharing.sum(sums.new_tensor([size for _, size in counted]))
        rates = sums / sizes if self.of == "layer" else sums.sum() / sizes.sum()
        return self.weight * (rates - self.target).clamp_min(0).mean() / sharing.world
