"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from spikeyolo.errors import DetectionError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A name beside ``path`` to write to, renamed into place at the end of the block.

    Raises:
        DetectionError: it cannot be written; nothing half-written is left.
    """
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise DetectionError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(FileNotFoundError, NotADirectoryError):
            partial.unlink()


@contextmanager
def whole_files(folder: Path, names: list[str]) -> Iterator[list[Path]]:
    """Names beside ``folder/NAME`` to write to, all renamed into place at the end of the block.

    Raises:
        DetectionError: a name leads out of the folder, or a file cannot be written.
    """
    paths = [folder / name for name in names]
    for path in paths:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise DetectionError(f"{path}: lies outside {folder}; expected names of recordings without '..'")
    with ExitStack() as stack:
        yield [stack.enter_context(whole_file(path)) for path in paths]
