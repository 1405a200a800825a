"""Which device a run uses, and how."""

from __future__ import annotations

from typing import Literal

import torch

from spikeyolo.errors import ConfigError

Precision = Literal["float32", "bfloat16", "float16"]


def choose_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one, else the CPU; ``cpu``, ``cuda`` and ``cuda:N`` are what they say.

    ``cuda:N`` becomes this process's current device, on which Triton launches its kernels.

    Raises:
        ConfigError: the name is none of these, or that device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()):
        raise ConfigError(f"trainer.device: found {name!r}; expected auto, cpu, cuda or cuda:N")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count <= int(index or 0):
            raise ConfigError(
                f"trainer.device: found {name!r}, but torch {torch.__version__} sees {count} CUDA devices here; "
                "expected trainer.device=cpu or auto"
            )
        if index:
            torch.cuda.set_device(int(index))
    return torch.device(name)
