"""The tables of a checkpoint on a split: found again where nothing that decides has changed, else made."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from spikeyolo import __version__
from spikeyolo.detections.clock import OFFSETS
from spikeyolo.errors import DetectionError
from spikeyolo.evaluation.looks import Looks, WholeRecordings, Windows, looks_of, said
from spikeyolo.evaluation.tables import identity
from spikeyolo.evaluation.tables.detect import Detecting, detect
from spikeyolo.events.splits import Role
from spikeyolo.report.console import Console
from spikeyolo.windows import EventData, Part

log = logging.getLogger("spikeyolo")


@dataclass(frozen=True)
class Tables:
    """Where the tables of one split are.

    Attributes:
        folder: that they, and what is drawn from them, are in.
        detections, truth: the files.
        split: its name.
        classes: names, for files that hold none.
    """

    folder: Path
    detections: Path
    truth: Path
    split: str
    classes: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Restored:
    """A checkpoint to evaluate.

    Attributes:
        folder: of the checkpoint.
        detector: on its device, in eval mode.
        state: the checkpoint's readable part.
        digest: of its weights and model.
        device: the detector's.
    """

    folder: Path
    detector: nn.Module
    state: Mapping[str, Any]
    digest: str
    device: torch.device

    @property
    def run(self) -> Path:
        """The folder of its run, or that beside it where it was copied away."""
        return self.folder.parent.parent if self.folder.parent.name == "checkpoints" else self.folder.parent


def tables_of(
    restored: Restored,
    data: EventData,
    configured: Mapping[str, Any],
    split: str,
    parts: Sequence[Part],
    *,
    windows: Windows,
    detecting: Detecting,
    out: Path | None,
    fresh: bool,
) -> tuple[Tables, Looks | None]:
    """The tables of a checkpoint on a split, and its windows where they were needed.

    Args:
        restored: the checkpoint.
        data: the data set.
        configured: its configuration.
        split: ``train``, ``val`` or ``test``.
        parts: its recordings.
        windows: which are scored.
        detecting: how detections are made.
        out: folder to write into; None makes one in ``evaluation/`` of the run, named after what decides.
        fresh: make them although they are there.

    Raises:
        SpikeyoloError: nothing of the split can be scored, or a table cannot be written.
    """
    made_from = {
        "checkpoint": restored.digest,
        "data": identity.data_digest(parts),
        "split": split,
        "windows": {"windows": windows, **_window_settings(data)},
        "encoder": configured["encoder"],
        "detecting": asdict(detecting),
    }
    folder = out
    if folder is None:
        folder = restored.run / "evaluation" / f"{restored.folder.name}_{split}_{identity.short(made_from)}"
    tables = Tables(folder, folder / "detections.parquet", folder / "truth.parquet", split)
    if not fresh and all(identity.is_made_from(path, made_from) for path in (tables.detections, tables.truth)):
        log.info("%s: checkpoint, data and settings are unchanged (fresh=true makes it again)", tables.detections)
        return tables, None
    looks = looks_of(data, parts, windows, split)
    sensor = parts[0].recording
    frame = data.encoder.frame_size(sensor.width, sensor.height)
    metadata: dict[str, Any] = {
        "spikeyolo": __version__,
        "identity": made_from,
        "checkpoint": str(restored.folder.resolve()),
        "windows": said(windows, detecting.carry),
        "sensor": [sensor.width, sensor.height],
        "frame": list(frame),
        "scale": [data.encoder.placement().scale_x, data.encoder.placement().scale_y],
        "slice_duration_us": data.rules.slice_duration_us,
        "time_steps": data.rules.time_steps,
        "recordings": identity.recording_names(parts),
        OFFSETS: identity.time_offsets_us(parts),
        "data": configured,
    }
    if isinstance(looks, WholeRecordings):
        metadata["skipped_label_times"] = looks.skipped()
    with Console().progress(f"detecting on {split}", len(looks)) as advance:
        detect(
            restored.detector,
            looks,
            detecting,
            detections=tables.detections,
            truth=tables.truth,
            metadata=metadata,
            device=restored.device,
            advance=advance,
        )
    return tables, looks


def labelled_parts(data: EventData, splits: Sequence[Role]) -> dict[Role, list[Part]]:
    """The recordings of splits, converted or made on first use.

    Raises:
        SpikeyoloError: there is no such split, a file is not what it should be, or there is no label to score with.
    """
    data.check(splits)  # before the first recording is converted
    with Console().stages("making recordings") as progress:
        found = {split: data.parts(split, progress=progress) for split in splits}
    for split, parts in found.items():
        _check_labels(split, parts)
    return found


def _check_labels(split: str, parts: Sequence[Part]) -> None:
    if all(part.boxes is None for part in parts):
        raise DetectionError(
            f"{split}: none of {len(parts)} recordings has labels, so that nothing can be scored; expected label files"
        )
    if not any(len(part.inside) for part in parts):
        raise DetectionError(f"{split}: {len(parts)} recordings without any box, so that nothing can be scored")


def _window_settings(data: EventData) -> dict[str, Any]:
    """What decides windows and truth, and the size of batches, on which the last digits depend."""
    return {**asdict(data.rules), "batch_size": data.batch_size}
