"""Where a recording or data set lies: a local path, or a URL (``s3://…``) that fsspec opens for zarr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zarr

from spikeyolo.errors import RecordingError

_CLIENT_ERRORS = {
    "botocore.exceptions": ("BotoCoreError", "ClientError"),
    "aiohttp": ("ClientError",),
}


def is_remote(path: Path | str) -> bool:
    """Whether this names a store reached through fsspec rather than a local file."""
    return isinstance(path, str) and "://" in path and not path.startswith("file://")


def normalise(path: Path | str) -> Path | str:
    """A :class:`Path` for local places, the URL without a trailing slash for remote ones."""
    if is_remote(path):
        return str(path).rstrip("/")
    return Path(str(path).removeprefix("file://"))


def child(path: Path | str, name: str) -> Path | str:
    """The place called ``name`` in the folder ``path``."""
    return f"{path}/{name}" if isinstance(path, str) and is_remote(path) else Path(path) / name


def zarr_store(path: Path | str, *, read_only: bool) -> Any:
    """A zarr store at this place.

    Raises:
        RecordingError: the package for this kind of URL is not installed, or the URL is not understood.
    """
    if not is_remote(path):
        return zarr.storage.LocalStore(path, read_only=read_only)
    with _understood(path):
        return zarr.storage.FsspecStore.from_url(str(path), read_only=read_only)


def remote_files(url: str) -> tuple[Any, str]:
    """fsspec's file system behind a URL, and the URL's path in it.

    Raises:
        RecordingError: the package for this kind of URL is not installed, or the URL is not understood.
    """
    import fsspec

    with _understood(url):
        files, root = fsspec.url_to_fs(url)
    return files, str(root).rstrip("/")


@contextmanager
def _understood(url: Path | str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise RecordingError(
            f"{url}: {error}; expected the package for this kind of address (s3:// needs s3fs)"
        ) from error
    except (ValueError, OSError) as error:
        raise RecordingError(f"{url}: cannot be opened ({error})") from error


def remove_remote(path: str) -> None:
    """Remove all that a remote store holds below this URL; errors are left to :func:`store_errors`."""
    import fsspec

    files, root = fsspec.url_to_fs(path)
    if files.exists(root):
        files.rm(root, recursive=True)


def read_text(path: Path | str) -> str | None:
    """A file's text, local or remote; None where there is no such file."""
    try:
        if not is_remote(path):
            return Path(path).read_text(encoding="utf-8")
        import fsspec

        with fsspec.open(str(path), "r", encoding="utf-8") as file:
            return str(file.read())
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_text(path: Path | str, text: str) -> None:
    """Write a file, local (beside, then renamed) or remote."""
    if is_remote(path):
        import fsspec

        with fsspec.open(str(path), "w", encoding="utf-8") as file:
            file.write(text)
        return
    place = Path(path)
    partial = place.with_name(f"{place.name}.partial-{os.getpid()}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, place)
    finally:
        partial.unlink(missing_ok=True)


def store_errors(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """What reading or writing a store may raise (OSError, and what clients of remote stores raise), and ``others``."""
    errors: list[type[Exception]] = [OSError, *others]
    for module, names in _CLIENT_ERRORS.items():
        if module in sys.modules:  # a client that was not loaded raises nothing
            errors += [getattr(sys.modules[module], name) for name in names]
    return tuple(errors)


def reason(error: Exception) -> str:
    """An error of a store in a few words."""
    text = (getattr(error, "strerror", None) or str(error) or type(error).__name__).strip()
    return " ".join(text.split())[:300]
