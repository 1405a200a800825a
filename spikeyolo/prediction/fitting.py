"""Recordings of another sensor than the network was trained on: padded, scaled, or refused."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from spikeyolo.errors import ConfigError
from spikeyolo.model.detector import STRIDES
from spikeyolo.windows import Placement
from spikeyolo.windows.encoders import Encoder

Fit = Literal["pad", "scale", "refuse"]
Size = tuple[int, int]


@dataclass(frozen=True)
class Fitted:
    """How a sensor's pixels become the network's frame.

    Attributes:
        placement: of a pixel in the frame.
        frame: width and height of the frame, px.
        used: width and height of its upper left part that the sensor fills, px; boxes are cut there.
        said: what was done to a sensor of another size, in words; empty where it is the same.
    """

    placement: Placement
    frame: Size
    used: Size
    said: str = ""


def fitted(encoder: Encoder, sensor: Size, *, trained: Size | None, fixed: Size | None, fit: Fit) -> Fitted:
    """How this sensor's pixels become the network's frame.

    Args:
        encoder: of the network.
        sensor: width and height of the recording's sensor, px.
        trained: those of the sensor that the network was trained on; None where nothing tells.
        fixed: width and height of the only frame that the network takes; None: it takes any.
        fit: for sensors of another size: ``pad`` lets pixels be pixels, with zeros at the right and bottom where the
            frame needs them; ``scale`` brings the sensor into the frame of the training, its sides in proportion.

    Raises:
        ConfigError: it does not fit.
    """
    encoder = encoder.for_sensor(*(trained or sensor))  # objects stay as large in px as they were in training
    own, placement = encoder.frame_size(*sensor), encoder.placement()
    least = STRIDES[-1]
    same = sensor == trained if trained is not None else fixed in (None, own)
    if same and (fixed is None or own == fixed) and min(own) >= least:
        return Fitted(placement, own, own)
    other = f"a sensor of {_size(sensor)} px" + (f", where the training's had {_size(trained)}" if trained else "")
    if fit == "refuse":
        raise ConfigError(f"fit=refuse: found {other}; expected the same, or fit=pad or fit=scale")
    if fit == "pad":
        if fixed is not None and (own[0] > fixed[0] or own[1] > fixed[1]):
            raise ConfigError(
                f"fit=pad: found {other}, a frame of {_size(own)} px; the exported network takes {_size(fixed)}: "
                "expected fit=scale, or an export of a larger window"
            )
        frame = fixed or (max(own[0], least), max(own[1], least))
        done = f"padded to a frame of {_size(frame)}" if frame != own else "every pixel stays one"
        return Fitted(placement, frame, own, f"{other}: {done} (fit=pad)")
    if fixed is None and trained is None:
        raise ConfigError("fit=scale: the checkpoint does not tell its sensor's size; expected fit=pad")
    frame = fixed or encoder.frame_size(*trained)  # type: ignore[misc]
    scale = min(frame[0] / own[0], frame[1] / own[1])
    placement = replace(placement, scale_x=placement.scale_x * scale, scale_y=placement.scale_y * scale)
    if placement.scale_x > 1:  # the events of a magnified pixel fill the frame's pixels that it covers
        placement = replace(placement, seed=1)
    used = (min(round(own[0] * scale), frame[0]), min(round(own[1] * scale), frame[1]))
    return Fitted(placement, frame, used, f"{other}: scaled by {scale:.3g} into a frame of {_size(frame)} (fit=scale)")


def _size(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
