"""The parts of a network that may be frozen or learn at rates of their own: its direct children, as the backbone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from torch import nn

from spikeyolo.errors import ConfigError

Part = Literal["backbone", "neck", "head"]


def check_parts(module: nn.Module, parts: Iterable[str], key: str) -> None:
    """Refuse the name of a part that the module does not have.

    Raises:
        ConfigError: names the key, the part, and those there are.
    """
    known = [name for name, _ in module.named_children()]
    for part in parts:
        if part not in known:
            raise ConfigError(f"{key}: found {part!r}, which the network has not; expected one of {', '.join(known)}")


def freeze(module: nn.Module, parts: Iterable[str]) -> None:
    """Take parts out of the training: no gradients.

    Raises:
        ConfigError: the module has no such part.
    """
    parts = list(parts)
    check_parts(module, parts, "trainer.freeze")
    for part in parts:
        module.get_submodule(part).requires_grad_(False)


def train_mode(module: nn.Module) -> None:
    """Put a module into training mode, but for the norms of frozen parts, whose statistics stay as they are."""
    module.train()
    for part in module.children():
        parameters = list(part.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            for norm in part.modules():
                if getattr(norm, "running_mean", None) is not None:
                    norm.eval()
