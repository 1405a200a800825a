"""Neuron states that travel explicitly between calls, so that a long recording runs window after window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from spikeyolo.errors import ConfigError
from spikeyolo.model.neuron import Neuron
from spikeyolo.windows.batch import Batch, Window

DetectorState = tuple[Any, ...]


class Memory:
    """States of all neurons in the order of their calls: recalled from one run, kept for the next.

    Args:
        states: what an earlier run kept, or None for a fresh start.
    """

    def __init__(self, states: DetectorState | None = None) -> None:
        self._states = states
        self._kept: list[Any] = []

    def recall(self) -> Any:
        """The state of the neuron whose turn it is; None at a fresh start."""
        if self._states is None:
            return None
        if len(self._kept) >= len(self._states):
            raise ConfigError(
                f"the detector's state holds {len(self._states)} neurons, the network has more: it is another network's"
            )
        return self._states[len(self._kept)]

    def keep(self, state: Any) -> None:
        """Store what the neuron left behind; the next neuron's turn comes."""
        self._kept.append(state)

    def states(self) -> DetectorState:
        """What was kept, to be handed to the next call.

        Raises:
            ConfigError: it began from the states of more neurons than there are.
        """
        if self._states is not None and len(self._states) != len(self._kept):
            raise ConfigError(
                f"the detector's state holds {len(self._states)} neurons, the network has {len(self._kept)}: "
                "it is another network's"
            )
        return tuple(self._kept)

    def ahead(self, count: int) -> DetectorState | None:
        """The states of the next ``count`` neurons, for who recalls them elsewhere and keeps here what they leave."""
        begin = len(self._kept)
        return None if self._states is None else self._states[begin : begin + count]


class Carrier:
    """Carries the neurons' states from the windows of one batch into those windows of the next that follow them.

    States are detached from what made them: gradients end where a window begins (truncated back-propagation through
    time). A window that follows none begins with states of 0, as every neuron does.

    Args:
        network: whose states they are.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self.forget()

    def forget(self) -> None:
        """No window of the next batch follows one."""
        self._states: DetectorState | None = None
        self._windows: tuple[Window | None, ...] = ()

    def memory(self, batch: Batch) -> Memory | None:
        """What the batch's windows begin with; None where all of them stand alone."""
        if not batch.follows:  # nothing to carry
            return None
        at = {(window.recording, window.end_us): row for row, window in enumerate(self._windows) if window is not None}
        rows = [
            at.get((window.recording, window.start_us), -1) if follows else -1
            for window, follows in zip(batch.windows, batch.follows, strict=True)
        ]
        if self._states is None or max(rows) < 0:
            return Memory()
        if rows == list(range(len(self._windows))):
            return Memory(self._states)
        index = torch.tensor(rows)

        def moved(values: Tensor) -> Tensor:
            # The windows are the first dimension of every state.
            taken = values.index_select(0, index.clamp_min(0).to(values.device))
            return taken.masked_fill_((index < 0).to(values.device).view(-1, *[1] * (values.dim() - 1)), 0)

        return Memory(pytree.tree_map_only(Tensor, moved, self._states))

    def keep(self, memory: Memory | None, batch: Batch) -> None:
        """Take what the batch's windows left behind."""
        if memory is None:
            return
        self._states = pytree.tree_map_only(Tensor, Tensor.detach, memory.states())
        self._windows = tuple(
            None if follows is None else window for window, follows in zip(batch.windows, batch.follows, strict=True)
        )

    def state_dict(self) -> dict[str, Any]:
        """Tensors of the CPU, numbers and names, which a checkpoint can hold and processes can exchange."""
        windows = [None if window is None else (window.recording, window.end_us) for window in self._windows]
        states = [(type(state).__name__, [value.cpu() for value in state]) for state in self._states or ()]
        return {"windows": windows, "states": states}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Of one process, or of several joined: windows are found again by their recordings and times."""
        self.forget()
        if not state.get("states"):
            return
        neurons = [module for module in self._network.modules() if isinstance(module, Neuron)]
        kinds = {kind.__name__: kind for kind in (type(neuron.state_fallback(torch.zeros(1, 1))) for neuron in neurons)}
        if any(name not in kinds for name, _ in state["states"]):
            return  # of other neurons than the network's: it begins afresh
        device = next(self._network.parameters()).device
        self._states = tuple(kinds[name](*(value.to(device) for value in values)) for name, values in state["states"])
        self._windows = tuple(
            None if window is None else Window(window[0], 0, window[1]) for window in state["windows"]
        )


def joined(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The states that several carriers of one network hold, as if one had carried the windows of all."""
    some = [state for state in states if state["states"]]
    neurons = zip(*(state["states"] for state in some), strict=True)
    return {
        "windows": [window for state in some for window in state["windows"]],
        "states": [
            (each[0][0], [torch.cat(values) for values in zip(*(values for _, values in each), strict=True)])
            for each in neurons
        ],
    }
