"""How much each class's objects count in the class term: given, or from how often the labels hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import Tensor

from spikeyolo.errors import ConfigError

ClassWeights = Literal["inverse_frequency", "effective_number"] | Mapping[str, Annotated[float, Ge(0)]]


def check_class_names(weights: ClassWeights | None, classes: Sequence[str]) -> None:
    """Refuse a weight for a class that is not learnt, and weights with which none is.

    Raises:
        ConfigError: names it.
    """
    if isinstance(weights, Mapping):
        if classes and all(weights.get(name, 1.0) == 0 for name in classes):
            raise ConfigError("loss.class_weights: found 0 for every class; expected at least one that is learnt")
        unknown = [name for name in weights if name not in classes]
        if unknown:
            raise ConfigError(
                f"loss.class_weights: found {', '.join(map(str, unknown))}, which is no class; expected "
                f"{', '.join(classes)}"
            )


def class_weights(weights: ClassWeights, classes: Sequence[str], counts: Sequence[int], *, beta: float) -> Tensor:
    """``[K]`` float32; those from counts have the mean 1 over the classes that occur.

    Args:
        weights: by class name (those left out weigh 1), or how to take them from the counts: ``inverse_frequency`` is
            1 / n, ``effective_number`` is (1 − beta) / (1 − beta^n) (arXiv 1901.05555, equation 4).
        classes: names, in the order of class ids.
        counts: boxes of each class, n.
        beta: of the effective number; the nearer to 1, the nearer to the inverse frequency.

    Raises:
        ConfigError: a weight for a class that is not learnt.
    """
    check_class_names(weights, classes)
    if isinstance(weights, Mapping):
        return torch.tensor([float(weights.get(name, 1.0)) for name in classes])
    n = torch.tensor(list(counts), dtype=torch.float64)
    occurs = n > 0
    rarity = 1 / n if weights == "inverse_frequency" else (1 - beta) / (1 - beta**n)
    mean = rarity[occurs].mean() if occurs.any() else 1.0
    return torch.where(occurs, rarity / mean, 1.0).float()
