"""What a table of detections was made from: digests of checkpoint and data, and the settings that decide."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spikeyolo.detections.made import is_made_from as is_made_from
from spikeyolo.engine.checkpoints import checkpoint
from spikeyolo.errors import CheckpointError
from spikeyolo.windows import Part


def checkpoint_digest(folder: Path, *, weight_bits: int | None = None) -> str:
    """SHA-256 of a checkpoint's weights and of what they are the weights of; ``weight_bits`` replaces the model's.

    Raises:
        CheckpointError: it cannot be read.
    """
    state = checkpoint.read_state(folder)
    model = state.get("model")
    if weight_bits is not None:
        model = {**(model or {}), "weight_bits": weight_bits}
    described = {"model": model, **{name: state.get(name) for name in ("classes", "in_channels")}}
    digest = hashlib.sha256(_plain(described))
    try:
        weights = next(path for path in checkpoint.paths(folder, state) if path.name == checkpoint.WEIGHTS)
        digest.update(weights.read_bytes())
    except (StopIteration, OSError) as error:
        raise CheckpointError(f"{folder / checkpoint.WEIGHTS}: cannot be read; expected the weights") from error
    return digest.hexdigest()


def data_digest(parts: Sequence[Part]) -> str:
    """SHA-256 of the recordings of a split: names, events, spans and labels, in their order."""
    digest = hashlib.sha256()
    for part, name in zip(parts, recording_names(parts), strict=True):
        digest.update(
            _plain([name, part.recording.attributes["digest"], part.start_us, part.end_us, part.labels_from_us])
        )
        if part.boxes is not None:
            for column in (part.boxes.t, part.boxes.xyxy, part.boxes.class_id, part.boxes.track_id):
                digest.update(np.ascontiguousarray(column).tobytes())
        if part.left_out_us is not None:
            digest.update(np.ascontiguousarray(part.left_out_us).tobytes())
        if part.looks_us is not None:
            digest.update(b"looks" + np.ascontiguousarray(part.looks_us).tobytes())
    return digest.hexdigest()


def recording_names(parts: Sequence[Part]) -> list[str]:
    """What tables call the recordings of a split: their names, or their places where two have one name."""
    names = [part.name.removesuffix(".zarr") for part in parts]
    return names if len(set(names)) == len(names) else [str(part.recording.path) for part in parts]


def time_offsets_us(parts: Sequence[Part]) -> dict[str, int]:
    """By the names of tables, what was taken off the times of each recording's events file, µs."""
    return {name: part.recording.time_offset_us for part, name in zip(parts, recording_names(parts), strict=True)}


def short(identity: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits, other ones for each other identity."""
    return hashlib.sha256(_plain(identity)).hexdigest()[:8]


def _plain(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, allow_nan=False).encode()
