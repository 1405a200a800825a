"""A decoded copy of a recording's events in a file that all worker processes map into memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from spikeyolo.errors import RecordingError
from spikeyolo.events.packing import Packed
from spikeyolo.events.store.location import is_remote


def mapped_copy(path: Path | str, digest: str, num_events: int, parts: Iterator[Packed]) -> Packed:
    """``[N]`` uint64, read-only: the events of the recording at ``path``, decoded on first use.

    The file lies inside a local recording, and under the user's cache folder for a remote one; its name carries the
    digest, and it is renamed into place when complete, so that a half-written or outdated copy is never used.

    Args:
        path: the recording.
        digest: of its events.
        num_events: how many there are.
        parts: all of them in order, consumed only where the copy is not there yet.

    Raises:
        RecordingError: the copy cannot be written (8 bytes an event are needed).
    """
    if is_remote(path):
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spikeyolo"
    else:
        folder = Path(path)
    file = folder / f"decoded-{digest[:16]}.npy"
    if not _is_complete(file, num_events):
        partial = folder / f"{file.name}.partial-{os.getpid()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Plain writes: on a full disk, a write into a mapped file would kill the process.
            with partial.open("wb") as output:
                header = {"descr": "<u8", "fortran_order": False, "shape": (num_events,)}
                np.lib.format.write_array_header_1_0(output, header)
                for part in parts:
                    output.write(part.astype("<u8", copy=False).data)
            os.replace(partial, file)
        except OSError as error:
            raise RecordingError(
                f"{path}: the memory-mapped copy {file} cannot be written ({error.strerror or error}); "
                f"expected a writable folder with {8 * num_events / 1e6:.0f} MB free, or cache=none"
            ) from error
        finally:
            partial.unlink(missing_ok=True)
    copy: Packed = np.load(file, mmap_mode="r")
    return copy


def _is_complete(file: Path, num_events: int) -> bool:
    try:
        copy = np.load(file, mmap_mode="r")
    except (OSError, ValueError):
        return False
    return bool(copy.dtype == np.dtype("<u8") and copy.shape == (num_events,))
