"""A table of detections or truth in whichever format it lies: Parquet, COCO JSON, Prophesee's .npy, MOT text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spikeyolo.detections import coco, mot, prophesee
from spikeyolo.detections.table import DetectionTable
from spikeyolo.errors import DetectionError

EXPECTED = "a table (.parquet), COCO JSON (.json), or a file or folder of *_bbox.npy (Prophesee) or .txt (MOT)"


def read_any(
    path: Path, *, classes: Sequence[str] | None = None, images: Path | None = None, embeddings: bool = True
) -> DetectionTable:
    """Read a file or folder of any known format.

    Args:
        path: of it.
        classes: names in the order of their ids; ``.npy`` and MOT hold none. None takes the file's own.
        images: COCO data set whose images a list of COCO results counts in.
        embeddings: see :meth:`DetectionTable.read`.

    Raises:
        DetectionError: there is no such file, it is of no known format, holds no class names and none are given, or a
            value is none.
    """
    if not path.exists():
        raise DetectionError(f"{path}: no such file; expected {EXPECTED}")
    if path.suffix == ".json":
        return coco.read(path, images=images, classes=classes)
    kind = _kind(path)
    if kind is None:
        return DetectionTable.read(path, classes=classes, embeddings=embeddings)
    if classes is None:
        raise DetectionError(f"{path}: holds no class names; expected data=NAME or a truth=FILE that tells them")
    return prophesee.read(path, classes=classes) if kind == prophesee.SUFFIX else mot.read(path, classes=classes)


def _kind(path: Path) -> str | None:
    """The ending of the files by which a format without class names is known; None for a table."""
    if path.is_file():
        return {".npy": prophesee.SUFFIX, mot.SUFFIX: mot.SUFFIX}.get(path.suffix)
    for suffix in (prophesee.SUFFIX, mot.SUFFIX):
        if next(path.rglob(f"*{suffix}"), None) is not None:
            return suffix
    raise DetectionError(f"{path}: a folder without detections; expected {EXPECTED}")
