"""The door from windows to the network: encoded frames and their targets."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Window:
    """A stretch of one recording, half-open; slice k is ``[start_us + k·slice, start_us + (k+1)·slice)``.

    Attributes:
        recording: index into the data set's list of recordings.
        start_us, end_us: µs; a labelled window ends at its label's time and looks back.
    """

    recording: int
    start_us: int
    end_us: int


@dataclass(frozen=True, eq=False)
class Targets:
    """All boxes of a batch, one row a box and time step.

    Attributes:
        batch_index: ``[M]`` int64.
        time_step: ``[M]`` int64.
        xyxy: ``[M, 4]`` float32, px of the encoded frame.
        class_id: ``[M]`` int64.
        track_id: ``[M]`` int64; -1 where unknown. Only within one recording is it one object's.
        recording: ``[M]`` int64, index into the data set's list of recordings.
        supervised: ``[T, B]`` bool; False where the boxes of a step are not known, so that it gives no loss.
    """

    batch_index: Tensor
    time_step: Tensor
    xyxy: Tensor
    class_id: Tensor
    track_id: Tensor
    recording: Tensor
    supervised: Tensor

    def __len__(self) -> int:
        return len(self.class_id)

    def to(self, device: torch.device | str) -> Targets:
        return replace(
            self, **{name: getattr(self, name).to(device, non_blocking=True) for name in self.__annotations__}
        )


@dataclass(frozen=True, eq=False)
class Batch:
    """What the loader hands to training.

    Attributes:
        frames: ``[T, B, C, H, W]`` uint8, each slice as the encoder's channels; what they mean, it says (``off_on``).
        targets: boxes in px of the encoded frame.
        windows: the B windows the frames were made from.
        follows: whether the neurons' state after the window before goes on into each of them; None where a window
            stands alone, and empty where all do.
    """

    frames: Tensor
    targets: Targets
    windows: tuple[Window, ...]
    follows: tuple[bool | None, ...] = ()

    def to(self, device: torch.device | str) -> Batch:
        return replace(self, frames=self.frames.to(device, non_blocking=True), targets=self.targets.to(device))

    def pin_memory(self) -> Batch:
        targets = replace(
            self.targets, **{name: getattr(self.targets, name).pin_memory() for name in self.targets.__annotations__}
        )
        return replace(self, frames=self.frames.pin_memory(), targets=targets)
