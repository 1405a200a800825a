"""Where a recording or data set lies: a local path, or a URL (``s3://…``) that fsspec opens for zarr."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import zarr

from spikeyolo.errors import RecordingError


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
    try:
        return zarr.storage.FsspecStore.from_url(str(path), read_only=read_only)
    except ImportError as error:
        raise RecordingError(
            f"{path}: {error}; expected the package for this kind of address (s3:// needs s3fs)"
        ) from error
    except (ValueError, OSError) as error:
        raise RecordingError(f"{path}: cannot be opened ({error})") from error
