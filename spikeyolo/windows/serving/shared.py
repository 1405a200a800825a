"""Columns that worker processes map from one file each, instead of every worker getting a copy."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from spikeyolo.events.types import Array


class SharedColumns:
    """Read-only arrays by name. Pickled, they are the name of a folder, however many rows they have.

    The files are written into the temporary folder when the columns are first pickled, and go when the object that
    wrote them does.

    Raises:
        OSError: on pickling, the temporary folder cannot take the files.
    """

    def __init__(self, columns: Mapping[str, Array]) -> None:
        self._columns = dict(columns)
        for column in self._columns.values():
            column.flags.writeable = False  # as the mapped ones are: compiled code is the same for both
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __getitem__(self, name: str) -> Array:
        return self._columns[name]

    def __reduce__(self) -> tuple[Callable[[str], SharedColumns], tuple[Any, ...]]:
        if self._folder is None:
            folder = tempfile.TemporaryDirectory(prefix="spikeyolo-columns-", ignore_cleanup_errors=True)
            for name, column in self._columns.items():
                np.save(Path(folder.name) / f"{name}.npy", column)
            self._folder = folder
        return _mapped, (self._folder.name,)


def _mapped(folder: str) -> SharedColumns:
    files = sorted(Path(folder).glob("*.npy"))
    # Plain arrays over the mapping: compiled code knows no subclass.
    return SharedColumns({file.stem: np.load(file, mmap_mode="r").view(np.ndarray) for file in files})
