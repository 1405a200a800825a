"""Packages that only some users need."""

from __future__ import annotations

import importlib
from typing import Any

from spikeyolo.errors import ConfigError

# Package → the extra of spikeyolo that brings it.
EXTRAS = {
    "nir": "export",
    "onnx": "export",
    "onnxruntime": "export",
    "onnxscript": "export",
    "openvino": "openvino",
    "rerun": "rerun",
    "schedulefree": "schedulefree",
}


def optional(package: str) -> Any:
    """An optional package, or one clear line how to get it.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ConfigError(
            f"{package} is not installed; get it with: pip install 'spikeyolo[{EXTRAS[package]}]'"
        ) from error
