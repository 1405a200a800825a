"""Neuron states that travel explicitly between calls, so that a long recording runs window after window."""

from __future__ import annotations

from typing import Any

from spikeyolo.errors import ConfigError

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
