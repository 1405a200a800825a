"""What a unit's backward pass holds on to: less than torch would, where the same values are cheap to have again."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

Again = Callable[[], Tensor]


def others_say_what_is_kept() -> bool:
    """Whether hooks from outside (gradient checkpointing) do: hooks of ours inside would take that from them."""
    top = torch._C._autograd._top_saved_tensors_default_hooks(False)
    return top is not None and top[0].__module__ != __name__


class SpikesAsCounts(saved_tensors_hooks):
    """Whatever needs spikes holds on to the neuron's own bytes: a quarter of the memory."""

    def __init__(self, spikes: Tensor, counts: Tensor) -> None:
        at, shape, dtype = spikes.data_ptr(), spikes.shape, spikes.dtype

        def pack(saved: Tensor) -> Tensor | tuple[Tensor]:
            return (counts,) if saved.data_ptr() == at and saved.shape == shape else saved

        def unpack(held: Tensor | tuple[Tensor]) -> Tensor:
            return held if isinstance(held, Tensor) else held[0].bitwise_and(127).to(dtype)

        super().__init__(pack, unpack)


class ComputedAgain(saved_tensors_hooks):
    """Whatever needs ``maps`` holds on to what gives them again."""

    def __init__(self, maps: Tensor, compute: Again) -> None:
        at, shape = maps.data_ptr(), maps.shape

        def pack(saved: Tensor) -> Tensor | Again:
            return compute if saved.data_ptr() == at and saved.shape == shape else saved

        def unpack(held: Tensor | Again) -> Tensor:
            if isinstance(held, Tensor):
                return held
            with torch.no_grad():
                return held()

        super().__init__(pack, unpack)
