"""Which reader a label file needs, and which files it reads."""

from __future__ import annotations

from pathlib import Path

from spikeyolo.errors import LabelError
from spikeyolo.events.labels.formats.coco import read_coco
from spikeyolo.events.labels.formats.mot import read_mot, sequence_files
from spikeyolo.events.labels.formats.npy import read_npy
from spikeyolo.events.labels.formats.rows import LabelRows
from spikeyolo.events.labels.formats.table import read_csv
from spikeyolo.events.labels.formats.text import is_number, read_text
from spikeyolo.events.labels.formats.yolo import label_files, name_files, read_yolo

SUFFIXES = (".npy", ".csv", ".json", ".txt")


def read_rows(path: Path) -> LabelRows:
    """Boxes of a label file of any known format, or of a folder of YOLO text files.

    Raises:
        LabelError: it is none, or not what its name says.
    """
    if path.is_dir():
        return read_yolo(path)
    suffix = path.suffix.lower()
    if suffix == ".json":
        return read_coco(path)
    if suffix == ".csv" or (suffix == ".txt" and _has_header(path)):
        return read_csv(path)
    if suffix == ".txt":
        return read_mot(path)
    if suffix == ".npy" or not path.exists():
        return read_npy(path)
    raise LabelError(f"{path}: a label file of no known format; expected {', '.join(SUFFIXES)} or a folder of *.txt")


def files_read(path: Path) -> list[Path]:
    """All files that decide what a label file says, itself first."""
    if path.is_dir():
        return [*label_files(path), *name_files(path)]
    return [path, *sequence_files(path)] if path.suffix.lower() == ".txt" else [path]


def _has_header(path: Path) -> bool:
    first = read_text(path).lstrip().partition("\n")[0]
    return bool(first) and not is_number(first.replace(";", ",").replace("\t", ",").partition(",")[0])
