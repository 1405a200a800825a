"""Where a recording or data set lies: a local path, or a URL (``s3://…``) that fsspec opens for zarr."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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


def parent(path: Path | str) -> Path | str:
    """The folder in which a place lies."""
    return path.rpartition("/")[0] if isinstance(path, str) and is_remote(path) else Path(path).parent


def remove_remote(path: str) -> None:
    """Remove all that a remote store holds below this URL; errors are left to :func:`store_errors`."""
    files, root = remote_files(path)
    files.invalidate_cache()
    if files.exists(root):
        files.rm(root, recursive=True)


def sizes_below(path: Path | str) -> dict[str, int]:
    """Bytes of every file below a folder, by its path there; errors are left to :func:`store_errors`."""
    if not is_remote(path):
        found = (file for file in Path(path).rglob("*") if file.is_file())
        return {file.relative_to(path).as_posix(): file.stat().st_size for file in found}
    files, root = remote_files(str(path))
    files.invalidate_cache()  # listings are kept, but others write here too
    found = files.find(root, detail=True)
    return {name[len(root) + 1 :]: int(item["size"]) for name, item in found.items()}


def read_bytes(path: Path | str) -> bytes:
    """A file's content, local or remote (one request); errors are left to :func:`store_errors`."""
    if not is_remote(path):
        with open(path, "rb", buffering=0) as file:  # quicker than pathlib, which matters for ten thousand files
            return file.read()
    files, root = remote_files(str(path))
    return bytes(files.cat_file(root, start=0))  # with a start, s3fs does not ask for the size first


def read_text(path: Path | str) -> str | None:
    """A file's text, local or remote (one request); None where there is no such file."""
    try:
        return read_bytes(path).decode()
    except (FileNotFoundError, NotADirectoryError):
        return None


def read_texts(folder: Path | str, suffix: str) -> dict[str, str]:
    """The texts of all files with this suffix below a folder, by their paths there; remote ones at the same time.

    Others may write and remove there meanwhile: a file that goes away between being listed and being read is none.
    """
    texts: dict[str, str] = {}
    if not is_remote(folder):
        for file in Path(folder).rglob(f"*{suffix}"):
            with suppress(FileNotFoundError):
                texts[file.relative_to(folder).as_posix()] = file.read_text(encoding="utf-8")
        return texts
    files, root = remote_files(str(folder))
    names = [name for name in sizes_below(folder) if name.endswith(suffix)]
    found = files.cat([f"{root}/{name}" for name in names], start=0, on_error="return") if names else {}
    for path, content in found.items():
        if isinstance(content, FileNotFoundError):
            continue
        if isinstance(content, Exception):
            raise content
        texts[path[len(root) + 1 :]] = bytes(content).decode()
    return texts


def write_text(path: Path | str, text: str, *, new: bool = False) -> bool:
    """Write a file, local (beside, then renamed) or remote (one request).

    Args:
        path: of the file.
        text: all of it.
        new: only where there is none in a remote store.

    Returns:
        False where it should be new, and is not.
    """
    if is_remote(path):
        files, root = remote_files(str(path))
        try:
            files.pipe_file(root, text.encode(), mode="create" if new else "overwrite")
        except FileExistsError:
            return False
        return True
    place = Path(path)
    partial = place.with_name(f"{place.name}.partial-{os.getpid()}-{secrets.token_hex(2)}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, place)
    finally:
        partial.unlink(missing_ok=True)
    return True


def remove(path: Path | str) -> None:
    """Remove a file, local or remote, if it is there; errors are left to :func:`store_errors`."""
    if not is_remote(path):
        Path(path).unlink(missing_ok=True)
        return
    files, root = remote_files(str(path))
    with suppress(FileNotFoundError):
        files.rm_file(root)


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
