"""The attributes of a stored recording's group: what makes it a recording, and which version of the format it is in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import zarr

from spikeyolo.errors import RecordingError
from spikeyolo.events.store.location import is_remote, reason, store_errors, zarr_store

FORMAT = "spikeyolo-recording"
FORMAT_VERSION = 1


class NewerFormatError(RecordingError):
    """A recording that only a newer spikeyolo can read."""


def read_attributes(path: Path | str) -> dict[str, Any]:
    """Attributes of the sealed recording at ``path``.

    Raises:
        NewerFormatError: a newer spikeyolo wrote it.
        RecordingError: there is no sealed recording.
    """
    attributes = _remote(str(path)) if is_remote(path) else _local(Path(path))
    if attributes.get("format") != FORMAT:
        raise RecordingError(
            f"{path}: a Zarr group that is no sealed recording (its format is {attributes.get('format')!r}; "
            f"expected {FORMAT!r})"
        )
    version = attributes.get("format_version")
    if not isinstance(version, int) or version < 1:
        raise RecordingError(f"{path}: its format version is {version!r}; expected a number from 1 to {FORMAT_VERSION}")
    if version > FORMAT_VERSION:
        raise NewerFormatError(
            f"{path}: written in format version {version} by a newer spikeyolo; this one reads up to version "
            f"{FORMAT_VERSION}: upgrade spikeyolo, or convert the recording anew"
        )
    return attributes


def _local(path: Path) -> dict[str, Any]:
    # Plain JSON: opening ten thousand groups through zarr takes half a minute.
    try:
        metadata = json.loads((path / "zarr.json").read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RecordingError(f"{path}: no stored recording is there (expected a Zarr group of this name)") from error
    except (OSError, ValueError) as error:
        raise RecordingError(f"{path}: its zarr.json cannot be read ({error}); convert the recording anew") from error
    attributes = metadata.get("attributes") if isinstance(metadata, dict) else None
    return attributes if isinstance(attributes, dict) else {}


def _remote(path: str) -> dict[str, Any]:
    try:
        return dict(zarr.open_group(zarr_store(path, read_only=True), mode="r", zarr_format=3).attrs)
    except FileNotFoundError as error:
        raise RecordingError(f"{path}: no stored recording is there (expected a Zarr group of this name)") from error
    except store_errors(ValueError) as error:
        raise RecordingError(f"{path}: cannot be read ({reason(error)})") from error
