"""The teacher of a training: a trained network that looks at the same frames, and what the student lacks of it."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spikeyolo.engine.checkpoints.restore import restore_detector
from spikeyolo.errors import CheckpointError
from spikeyolo.loss.distillation import Distillation, DistillationTerms, check_features
from spikeyolo.model.detector import Detector
from spikeyolo.model.inference.fold import fold
from spikeyolo.model.predictions import Predictions
from spikeyolo.moved import moved

log = logging.getLogger(__name__)


class Teacher:
    """A checkpoint's network, folded, in eval mode and without gradients, beside the network that is trained.

    Args:
        folder: of the checkpoint, such as ``…/checkpoints/best``.
        student: the network that is trained.
        distillation: what is compared.
        description: of this training: its ``classes`` and ``encoder``.

    Attributes:
        digest: of the weights.
        seconds: that its forward passes took (on a GPU: to launch them).

    Raises:
        CheckpointError: there is no such checkpoint, or its classes or encoder are others.
        ConfigError: features are compared, and its maps have other channels.
    """

    def __init__(
        self, folder: Path | str, student: Detector, distillation: Distillation, description: Mapping[str, Any]
    ) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise CheckpointError(
                f"loss.teacher: {folder} is not there; expected a checkpoint such as RUN/checkpoints/best, or "
                "loss.teacher=null to train without"
            )
        detector, self._state = restore_detector(self.folder)
        for name, said in (("classes", "class list"), ("encoder", "encoder")):
            found, expected = _plain(self._state.get(name)), _plain(description[name])
            if found != expected:
                raise CheckpointError(
                    f"loss.teacher: {folder} has the {said} {found}; expected this run's, which is {expected}"
                )
        own, ours = (_span(known.get("windows")) for known in (self._state, description))
        if own is not None and ours is not None and own != ours:
            log.warning("loss.teacher: %s was trained on windows of %s, this run's are of %s", folder, own, ours)
        if distillation.feature_weight:
            check_features(student.neck.channels, detector.neck.channels)
        self.digest = _digest(detector)
        self.distillation = distillation
        self.seconds = 0.0
        self._network = fold(detector).requires_grad_(False)

    def check_frame(self, size: Sequence[int]) -> None:
        """Refuse frames of another size than the teacher was trained on.

        Args:
            size: width and height of this training's frames, px.

        Raises:
            CheckpointError: they are others.
        """
        own = (self._state.get("frame") or {}).get("size")
        if own is not None and list(own) != list(size):
            raise CheckpointError(
                f"loss.teacher: {self.folder} was trained on frames of {own[0]}x{own[1]} px; "
                f"expected this run's, which are {size[0]}x{size[1]} px"
            )

    def to(self, device: torch.device) -> Teacher:
        """Move the network; returns itself."""
        self._network.to(device)
        return self

    @contextmanager
    def watching(self, student: nn.Module) -> Iterator[list[Tensor]]:
        """Collects the maps of the student's neck ``[T, B, C, H, W]`` in a forward pass, where they are compared."""
        with _maps_of(student, bool(self.distillation.feature_weight)) as maps:
            yield maps

    def __call__(self, frames: Tensor, student: Predictions, maps: Sequence[Tensor]) -> DistillationTerms:
        """What the student's predictions and maps of ``frames`` ``[T, B, C, H, W]`` lack of the teacher's."""
        began = time.perf_counter()
        with torch.no_grad(), self.watching(self._network) as own_maps:
            own = self._network(frames)
        self.seconds += time.perf_counter() - began
        return self.distillation(student, own, maps, own_maps)


@contextmanager
def _maps_of(network: nn.Module, asked: bool) -> Iterator[list[Tensor]]:
    maps: list[Tensor] = []
    neck = network.get_submodule("neck") if asked else nn.Identity()
    # A hook for one pass only: one that stays would be copied with the network, and the teacher with it.
    handle = neck.register_forward_hook(lambda module, inputs, output: maps.extend(output))
    try:
        yield maps
    finally:
        handle.remove()


def _span(windows: Mapping[str, Any] | None) -> str | None:
    """The length of windows in words; None where it is not known."""
    if not windows or not {"time_steps", "slice_duration_us"} <= windows.keys():
        return None
    return f"{windows['time_steps']} × {windows['slice_duration_us']} µs"


def _plain(value: Any) -> Any:
    """Lists for tuples, and the present paths of classes that have moved."""
    if isinstance(value, Mapping):
        return moved({key: _plain(item) for key, item in value.items()})
    return list(value) if isinstance(value, tuple) else value


def _digest(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
