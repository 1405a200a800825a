"""The door of the room: finds out by content what a file is, and opens the decoder for it."""

from __future__ import annotations

import logging
from pathlib import Path

from spikeyolo.errors import RecordingError
from spikeyolo.events.formats import aedat4, hdf5
from spikeyolo.events.formats.reader import CheckedReader, EventReader

logger = logging.getLogger(__name__)

SUFFIXES = {".dat": "dat", ".raw": "evt", ".h5": "hdf5", ".hdf5": "hdf5", ".aedat4": "aedat4"}
EXPECTED = "expected Prophesee DAT or RAW (EVT 2.0, 2.1, 3.0), HDF5 (eTraM, Gen1, DSEC, Prophesee) or AEDAT4"


def open_recording(path: Path | str, *, strict: bool = False, size: tuple[int, int] | None = None) -> EventReader:
    """Open an events file of any known format, told by its content and not by its name.

    Args:
        path: the file.
        strict: raise where a damaged file, or a name of another format, would otherwise only be warned about.
        size: sensor width and height, px, for files that name none.

    Raises:
        RecordingError: the file is absent, empty, unreadable, or of no known format.
    """
    path = Path(path)
    head = _head(path)
    family = _family(head)
    if family is None:
        raise RecordingError(f"{path}: starts with {head[:16]!r}, which is no known events file; {EXPECTED}")
    claimed = SUFFIXES.get(path.suffix.lower())
    warning = ""
    if claimed not in (None, family):
        warning = f"{path}: its name says {claimed}, its content is {family}; expected the two to agree"
        if strict:
            raise RecordingError(warning)
        logger.warning("%s", warning)
    reader = _open(path, family, strict, size)
    if warning:
        reader.opening_warnings.insert(0, warning)
    return reader


def _open(path: Path, family: str, strict: bool, size: tuple[int, int] | None) -> CheckedReader:
    if family == "hdf5":
        return hdf5.open_hdf5(path, strict=strict, size=size)
    return aedat4.Aedat4Reader(path, strict=strict)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except FileNotFoundError as error:
        raise RecordingError(f"{path}: no such file; expected a recording") from error
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read ({error.strerror}); expected a recording") from error
    if not head:
        raise RecordingError(f"{path}: is empty; {EXPECTED}")
    return head


def _family(head: bytes) -> str | None:
    if head.startswith(hdf5.SIGNATURE):
        return "hdf5"
    if head.startswith(aedat4.SIGNATURE):
        return "aedat4"
    return None
