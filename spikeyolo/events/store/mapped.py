"""A decoded copy of a recording's events in a file that all worker processes map into memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from filelock import FileLock

from spikeyolo.errors import RecordingError
from spikeyolo.events.packing import Packed
from spikeyolo.events.store.location import reason


def default_folder() -> Path:
    """Where decoded copies lie if no other folder is named: ``spikeyolo`` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spikeyolo"


def mapped_copy(folder: Path, name: str, digest: str, num_events: int, parts: Iterator[Packed]) -> Packed:
    """``[N]`` uint64, read-only: a recording's events, decoded on first use by the first process that asks.

    The file's name carries the digest, and it is renamed into place when complete, so that a half-written or outdated
    copy is never used.

    Args:
        folder: of the copies.
        name: of the recording, in messages.
        digest: of its events.
        num_events: how many there are.
        parts: all of them in order, consumed only where the copy is not there yet.

    Raises:
        RecordingError: the copy cannot be written (8 bytes an event are needed).
    """
    file = folder / f"decoded-{digest[:16]}.npy"
    partial = folder / f"{file.name}.partial"
    try:
        if not _is_complete(file, num_events):
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / f"{file.name}.lock"):  # the others wait, and find it made
                if not _is_complete(file, num_events):
                    try:
                        _write(partial, num_events, parts)
                        os.replace(partial, file)
                    finally:
                        partial.unlink(missing_ok=True)
        copy: Packed = np.load(file, mmap_mode="r")
    except OSError as error:
        raise RecordingError(
            f"{name}: the memory-mapped copy {file} cannot be written ({reason(error)}); "
            f"expected a writable folder with {8 * num_events / 1e6:.0f} MB free (data.cache_folder), or cache=none"
        ) from error
    return copy


def _write(file: Path, num_events: int, parts: Iterator[Packed]) -> None:
    # Plain writes: on a full disk, a write into a mapped file would kill the process.
    with file.open("wb") as output:
        header = {"descr": "<u8", "fortran_order": False, "shape": (num_events,)}
        np.lib.format.write_array_header_1_0(output, header)
        for part in parts:
            output.write(part.astype("<u8", copy=False).data)


def _is_complete(file: Path, num_events: int) -> bool:
    try:
        copy = np.load(file, mmap_mode="r")
    except (OSError, ValueError):
        return False
    return bool(copy.dtype == np.dtype("<u8") and copy.shape == (num_events,))
