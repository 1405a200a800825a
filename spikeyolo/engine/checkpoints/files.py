"""Files that survive a power cut: every step is on the disk before the next one needs it.

Whoever saves goes through :class:`Files`, so that a test can fail, tear or lose each step in turn."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


class Files:
    """The steps of saving; what they make has the mode that the user's umask gives."""

    def make_folder(self, path: Path) -> None:
        """A folder with its parents."""
        path.mkdir(parents=True, exist_ok=True)

    def write(self, path: Path, data: bytes) -> None:
        """A file's content, handed to the system."""
        path.write_bytes(data)

    def sync(self, path: Path) -> None:
        """Wait until a file's content, or a folder's list of names, is on the disk."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        """Give ``source`` the name ``target``, whatever had it before; at any moment there is one of them."""
        source.replace(target)

    def remove(self, path: Path) -> None:
        """A file, or a folder with all in it; what is not there is no error."""
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def replace_text(path: Path, text: str, *, files: Files | None = None) -> None:
    """Write a file beside ``path`` and put it in its place: a reader meets the old text or the new one, whole.

    Raises:
        OSError: it cannot be written; the file that was there is kept.
    """
    files = files or Files()
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        files.write(partial, text.encode())
        files.sync(partial)
        files.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    files.sync(path.parent)
