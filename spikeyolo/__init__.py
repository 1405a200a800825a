"""spikeyolo: train, compare and tune spiking YOLO detectors on event-camera recordings.

Shapes are written with one legend everywhere:

    T  time steps          B  batch             C  channels
    H  rows                W  columns           N  events
    M  boxes               A  anchors (cells of all head levels)
    K  classes             E  embedding

Times are int64 microseconds (µs); boxes inside the network are ``xyxy`` pixels of the encoded frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikeyolo.predictor import load as load
    from spikeyolo.predictor import read_events as open

__all__ = ["__version__", "load", "open"]
__version__ = "0.1.0"

_LATER = {"load": "load", "open": "read_events"}  # torch is imported once one of them is used


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'spikeyolo' has no attribute {name!r}")
    from importlib import import_module  # by name: what is behind this door is no import of the package itself

    return getattr(import_module("spikeyolo.predictor"), _LATER[name])


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
